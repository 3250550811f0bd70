import Base
import Model

/// Where a repository's files lie.
extension Repository {
    // MARK: Staged

    private func stagedPath(_ role: String) -> String { Path.join(stagedDirectory, role + ".json") }

    func isStaged(_ role: String) -> Bool { ((try? fileSystem.status(stagedPath(role))) ?? nil) != nil }

    func staged(_ role: String) throws -> MetadataDraft? {
        guard isStaged(role) else { return nil }
        return try MetadataDraft(
            parsing: fileSystem.read(stagedPath(role), limit: limits.targetsBytes), element: role, limits: limits)
    }

    func stage(_ role: String, _ draft: MetadataDraft) throws {
        try fileSystem.makeDirectories(stagedDirectory, op: "repository.stage")
        try fileSystem.replace(stagedPath(role), with: draft.bytes(role), op: "repository.stage")
    }

    /// Roles with a staged version, root first.
    func stagedRoles() throws -> [String] {
        guard try fileSystem.status(stagedDirectory) != nil else { return [] }
        let names = try fileSystem.list(stagedDirectory).filter { $0.hasSuffix(".json") }.map { String($0.dropLast(5)) }
        let order = [TopLevel.root, TopLevel.targets]
        let last = [TopLevel.snapshot, TopLevel.timestamp]
        return order.filter(names.contains) + names.filter { !order.contains($0) && !last.contains($0) }
            + last.filter(names.contains)
    }

    func stagedTargetsRoles() throws -> [String] {
        try stagedRoles().filter { $0 == TopLevel.targets || !TopLevel.all.contains($0) }
    }

    // MARK: Published

    /// The highest version of `role` that is published; 0 for none.
    func publishedVersion(_ role: String) throws -> Int64 {
        guard try fileSystem.status(metadataDirectory) != nil else { return 0 }
        if role == TopLevel.timestamp { return try read("timestamp.json", role)?.version ?? 0 }
        let suffix = ".\(role).json"
        let versions = try fileSystem.list(metadataDirectory).compactMap { name -> Int64? in
            name.hasSuffix(suffix) ? Int64(name.dropLast(suffix.count)) : nil
        }
        if let highest = versions.max() { return highest }
        return try read("\(role).json", role)?.version ?? 0
    }

    /// Name of the published file of `role` in force; nil for none.
    func publishedName(_ role: String) throws -> String? {
        if role != TopLevel.timestamp {
            let version = try publishedVersion(role)
            let name = "\(version).\(role).json"
            if version > 0, try fileSystem.status(Path.join(metadataDirectory, name)) != nil { return name }
        }
        let plain = "\(role).json"
        return try fileSystem.status(Path.join(metadataDirectory, plain)) == nil ? nil : plain
    }

    func publishedBytes(_ role: String) throws -> [UInt8]? {
        guard let name = try publishedName(role) else { return nil }
        return try fileSystem.read(Path.join(metadataDirectory, name), limit: limits.targetsBytes)
    }

    func published(_ role: String) throws -> MetadataDraft? {
        try publishedName(role).flatMap { try read($0, role) }
    }

    private func read(_ name: String, _ role: String) throws -> MetadataDraft? {
        let file = Path.join(metadataDirectory, name)
        guard try fileSystem.status(file) != nil else { return nil }
        return try MetadataDraft(
            parsing: fileSystem.read(file, limit: limits.targetsBytes), element: role, limits: limits)
    }

    /// Writes a version in force and takes it off the stage. Old versions stay: with consistent snapshots a
    /// client may be in the middle of reading them.
    func publish(_ role: String, _ draft: MetadataDraft) throws {
        let isConsistent = role == TopLevel.root ? true : try publishedOrStagedRoot().consistentSnapshot
        let isVersioned = role != TopLevel.timestamp && isConsistent
        let name = isVersioned ? "\(draft.version).\(role).json" : "\(role).json"
        try fileSystem.makeDirectories(metadataDirectory, op: "repository.publish")
        try fileSystem.replace(
            Path.join(metadataDirectory, name), with: draft.bytes(role), op: "repository.publish")
        try fileSystem.unlink(stagedPath(role), op: "repository.publish")
    }

    // MARK: Either

    /// The staged version, else the published one.
    func current(_ role: String) throws -> MetadataDraft? {
        if let draft = try staged(role) { return draft }
        return try published(role)
    }

    /// The published version, else the staged one.
    private func current(published role: String) throws -> MetadataDraft? {
        if let draft = try published(role) { return draft }
        return try staged(role)
    }

    func nextVersion(_ role: String) throws -> Int64 { try publishedVersion(role) + 1 }

    /// The root in force; before the first is published, the staged one.
    func publishedOrStagedRoot() throws -> RootMetadata {
        guard let draft = try current(published: TopLevel.root) else { throw missing(TopLevel.root) }
        return try RootMetadata(parsing: draft.bytes(TopLevel.root), limits: limits)
    }

    /// `targets` and every delegated role, in preorder of the delegations as they stand.
    func targetsRoles() throws -> [String] {
        var found: [String] = []
        var pending = [TopLevel.targets]
        while let role = pending.popLast() {
            guard !found.contains(role), let draft = try current(role) else { continue }
            found.append(role)
            let names = draft.signed["delegations"]?["roles"]?.array?.compactMap { $0["name"]?.string } ?? []
            pending += names.reversed()
            guard found.count <= limits.delegationsPerRole else {
                throw TrustError(.tooManyRoles, base, "more than \(limits.delegationsPerRole) targets roles")
            }
        }
        return found
    }

    /// Days that a role lives, as the role that delegates to it says.
    func lifetime(of role: String) throws -> Int {
        let standard = RepositoryPlan.defaultDays
        if TopLevel.all.contains(role) {
            guard let root = try current(TopLevel.root) else { throw missing(TopLevel.root) }
            let days =
                switch role {
                case TopLevel.root: standard.root
                case TopLevel.targets: standard.targets
                case TopLevel.snapshot: standard.snapshot
                default: standard.timestamp
                }
            return Self.days(root.signed["roles"]?[role], days)
        }
        for delegator in try targetsRoles() {
            let roles = try current(delegator)?.signed["delegations"]?["roles"]?.array ?? []
            if let entry = roles.first(where: { $0["name"]?.string == role }) {
                return Self.days(entry, standard.targets)
            }
        }
        return standard.targets
    }
}
