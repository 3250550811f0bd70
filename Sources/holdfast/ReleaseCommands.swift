import ArgumentParser
import Base
import CLISupport
import Compose
import FoundationEssentials
import Model
import Operator
import Trust

struct ReleaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release", abstract: "Build, list and compare releases.",
        discussion: "Example: holdfast release list --repo fleet",
        subcommands: [ReleaseBuild.self, ReleaseBuildAgent.self, ReleaseList.self, ReleaseShow.self, ReleaseDiff.self])
}

/// The repository folder as an option.
struct WorkspaceOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Folder of the repository.", valueName: "repo")) var repo: String

    func open() throws -> Workspace { try Workspace(repo) }
}

struct ReleaseBuild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Make a release of a Compose file and images.",
        discussion: """
            SOURCE is oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REFERENCE] or docker:REFERENCE,
            an image of the local engine (DOCKER_HOST or /var/run/docker.sock). NAME is a service, or an image
            as the Compose file names it. The same input makes the same release, to the byte.

            Example: holdfast release build compose.yaml --app shop --version 1.4.0 --repo fleet \\
                --image web=oci:build/web --image worker=docker:example/worker:1.4
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var workspace: WorkspaceOptions
    @OptionGroup var signing: SigningOptions
    @Argument(help: ArgumentHelp("The Compose file.", valueName: "compose.yaml")) var file: String
    @Option(help: "Name of the application.") var app: String
    @Option(
        name: .customLong("version"), help: ArgumentHelp("Version of the release.", valueName: "x.y.z"))
    var release: String
    @Option(help: ArgumentHelp("Where an image comes from; give it for each.", valueName: "name=source"))
    var image: [String] = []
    @Option(help: ArgumentHelp("File of variables, in place of .env beside the Compose file.", valueName: "file"))
    var envFile: [String] = []
    @Option(help: ArgumentHelp("Place in the order of releases (default: the newest's and one).", valueName: "n"))
    var ctr: Int64?
    @Option(help: ArgumentHelp("Forbid releases of lower epochs from now on.", valueName: "n")) var epoch: Int64?
    @Option(help: ArgumentHelp("A label that devices must have.", valueName: "label=value")) var label: [String] = []
    @Option(help: ArgumentHelp("Architecture to take from images of several.", valueName: "name")) var arch: String?
    @Option(help: "The targets role that lists the release.") var role = "targets"
    @Option(
        name: .customLong("delta-from"),
        help: ArgumentHelp("Make deltas from this version; give it again for more.", valueName: "x.y.z"))
    var deltaFrom: [String] = []
    @Option(help: ArgumentHelp("How hard to look for small deltas, 1 to 9; 8 and 9 take devices longer to apply.", valueName: "n")) var deltaEffort = 7
    @Flag(help: "Treat warnings of the Compose file as errors.") var strict = false

    func run() async throws {
        let console = output.console
        let name = try ReleaseName("\(app)/\(release)")
        let workspace = try workspace.open()
        let environment = ProcessInfo.processInfo.environment
        let application = try ComposeApplication.load(
            path: file, environment: environment, environmentFiles: envFile.isEmpty ? nil : envFile)
        for warning in application.warnings { console.warn(warning.description) }
        if strict, let first = application.warnings.first {
            throw ComposeError(.value, first.location, first.message, hint: "correct it, or leave --strict out")
        }
        var request = ReleaseBuilder.Request(
            application: application, name: name, images: try ImageMapping(image))
        request.ctr = ctr
        request.epoch = epoch
        request.labels = try Self.labels(label)
        request.architecture = arch
        request.role = role
        request.deltaFrom = try deltaFrom.map { try ReleaseName("\(app)/\($0)").version }
        request.deltaEffort = deltaEffort
        // Before minutes of work: a wrong passphrase should show now.
        let signers = try signing.signers(for: [workspace.repository])
        let bridge = ProgressBridge(console)
        let builder = ReleaseBuilder(
            workspace: workspace, engine: try EngineImages(dockerHost: environment["DOCKER_HOST"])
        ) { bridge.show($0.task, done: $0.done, total: $0.total) }
        let outcome = try await builder.build(request, signers: signers)
        bridge.finish()
        Self.show(outcome, console)
    }

    static func labels(_ texts: [String]) throws -> [String: String] {
        var labels: [String: String] = [:]
        for text in texts {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw OperatorError(.value, "\"\(text)\" is no label", hint: "write LABEL=VALUE")
            }
            labels[parts[0]] = parts[1]
        }
        return labels
    }

    static func show(_ outcome: ReleaseBuilder.Outcome, _ console: Console) {
        var json = Formatting.target(outcome.target).object ?? [:]
        json["signing"] = Formatting.report(outcome.signing)
        json["wasThere"] = .bool(outcome.wasThere)
        json["bytes"] = .integer(outcome.totalBytes)
        json["services"] = .object(outcome.release.services.mapValues { .string($0.image) })
        json["deltas"] = .integer(Int64(outcome.release.deltas.count))
        console.result(.object(json)) {
            var lines = [
                "\(outcome.wasThere ? "there already" : "built"): \(outcome.target.app)/\(outcome.target.version), "
                    + "ctr \(outcome.target.ctr), epoch \(outcome.target.epoch), \(ByteCount(outcome.totalBytes))",
                "digest     \(outcome.target.digest)",
            ]
            for (name, service) in outcome.release.services.sorted(by: { $0.key < $1.key }) {
                guard let image = outcome.release.images[service.image] else { continue }
                lines.append(
                    "service    \(name): \(TerminalText.sanitized(image.reference))@\(image.manifest.digest.short), "
                        + "\(image.architecture), \(image.layers.count) layers")
            }
            if !outcome.release.deltas.isEmpty {
                lines.append(
                    "deltas     \(outcome.release.deltas.count), \(Formatting.bytes(outcome.release.deltas.map(\.blob)))")
            }
            if let agent = outcome.release.agent {
                lines.append(
                    "agent      \(agent.binary.digest.short), "
                        + outcome.release.requirements.architectures.joined(separator: ", "))
            }
            return (lines + [Formatting.text(outcome.signing)]).joined(separator: "\n")
        }
    }
}

struct ReleaseList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the releases of a repository.",
        discussion: "Example: holdfast release list --repo fleet --app shop")

    @OptionGroup var output: OutputOptions
    @OptionGroup var workspace: WorkspaceOptions
    @Option(help: "Only this application.") var app: String?

    func run() async throws {
        let workspace = try workspace.open()
        let published = try workspace.repository.publishedReleases()
        let releases = try workspace.repository.releases().filter { app == nil || $0.app == app }
        var table = Table("app", "version", "ctr", "epoch", "for", "digest", "state")
        for release in releases {
            let isPublished = published.contains(release)
            table.add(
                Table.Cell(release.app), Table.Cell(release.version), Table.Cell(release.ctr),
                Table.Cell(release.epoch), Table.Cell(Formatting.selector(release)), Table.Cell(release.digest.short),
                Table.Cell(isPublished ? "signed" : "waits for signatures", style: isPublished ? .good : .warning))
        }
        let json = releases.map { release -> JSONValue in
            var fields = Formatting.target(release).object ?? [:]
            fields["signed"] = .bool(published.contains(release))
            return .object(fields)
        }
        output.console.table(table, json: .array(json), empty: "no releases")
    }
}

struct ReleaseShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show what a release holds.",
        discussion: "Example: holdfast release show shop/1.4.0 --repo fleet")

    @OptionGroup var output: OutputOptions
    @OptionGroup var workspace: WorkspaceOptions
    @Argument(help: ArgumentHelp("The release.", valueName: "app/version")) var release: String

    func run() async throws {
        let workspace = try workspace.open()
        let stored = try workspace.release(try ReleaseName(release))
        let deltas = try workspace.deltaOrigins(of: stored.release)
        let console = output.console
        console.result([
            "target": Formatting.target(stored.target), "release": stored.release.json,
            "deltas": .array(deltas.map(json)),
        ]) {
            text(stored, deltas, console)
        }
    }

    private func json(_ origin: DeltaOrigin) -> JSONValue {
        [
            "digest": .string(origin.delta.blob.digest.description), "size": .integer(origin.delta.blob.size),
            "layer": .string(origin.delta.target.description), "wholeSize": .integer(origin.wholeBytes),
            "services": .array(origin.services.map { .string($0) }),
            "from": .array(origin.releases.map { .string($0.description) }),
        ]
    }

    private func text(_ stored: Workspace.StoredRelease, _ deltas: [DeltaOrigin], _ console: Console) -> String {
        let release = stored.release
        var text = """
            \(release.app)/\(release.version)
            digest      \(stored.target.digest)
            order       ctr \(release.ctr), epoch \(release.epoch)
            for         \(TerminalText.sanitized(Formatting.selector(stored.target)))
            update      health within \(release.update.healthWindowSeconds) s, stable for \
            \(release.update.stableSeconds) s, \(release.update.rollback ? "rolls back" : "stays on failure")

            """
        var services = Table("service", "image", "layers", "size", "ports", "strategy")
        for (name, service) in release.services.sorted(by: { $0.key < $1.key }) {
            let image = release.images[service.image]
            services.add([
                name, image.map { "\($0.reference)@\($0.manifest.digest.short)" } ?? "",
                image.map { String($0.layers.count) } ?? "",
                image.map { Formatting.bytes($0.layers.map(\.blob)).description } ?? "",
                service.ports.map { "\($0.published.map { "\($0):" } ?? "")\($0.target)/\($0.protocol)" }
                    .joined(separator: " "),
                service.strategy.rawValue,
            ])
        }
        text += "\n" + services.rendered(color: console.colorsOutput)
        var rest = Table("kind", "name", "size")
        for name in release.networks.keys.sorted() { rest.add(["network", name, ""]) }
        for name in release.volumes.keys.sorted() { rest.add(["volume", name, ""]) }
        for (name, file) in release.files.sorted(by: { $0.key < $1.key }) {
            rest.add([file.secret ? "secret" : "config", name, ByteCount(file.blob.size).description])
        }
        if !rest.rows.isEmpty { text += "\n" + rest.rendered(color: console.colorsOutput) }
        var table = Table("delta", "from", "services", "size", "instead of")
        for origin in deltas {
            table.add([
                origin.delta.blob.digest.short, origin.releases.map(\.description).joined(separator: " "),
                origin.services.joined(separator: " "), ByteCount(origin.delta.blob.size).description,
                ByteCount(origin.wholeBytes).description,
            ])
        }
        return text + (table.rows.isEmpty ? "" : "\n" + table.rendered(color: console.colorsOutput))
    }
}

struct ReleaseDiff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Show what changes from one release to another, and what a device must fetch.",
        discussion: "Example: holdfast release diff shop/1.3.0 shop/1.4.0 --repo fleet")

    @OptionGroup var output: OutputOptions
    @OptionGroup var workspace: WorkspaceOptions
    @Argument(help: ArgumentHelp("The earlier release.", valueName: "app/version")) var from: String
    @Argument(help: ArgumentHelp("The later release.", valueName: "app/version")) var to: String

    func run() async throws {
        let workspace = try workspace.open()
        let difference = ReleaseDifference(
            from: try workspace.release(try ReleaseName(from)).release,
            to: try workspace.release(try ReleaseName(to)).release)
        let console = output.console
        console.result(json(difference)) {
            var table = Table("field", "from", "to")
            for change in difference.changes {
                table.add([change.path, Formatting.value(change.from), Formatting.value(change.to)])
            }
            return table.rendered(color: console.colorsOutput)
                + "\(difference.added.count) of \(difference.total.count) blobs are new: "
                + "\(Formatting.bytes(difference.added)) of \(Formatting.bytes(difference.total)) to fetch\n"
        }
    }

    private func json(_ difference: ReleaseDifference) -> JSONValue {
        func blobs(_ blobs: [Release.Blob]) -> JSONValue {
            ["count": .integer(Int64(blobs.count)), "bytes": .integer(blobs.reduce(0) { $0 + $1.size })]
        }
        return [
            "changes": .array(
                difference.changes.map {
                    ["path": .string($0.path), "from": $0.from ?? .null, "to": $0.to ?? .null]
                }),
            "added": blobs(difference.added), "removed": blobs(difference.removed), "total": blobs(difference.total),
        ]
    }
}
