import Base
import Glibc
import Model

/// A TUF repository as a folder that key holders carry from one to the next.
///
/// `metadata/` holds what is published; `staged/` what is written and not yet signed by enough. A change is
/// staged, signed by whoever is there, and published the moment its threshold is met: targets first, then a
/// snapshot that lists it, then a timestamp that names the snapshot, each as soon as its own keys are at hand.
/// A crash in between leaves the last whole repository in force, because clients start at the timestamp.
public struct Repository: Sendable {
    /// The folder that a person names; a director lives in its `director` subfolder.
    public let path: String
    public let name: RepositoryName
    let fileSystem: FileSystem
    let clock: SystemClock
    let limits: TrustLimits
    /// Set while one operation runs, so that it looks at the folder once.
    var listing: PublishedListing?

    /// Opens a repository. Nothing is read yet.
    public init(
        path: String, name: RepositoryName = .release, fileSystem: FileSystem = FileSystem(),
        clock: SystemClock = .live, limits: TrustLimits = .standard
    ) {
        self.path = path
        self.name = name
        self.fileSystem = fileSystem
        self.clock = clock
        self.limits = limits
    }

    var base: String { name == .release ? path : Path.join(path, name.rawValue) }
    /// Published metadata, as clients fetch it.
    public var metadataDirectory: String { Path.join(base, "metadata") }
    var stagedDirectory: String { Path.join(base, "staged") }

    /// Whether there is a repository in the folder.
    public var exists: Bool { (try? fileSystem.status(rootPath(1))) ?? nil != nil || isStaged(TopLevel.root) }

    // MARK: Making

    /// Makes a repository with an empty targets role, signed by `signers` as far as they go.
    ///
    /// - Throws: `trust.repository-exists`, `trust.threshold-invalid`.
    @discardableResult
    public static func initialize(
        path: String, name: RepositoryName = .release, plan: RepositoryPlan, signers: [any Signer],
        fileSystem: FileSystem = FileSystem(), clock: SystemClock = .live
    ) throws -> Repository {
        let repository = Repository(path: path, name: name, fileSystem: fileSystem, clock: clock)
        guard !repository.exists else {
            throw TrustError(.repositoryExists, repository.base, "holds a repository already")
        }
        var keys = JSONObject()
        var roles = JSONObject()
        for (role, rolePlan) in plan.roles {
            try rolePlan.check(role)
            for key in rolePlan.keys { keys[key.keyID] = key.json }
            roles[role] = rolePlan.json
        }
        let now = clock.now()
        var root = MetadataDraft(
            type: TopLevel.root,
            fields: [
                "consistent_snapshot": .bool(plan.consistentSnapshots), "keys": .object(keys),
                "roles": .object(roles),
            ])
        root.renew(version: 1, now: now, days: plan.root.days)
        var targets = MetadataDraft(type: TopLevel.targets, fields: ["targets": [:]])
        targets.renew(version: 1, now: now, days: plan.targets.days)
        for directory in [repository.metadataDirectory, repository.stagedDirectory] {
            try fileSystem.makeDirectories(directory, op: "repository.initialize")
        }
        if name == .release {
            for folder in ["targets", "blobs/sha256"] {
                try fileSystem.makeDirectories(Path.join(path, folder), op: "repository.initialize")
            }
        }
        try repository.stage(TopLevel.targets, targets)
        try repository.stage(TopLevel.root, root)
        try repository.sign(signers)
        return repository
    }

    // MARK: Changing

    /// Lists a release, in the top-level role or in a delegated one, and keeps its document under `targets/`.
    ///
    /// In a director only the listing is written: the document comes from the release repository.
    @discardableResult
    public func add(
        _ target: ReleaseTarget, document: [UInt8], role: String = "targets", signers: [any Signer]
    ) throws -> SigningReport {
        guard Digest.sha256(document) == target.digest, Int64(document.count) == target.length else {
            throw TrustError(.hashMismatch, target.path, "the document is not the one that the listing names")
        }
        if name == .release {
            try keep(document, at: documentPath(target))
        }
        return try edit(lister(of: target.path, below: role), signers: signers) { draft in
            var targets = draft.signed["targets"]?.object ?? [:]
            targets[target.path] = Self.listing(of: target)
            draft.signed["targets"] = .object(targets)
        }
    }

    /// Writes a document below the repository's folder, never through a link.
    private func keep(_ document: [UInt8], at relative: String) throws {
        let file = Path.join(path, relative)
        var folder = path
        for component in Path.components(Path.parent(relative)) {
            folder = Path.join(folder, String(component))
            // One after the other, so that nothing is made behind a link.
            try fileSystem.makeDirectories(folder, op: "repository.target")
            guard try fileSystem.status(folder)?.kind == .directory else {
                throw TrustError(.repositoryInvalid, folder, "is no folder but something else, maybe a link")
            }
        }
        try fileSystem.replace(file, with: document, op: "repository.target")
    }

    /// A release as a targets role lists it.
    static func listing(of target: ReleaseTarget) -> JSONValue {
        [
            "length": .integer(target.length), "hashes": ["sha256": .string(target.digest.hex)],
            "custom": target.custom,
        ]
    }

    /// Lists any file by its bytes: for tools and tests; devices look for releases only.
    @discardableResult
    public func add(
        path target: String, content: [UInt8], custom: JSONValue? = nil, role: String = "targets",
        signers: [any Signer]
    ) throws -> SigningReport {
        guard Path.isPlainRelative(target) else {
            throw TrustError(.targetNotFound, target, "a target path is relative and without \"..\"")
        }
        let digest = Digest.sha256(content)
        let consistent = try publishedOrStagedRoot().consistentSnapshot
        let directory = Path.parent(target) == "." ? "" : Path.parent(target)
        let fileName = consistent ? "\(digest.hex).\(Path.name(target))" : Path.name(target)
        try keep(content, at: Path.join("targets", directory, fileName))
        return try edit(lister(of: target, below: role), signers: signers) { draft in
            var targets = draft.signed["targets"]?.object ?? [:]
            var entry: JSONObject = [
                "length": .integer(Int64(content.count)), "hashes": ["sha256": .string(digest.hex)],
            ]
            if let custom { entry["custom"] = custom }
            targets[target] = .object(entry)
            draft.signed["targets"] = .object(targets)
        }
    }

    /// Takes a target off a role's list. Its document stays: clients may be on the way to it.
    @discardableResult
    public func remove(path target: String, role: String = "targets", signers: [any Signer]) throws -> SigningReport {
        try edit(lister(of: target, below: role), signers: signers) { draft throws(TrustError) in
            var targets = draft.signed["targets"]?.object ?? [:]
            guard targets.removeValue(forKey: target) != nil else {
                throw TrustError(.targetNotFound, target, "role \(role) does not list it")
            }
            draft.signed["targets"] = .object(targets)
        }
    }

    /// Lets `role` speak for target paths that match `paths`, instead of `delegator`.
    @discardableResult
    public func delegate(
        to role: String, plan: RolePlan, paths: [String], terminating: Bool = false, delegator: String = "targets",
        signers: [any Signer]
    ) throws -> SigningReport {
        try Self.checkRoleName(role)
        try plan.check(role)
        guard !paths.isEmpty else { throw TrustError(.delegationInvalid, role, "no path is delegated") }
        if try current(role) == nil {
            var draft = MetadataDraft(type: TopLevel.targets, fields: ["targets": [:]])
            draft.renew(version: 1, now: clock.now(), days: plan.days)
            try stage(role, draft)
        }
        return try edit(delegator, signers: signers) { draft throws(TrustError) in
            var delegations = draft.signed["delegations"]?.object ?? ["keys": [:], "roles": []]
            guard delegations["succinct_roles"] == nil else {
                throw TrustError(.delegationInvalid, delegator, "delegates to hash bins, which cannot be mixed")
            }
            var keys = delegations["keys"]?.object ?? [:]
            for key in plan.keys { keys[key.keyID] = key.json }
            var entry = plan.json.object ?? [:]
            entry["name"] = .string(role)
            entry["paths"] = .array(paths.map { .string($0) })
            entry["terminating"] = .bool(terminating)
            var roles = delegations["roles"]?.array ?? []
            // An existing delegation keeps its place: order is meaning.
            if let place = roles.firstIndex(where: { $0["name"] == .string(role) }) {
                roles[place] = .object(entry)
            } else {
                roles.append(.object(entry))
            }
            delegations["keys"] = .object(keys)
            delegations["roles"] = .array(roles)
            draft.signed["delegations"] = .object(delegations)
        }
    }

    /// Changes who may sign a top-level role, and how many must. Root changes must then be signed by a threshold
    /// of the old root keys and of the new.
    @discardableResult
    public func rotate(_ role: String, plan: RolePlan, signers: [any Signer]) throws -> SigningReport {
        guard TopLevel.all.contains(role) || role == FreshnessTicket.role else {
            throw TrustError(.roleName, role, "is no top-level role; delegate anew to change a delegated role's keys")
        }
        try plan.check(role)
        guard var root = try current(TopLevel.root) else { throw missing(TopLevel.root) }
        var roles = root.signed["roles"]?.object ?? [:]
        if role == FreshnessTicket.role {
            var fields = plan.json.object ?? [:]
            // A ticket has no expiry of its own.
            fields[RepositoryFields.days] = nil
            root.signed[role] = .object(fields)
        } else {
            var fields = roles[role]?.object ?? [:]
            fields.merge(plan.json.object ?? [:]) { $1 }
            roles[role] = .object(fields)
        }
        var keys = root.signed["keys"]?.object ?? [:]
        for key in plan.keys { keys[key.keyID] = key.json }
        let lists = Array(roles.values) + [root.signed[FreshnessTicket.role] ?? .null]
        let used = Set(lists.flatMap { $0["keyids"]?.array?.compactMap(\.string) ?? [] })
        root.signed["keys"] = .object(keys.filter { used.contains($0.key) })
        root.signed["roles"] = .object(roles)
        root.renew(
            version: try nextVersion(TopLevel.root), now: clock.now(),
            days: Self.days(root.signed["roles"]?[TopLevel.root], RepositoryPlan.defaultDays.root))
        try stage(TopLevel.root, root)
        return try sign(signers)
    }

    /// Writes and signs new versions of `roles` with unchanged content, for a later expiry.
    @discardableResult
    public func refresh(_ roles: [String] = ["snapshot", "timestamp"], signers: [any Signer]) throws -> SigningReport {
        for role in roles { try restage(role) }
        return try sign(signers)
    }

    func restage(_ role: String) throws {
        guard var draft = try current(role) else { throw missing(role) }
        draft.renew(version: try nextVersion(role), now: clock.now(), days: try lifetime(of: role))
        try stage(role, draft)
    }

    func edit(
        _ role: String, signers: [any Signer], change: (inout MetadataDraft) throws -> Void
    ) throws -> SigningReport {
        guard var draft = try current(role) else { throw missing(role) }
        try change(&draft)
        draft.renew(version: try nextVersion(role), now: clock.now(), days: try lifetime(of: role))
        try stage(role, draft)
        return try sign(signers)
    }

    // MARK: Names

    /// Role names that are the same as a file name, in a URL and in a shell: what this writer makes.
    static func checkRoleName(_ role: String) throws(TrustError) {
        let plain = role.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) || $0 == 0x2D || $0 == 0x5F || $0 == 0x2E
        }
        guard plain, !role.isEmpty, role.utf8.count <= 64, !role.hasPrefix("."), !TopLevel.all.contains(role) else {
            throw TrustError(
                .roleName, role, "a delegated role's name is 1 to 64 letters, digits, \"-\", \"_\" or \".\", and new")
        }
    }

    func rootPath(_ version: Int64) -> String { Path.join(metadataDirectory, "\(version).root.json") }

    /// Where a release's document lies, from the repository's folder.
    public func documentPath(_ target: ReleaseTarget) -> String {
        Path.join("targets", target.app, "\(target.digest.hex).\(target.version).release.json")
    }

    func missing(_ role: String) -> TrustError {
        TrustError(.metadataMissing, role, "\(base) has no such role; holdfast repo status lists those there are")
    }

    static func days(_ role: JSONValue?, _ standard: Int) -> Int {
        role?[RepositoryFields.days]?.integer.map(Int.init) ?? standard
    }
}
