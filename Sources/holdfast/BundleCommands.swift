import ArgumentParser
import Base
import CLISupport
import Model
import Operator
import ReleaseBundle
import Trust

struct BundleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle", abstract: "Write and check bundles: releases on a stick.",
        discussion: "Example: holdfast bundle export fleet --release shop/1.4.0 -o /media/stick/shop",
        subcommands: [BundleExportCommand.self, BundleInspect.self, BundleVerify.self])
}

struct BundleExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write releases with all they need, as a folder or one tar file.",
        discussion: """
            The bundle is an OCI image layout with the signed metadata beside it; a path that ends in .tar becomes
            one uncompressed file. Interrupted, run it again: what is there is kept.

            Examples:
              holdfast bundle export fleet --release shop/1.4.0 -o /media/stick/shop
              holdfast bundle export fleet --release shop/1.4.0 --installed shop/1.3.0 -o update.tar
              holdfast bundle export fleet --release shop/1.4.0 --from shop/1.3.0 --from shop/1.2.0 -o small.tar
              holdfast bundle export fleet --release shop/1.4.0 --for pump-7.json pump-8.json -o site.tar

            An inventory is what `holdfast-agent inventory --output json` prints on a device.
            """)

    @OptionGroup var output: OutputOptions
    @Argument(help: ArgumentHelp("Folder of the repository.", valueName: "repo")) var repo: String
    @Option(help: ArgumentHelp("A release; give it again for more.", valueName: "app/version")) var release: [String]
    @Option(help: ArgumentHelp("Leave out what this release brought already.", valueName: "app/version"))
    var installed: [String] = []
    @Option(help: ArgumentHelp("Serve devices that have this release, by deltas; give it again.", valueName: "app/version"))
    var from: [String] = []
    @Option(
        name: .customLong("for"), parsing: .upToNextOption,
        help: ArgumentHelp("Serve these devices with the fewest bytes.", valueName: "inventory.json"))
    var inventories: [String] = []
    @Option(
        name: [.customShort("o"), .customLong("out")],
        help: ArgumentHelp("The folder or .tar file to write.", valueName: "path"))
    var destination: String

    func run() async throws {
        let console = output.console
        let workspace = try Workspace(repo)
        let (plan, choices) = try workspace.bundlePlan(
            try release.map { try ReleaseName($0) }, installed: try installed.map { try ReleaseName($0) },
            from: try from.map { try ReleaseName($0) }, devices: try inventories.map { try inventory($0) })
        let isTar = destination.hasSuffix(".tar")
        let bridge = ProgressBridge(console)
        let progress: BundleWriter.Progress = { bridge.show("Writing \(Path.name(destination))", done: $0, total: $1) }
        if isTar {
            try workspace.bundleWriter().write(plan, tar: destination, progress: progress)
        } else {
            try workspace.bundleWriter().write(plan, directory: destination, progress: progress)
        }
        bridge.finish()
        console.result(
            [
                "path": .string(destination), "form": .string(isTar ? "tar" : "directory"),
                "releases": .array(release.map { .string($0) }), "blobs": .integer(Int64(plan.blobs.count)),
                "bytes": .integer(plan.totalBytes), "layers": .array(choices.map(json)),
            ]
        ) {
            let lines = choices.filter { !$0.blobs.isEmpty }.map(text)
            return (lines + [
                "wrote \(destination): \(release.joined(separator: ", ")), \(plan.blobs.count) blobs, "
                    + "\(ByteCount(plan.totalBytes))"
            ]).joined(separator: "\n")
        }
    }

    private func inventory(_ path: String) throws -> DeviceInventory {
        let bytes = try FileSystem().read(path, limit: DeviceInventory.documentLimit)
        do {
            return try DeviceInventory(decoding: bytes)
        } catch {
            throw OperatorError(.value, "\(path): \(error.message)", hint: error.hint ?? "")
        }
    }

    private func text(_ choice: BundleSelection.Choice) -> String {
        let services = TerminalText.sanitized(choice.services.joined(separator: ", "))
        return "layer \(choice.layer.short) of \(services): \(choice.isWhole ? "whole" : "by delta"), "
            + "\(ByteCount(choice.bytes)) (\(TerminalText.sanitized(choice.reason)))"
    }

    private func json(_ choice: BundleSelection.Choice) -> JSONValue {
        [
            "layer": .string(choice.layer.description), "services": .array(choice.services.map { .string($0) }),
            "form": .string(choice.blobs.isEmpty ? "none" : choice.isWhole ? "whole" : "deltas"),
            "blobs": .array(choice.blobs.map { .string($0.digest.description) }), "bytes": .integer(choice.bytes),
            "wholeBytes": .integer(choice.wholeBytes), "reason": .string(choice.reason),
        ]
    }
}

struct BundleInspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show what a bundle says it holds. Nothing is verified.",
        discussion: "Example: holdfast bundle inspect /media/stick/shop")

    @OptionGroup var output: OutputOptions
    @Argument(help: ArgumentHelp("The bundle.", valueName: "path")) var path: String

    func run() async throws {
        let summary = try BundleReader(opening: path).inspect()
        let console = output.console
        console.result(summary.json) {
            var table = Table("release", "ctr", "services", "needs", "missing", "deltas", "serves")
            for entry in summary.releases {
                table.add([
                    "\(entry.offer.app)/\(entry.offer.version)", String(entry.offer.ctr),
                    entry.fault ?? entry.services.keys.sorted().joined(separator: " "),
                    ByteCount(entry.requiredBytes).description,
                    entry.missing.isEmpty ? "" : Formatting.bytes(entry.missing).description,
                    entry.deltas.isEmpty
                        ? "" : "\(entry.deltas.count), \(Formatting.bytes(entry.deltas.map(\.blob)))",
                    serves(entry),
                ])
            }
            return table.rendered(color: console.colorsOutput)
                + "\(summary.blobCount) blobs, \(ByteCount(summary.blobBytes)), "
                + "\(summary.metadata.count) metadata files; nothing was verified\n"
        }
    }
}

extension BundleInspect {
    /// Names shown of whom a bundle serves.
    private static let shownNames = 6

    private func serves(_ entry: BundleSummary.ReleaseEntry) -> String {
        if entry.servesAll { return "all" }
        guard let audience = entry.offer.audience else { return "devices that have what is missing" }
        let names = audience.bases + audience.devices
        return names.prefix(Self.shownNames).joined(separator: " ")
            + (names.count > Self.shownNames ? " and \(names.count - Self.shownNames) more" : "")
    }
}

struct BundleVerify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Hash every blob of a bundle and, with --root, check who signed it.",
        discussion: """
            Ends with 0 when the bundle is whole (and trusted), 65 when it is damaged, 76 when it is not trusted.

            Example: holdfast bundle verify /media/stick/shop --root fleet/metadata/1.root.json
            """)

    @OptionGroup var output: OutputOptions
    @Argument(help: ArgumentHelp("The bundle.", valueName: "path")) var path: String
    @Option(help: ArgumentHelp("Root metadata that devices trust.", valueName: "root.json")) var root: String?

    func run() async throws {
        let console = output.console
        let bundle = try BundleReader(opening: path)
        let bridge = ProgressBridge(console)
        let result = try bundle.verify { bridge.show("Hashing \(Path.name(path))", done: $0, total: $1) }
        bridge.finish()
        var verdicts: [BundleTrust.Verdict]?
        if let root {
            let bytes = try FileSystem().read(root, limit: TrustLimits.standard.rootBytes)
            verdicts = try await BundleTrust.verdicts(bundle, root: bytes, now: SystemClock.live.now())
        }
        console.result(json(result, verdicts)) { text(result, verdicts, console) }
        guard result.isIntact else { throw ExitCode(Base.ExitStatus.dataError.rawValue) }
        if verdicts?.contains(where: { $0.refusal != nil }) == true {
            throw ExitCode(Base.ExitStatus.notTrusted.rawValue)
        }
    }

    private func json(_ result: BundleVerification, _ verdicts: [BundleTrust.Verdict]?) -> JSONValue {
        var fields: [String: JSONValue] = [
            "intact": .bool(result.isIntact), "blobs": .integer(Int64(result.blobs)), "bytes": .integer(result.bytes),
            "problems": .array(
                result.problems.map { ["code": .string($0.code), "message": .string($0.message)] }),
            "missing": .array(result.missing.map { .string($0.digest.description) }),
        ]
        if let verdicts {
            fields["trusted"] = .bool(!verdicts.contains { $0.refusal != nil })
            fields["releases"] = .array(
                verdicts.map { verdict in
                    [
                        "app": .string(verdict.offer.app), "version": .string(verdict.offer.version.description),
                        "trusted": .bool(verdict.refusal == nil),
                        "freshness": verdict.freshness.map { .string($0.rawValue) } ?? .null,
                        "code": verdict.refusal.map { .string($0.code) } ?? .null,
                        "message": verdict.refusal.map { .string($0.message) } ?? .null,
                    ]
                })
        }
        return .object(fields)
    }

    private func text(
        _ result: BundleVerification, _ verdicts: [BundleTrust.Verdict]?, _ console: Console
    ) -> String {
        var lines = [
            result.isIntact
                ? console.styled("intact", .good) + ": \(result.blobs) blobs, \(ByteCount(result.bytes))"
                : console.styled("damaged", .bad) + ": \(result.problems.count) problems"
        ]
        lines += result.problems.prefix(20).map { "  \(TerminalText.sanitized($0.message)) [\($0.code)]" }
        if !result.missing.isEmpty {
            lines.append("the receiver must have \(result.missing.count) blobs (\(Formatting.bytes(result.missing)))")
        }
        guard let verdicts else {
            return (lines + ["signatures were not checked: give --root"]).joined(separator: "\n")
        }
        for verdict in verdicts {
            let name = "\(verdict.offer.app)/\(verdict.offer.version)"
            if let refusal = verdict.refusal {
                lines.append(
                    console.styled("not trusted", .bad)
                        + ": \(name): \(TerminalText.sanitized(refusal.message)) [\(refusal.code)]")
            } else {
                lines.append(
                    console.styled("trusted", .good)
                        + ": \(name), freshness \(verdict.freshness?.rawValue ?? "unknown")")
            }
        }
        return lines.joined(separator: "\n")
    }
}
