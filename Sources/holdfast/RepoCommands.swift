import ArgumentParser
import Base
import CLISupport
import Model
import Operator
import Trust

struct RepoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repo", abstract: "Make, sign and check a repository of releases.",
        discussion: "Example: holdfast repo init fleet --lab",
        subcommands: [
            RepoInit.self, RepoSign.self, RepoStatus.self, RepoLint.self, RepoRefresh.self, RepoRotate.self,
            RepoDelegate.self,
        ])
}

/// Which repository of a folder is meant.
struct RepositoryOptions: ParsableArguments {
    @Argument(help: ArgumentHelp("Folder of the repository.", valueName: "repo")) var path: String
    @Flag(help: "The director's repository in that folder: which device gets what.") var director = false

    var name: RepositoryName { director ? .director : .release }

    func open() throws -> Repository {
        let repository = Repository(path: path, name: name)
        guard repository.exists else {
            throw OperatorError(
                .noRepository, "there is no \(director ? "director's " : "")repository in \(path)",
                hint: "make one with: holdfast repo init \(path)\(director ? " --director" : "")")
        }
        return repository
    }
}

struct RepoInit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make a repository.",
        discussion: """
            A KEY is the name of a key of this machine, or a file with another holder's
            public key (holdfast keys show NAME --output json). What the keys here cannot
            sign waits for: holdfast repo sign.

            Examples:
              holdfast repo init fleet --lab
              holdfast repo init fleet --root-key alice --root-key bob.json \\
                  --root-key carol.json --root-threshold 2 \\
                  --targets-key alice-t --targets-key bob-t.json \\
                  --snapshot-key online --timestamp-key online
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var target: RepositoryOptions
    @OptionGroup var keyStore: KeyStoreOptions
    @Flag(help: "One unencrypted key per role, made here: not for anything that matters.") var lab = false
    @Option(help: ArgumentHelp("Key of the root role; give it again for more.", valueName: "key"))
    var rootKey: [String] = []
    @Option(help: ArgumentHelp("Root signatures needed (default: a majority of the keys).", valueName: "n"))
    var rootThreshold: Int?
    @Option(help: ArgumentHelp("Key of the targets role; give it again for more.", valueName: "key"))
    var targetsKey: [String] = []
    @Option(help: ArgumentHelp("Targets signatures needed (default: a majority of the keys).", valueName: "n"))
    var targetsThreshold: Int?
    @Option(help: ArgumentHelp("Key of the snapshot role.", valueName: "key")) var snapshotKey: [String] = []
    @Option(help: ArgumentHelp("Key of the timestamp role.", valueName: "key")) var timestampKey: [String] = []
    @Option(help: "Days until root metadata expires.") var rootDays = RepositoryPlan.defaultDays.root
    @Option(help: "Days until targets metadata expires.") var targetsDays = RepositoryPlan.defaultDays.targets
    @Option(help: "Days until snapshot metadata expires.") var snapshotDays = RepositoryPlan.defaultDays.snapshot
    @Option(help: "Days until timestamp metadata expires.") var timestampDays = RepositoryPlan.defaultDays.timestamp

    mutating func validate() throws {
        let given = [rootKey, targetsKey, snapshotKey, timestampKey]
        if lab {
            guard given.allSatisfy(\.isEmpty) else { throw ValidationError("--lab makes its own keys") }
        } else {
            guard !given.contains(where: \.isEmpty) else {
                throw ValidationError("give --lab, or keys for each of root, targets, snapshot and timestamp")
            }
        }
    }

    func run() async throws {
        let console = output.console
        let repository = Repository(path: target.path, name: target.name)
        // Before any key is made.
        guard !repository.exists else {
            throw TrustError(.repositoryExists, target.path, "holds a repository already")
        }
        let keys = keyStore.signingKeys
        let plan = try lab ? labPlan() : givenPlan(keys)
        let planned = Set((plan.root.keys + plan.targets.keys + plan.snapshot.keys + plan.timestamp.keys).map(\.keyID))
        let names = try keyStore.store.list().filter { planned.contains($0.keyID) }.map(\.name)
        let signers = try names.isEmpty ? [] : keys.signers(for: [], named: names)
        try Repository.initialize(path: target.path, name: target.name, plan: plan, signers: signers)
        let status = try repository.status()
        console.result(
            [
                "repository": .string(target.path), "name": .string(target.name.rawValue),
                "pending": .array(status.pending.map(Formatting.pending)),
            ]
        ) {
            let head = "made the \(target.name.rawValue) repository in \(target.path)"
            return ([head] + status.pending.map(Formatting.text)).joined(separator: "\n")
        }
        if lab { console.warn("lab keys are not encrypted and one of each suffices; do not use them for real devices") }
    }

    private func labPlan() throws -> RepositoryPlan {
        func key(_ role: String) throws -> PublicKey {
            let name = target.director ? "lab-director-\(role)" : "lab-\(role)"
            if let entry = try keyStore.store.list().first(where: { $0.name == name }) { return entry.publicKey }
            return try keyStore.store.generate(name, passphrase: .none).publicKey
        }
        return .lab(
            root: try key("root"), targets: try key("targets"), snapshot: try key("snapshot"),
            timestamp: try key("timestamp"), days: (rootDays, targetsDays, snapshotDays, timestampDays))
    }

    private func givenPlan(_ keys: SigningKeys) throws -> RepositoryPlan {
        let root = try rootKey.map(keys.publicKey)
        let targets = try targetsKey.map(keys.publicKey)
        return RepositoryPlan(
            root: RolePlan(keys: root, threshold: rootThreshold ?? RolePlan.majority(of: root.count), days: rootDays),
            targets: RolePlan(
                keys: targets, threshold: targetsThreshold ?? RolePlan.majority(of: targets.count), days: targetsDays),
            snapshot: RolePlan(keys: try snapshotKey.map(keys.publicKey), threshold: 1, days: snapshotDays),
            timestamp: RolePlan(keys: try timestampKey.map(keys.publicKey), threshold: 1, days: timestampDays))
    }
}

struct RepoSign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign", abstract: "Sign what waits, with the keys of this machine.",
        discussion: """
            The repository is a folder: carry it to the next key holder, who runs this on
            their machine. What then has enough signatures is published.

            Example: holdfast repo sign /media/stick/fleet
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var target: RepositoryOptions
    @OptionGroup var signing: SigningOptions

    func run() async throws {
        let repository = try target.open()
        let signers = try signing.signers(for: [repository])
        guard !signers.isEmpty else {
            throw OperatorError(
                .noKey, "no key in \(signing.keyStore.store.directory) may sign for \(target.path)",
                hint: "see which may: holdfast repo status \(target.path)")
        }
        let report = try repository.sign(signers)
        output.console.result(Formatting.report(report)) { Formatting.text(report) }
    }
}

struct RepoStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show roles, keys, expiry and what waits for signatures.",
        discussion: "Example: holdfast repo status fleet")

    @OptionGroup var output: OutputOptions
    @OptionGroup var target: RepositoryOptions

    func run() async throws {
        let status = try target.open().status()
        let console = output.console
        console.result(json(status)) { text(status, console) }
    }

    private func json(_ status: Trust.RepositoryStatus) -> JSONValue {
        let roles = status.roles.map { role -> JSONValue in
            [
                "name": .string(role.name), "version": .integer(role.version),
                "expires": role.expires.map { .string($0.description) } ?? .null,
                "keyids": .array(role.keyIDs.map { .string($0) }), "threshold": .integer(Int64(role.threshold)),
                "targets": .integer(Int64(role.targets)),
            ]
        }
        return [
            "repository": .string(target.path), "roles": .array(roles),
            "pending": .array(status.pending.map(Formatting.pending)),
            "releases": .array(status.releases.map(Formatting.target)),
        ]
    }

    private func text(_ status: Trust.RepositoryStatus, _ console: Console) -> String {
        var table = Table("role", "version", "expires", "must sign", "releases")
        for role in status.roles {
            table.add([
                role.name, role.version == 0 ? "unsigned" : String(role.version), role.expires?.description ?? "",
                "\(role.threshold) of \(role.keyIDs.count)", role.targets == 0 ? "" : String(role.targets),
            ])
        }
        return table.rendered(color: console.colorsOutput) + status.pending.map { Formatting.text($0) + "\n" }.joined()
    }
}

struct RepoLint: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lint", abstract: "Read the repository as a device would and say what is wrong with it.",
        discussion: """
            Ends with status 1 when there is an error; warnings alone end with 0.

            Example: holdfast repo lint fleet --days 30
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var target: RepositoryOptions
    @Option(help: "Warn of metadata that expires within so many days (default: 14, or a third of a role's life).")
    var days: Int?

    func run() async throws {
        let findings = try await target.open().lint(warnDays: days)
        let console = output.console
        var table = Table("severity", "element", "finding")
        for finding in findings {
            table.add(
                Table.Cell(finding.severity.rawValue, style: finding.severity == .error ? .bad : .warning),
                Table.Cell(finding.element), Table.Cell(finding.message))
        }
        let json = findings.map { finding -> JSONValue in
            [
                "severity": .string(finding.severity.rawValue), "element": .string(finding.element),
                "message": .string(finding.message),
            ]
        }
        console.table(table, json: ["findings": .array(json)], empty: "nothing is wrong")
        if findings.contains(where: { $0.severity == .error }) { throw ExitCode(Base.ExitStatus.failure.rawValue) }
    }
}

struct RepoRefresh: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refresh", abstract: "Sign roles anew with unchanged content, for a later expiry.",
        discussion: "Example: holdfast repo refresh fleet timestamp")

    @OptionGroup var output: OutputOptions
    @OptionGroup var target: RepositoryOptions
    @OptionGroup var signing: SigningOptions
    @Argument(help: "Roles (default: snapshot and timestamp).") var roles: [String] = []

    func run() async throws {
        let repository = try target.open()
        let report = try repository.refresh(
            roles.isEmpty ? ["snapshot", "timestamp"] : roles, signers: try signing.signers(for: [repository]))
        output.console.result(Formatting.report(report)) { Formatting.text(report) }
    }
}

struct RepoRotate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate", abstract: "Change who may sign a role, and how many must.",
        discussion: """
            Gives a new root, which enough of the old root keys must sign; for the root
            role, of the new ones too. With x-holdfast-freshness the root names who may sign
            freshness tickets, a hub for example: until then the timestamp role may.

            Examples:
              holdfast repo rotate fleet timestamp --new-key online-2
              holdfast repo rotate fleet x-holdfast-freshness --new-key hub-freshness.json
              holdfast repo rotate fleet root --new-key alice --new-key bob.json \\
                  --new-key carol.json --threshold 2
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var target: RepositoryOptions
    @OptionGroup var signing: SigningOptions
    @Argument(help: "root, targets, snapshot, timestamp or x-holdfast-freshness.") var role: String
    @Option(help: ArgumentHelp("A key of the role from now on; give it again for more.", valueName: "key"))
    var newKey: [String]
    @Option(help: "Signatures needed (default: a majority of the keys; for tickets one).") var threshold: Int?
    @Option(help: "Days until the role's metadata expires.") var days: Int?

    func run() async throws {
        let repository = try target.open()
        let keys = signing.keyStore.signingKeys
        let standard: [String: Int] = [
            "root": RepositoryPlan.defaultDays.root, "targets": RepositoryPlan.defaultDays.targets,
            "snapshot": RepositoryPlan.defaultDays.snapshot, "timestamp": RepositoryPlan.defaultDays.timestamp,
        ]
        let plan = RolePlan(
            // Each who vouches for freshness does so alone: a hub has one key and cannot ask the others.
            keys: try newKey.map(keys.publicKey),
            threshold: threshold ?? (role == FreshnessTicket.role ? 1 : RolePlan.majority(of: newKey.count)),
            days: days ?? standard[role] ?? RepositoryPlan.defaultDays.targets)
        // The new keys are of this role only once it is rotated; those that are here sign too.
        let new = Set(plan.keys.map(\.keyID))
        let own = try keys.store.list().filter { new.contains($0.keyID) }.map(\.name)
        var signers = try signing.signers(for: [repository])
        let have = Set(signers.map(\.keyID))
        let added = try own.filter { try !have.contains(keys.store.entry($0).keyID) }
        if signing.names.isEmpty, !added.isEmpty { signers += try keys.signers(for: [], named: added) }
        let report = try repository.rotate(role, plan: plan, signers: signers)
        output.console.result(Formatting.report(report)) { Formatting.text(report) }
    }
}

struct RepoDelegate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delegate", abstract: "Let others sign releases of some applications, or spread them over bins.",
        discussion: """
            With --bins the delegating role lists nothing itself from then on: each release
            goes into the bin that the hash of its path names (role NAME-0, NAME-1 …), so
            that a device fetches one small file of very many.

            Called again it changes who may sign. Devices see a delegation once all that it
            names is signed.

            Examples:
              holdfast repo delegate fleet shop-team --new-key carol.json --path 'shop/*'
              holdfast repo delegate fleet bin --bins 256 --new-key targets-1
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var target: RepositoryOptions
    @OptionGroup var signing: SigningOptions
    @Argument(help: "Name of the delegated role; with --bins, how the bins' names begin.") var role: String
    @Option(help: ArgumentHelp("A key of the role; give it again for more.", valueName: "key")) var newKey: [String]
    @Option(help: "Signatures needed (default: a majority of the keys).") var threshold: Int?
    @Option(help: "Days until the role's metadata expires.") var days = RepositoryPlan.defaultDays.targets
    @Option(help: ArgumentHelp("Releases it speaks for; * stands for one part of a path.", valueName: "pattern"))
    var path: [String] = []
    @Option(help: ArgumentHelp("Spread releases over so many hash bins: a power of two, 2 to 4096.", valueName: "n"))
    var bins: Int?
    @Flag(help: "Ask no other role about these paths.") var terminating = false
    @Option(help: "The role that delegates.") var from = "targets"

    mutating func validate() throws {
        guard let bins else {
            guard !path.isEmpty else { throw ValidationError("give --path for what the role speaks for, or --bins") }
            return
        }
        guard path.isEmpty, !terminating else {
            throw ValidationError("--bins spreads all paths: it goes with neither --path nor --terminating")
        }
        guard bins.nonzeroBitCount == 1, Repository.binBits.contains(bins.trailingZeroBitCount) else {
            throw ValidationError("--bins \(bins): a power of two from 2 to \(1 << Repository.binBits.upperBound)")
        }
    }

    func run() async throws {
        let repository = try target.open()
        let keys = signing.keyStore.signingKeys
        let plan = RolePlan(
            keys: try newKey.map(keys.publicKey), threshold: threshold ?? RolePlan.majority(of: newKey.count),
            days: days)
        if let bins {
            try repository.delegateToBins(
                prefix: role, bits: bins.trailingZeroBitCount, plan: plan, delegator: from, signers: [])
        } else {
            try repository.delegate(
                to: role, plan: plan, paths: path, terminating: terminating, delegator: from, signers: [])
        }
        // Only now does the repository list the new role's keys.
        let report = try repository.sign(try signing.signers(for: [repository]))
        output.console.result(Formatting.report(report)) { Formatting.text(report) }
    }
}
