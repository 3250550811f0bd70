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
        try checkFolders()
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
        if let highest = try (listing ?? PublishedListing(self)).version(of: role) { return highest }
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
        if isVersioned { listing?.add(role, draft.version) }
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

    func nextVersion(_ role: String) throws -> Int64 {
        let (next, overflow) = try publishedVersion(role).addingReportingOverflow(1)
        guard !overflow else {
            throw TrustError(
                .repositoryInvalid, role, "its version is the highest there is: rotate its key and begin anew")
        }
        return next
    }

    /// Whoever handed the folder over may have put links into it: what is read and written stays inside.
    func checkFolders() throws {
        for folder in [base, metadataDirectory, stagedDirectory, Path.join(path, "targets")] {
            if let status = try fileSystem.status(folder), status.kind != .directory, folder != path {
                throw TrustError(.repositoryInvalid, folder, "is no folder but something else, maybe a link")
            }
        }
    }

    /// The root in force; before the first is published, the staged one.
    func publishedOrStagedRoot() throws -> RootMetadata {
        guard let draft = try current(published: TopLevel.root) else { throw missing(TopLevel.root) }
        return try RootMetadata(parsing: draft.bytes(TopLevel.root), limits: limits)
    }

    /// `targets` and every delegated role, in preorder of the delegations as they stand.
    func targetsRoles() throws -> [String] {
        var found: [String] = []
        try walkTargetsRoles { role, _ in
            found.append(role)
            return false
        }
        return found
    }

    /// Visits `targets` and every delegated role in preorder, as they stand, until `visit` answers true.
    func walkTargetsRoles(_ visit: (_ role: String, _ draft: MetadataDraft) throws -> Bool) throws {
        var visited: Set<ExactText> = []
        var pending = [TopLevel.targets]
        while let role = pending.popLast() {
            guard !visited.contains(ExactText(role)), let draft = try current(role) else { continue }
            visited.insert(ExactText(role))
            // One more than a delegator may name: its own.
            guard visited.count <= limits.delegationsPerRole + 1 else {
                throw TrustError(.tooManyRoles, base, "more than \(limits.delegationsPerRole) targets roles")
            }
            if try visit(role, draft) { return }
            let names = draft.delegatedNames
            // A name is a file's name here: one that could be a path may be in a folder that came from elsewhere.
            for name in names { try Self.checkRoleName(name) }
            pending += names.reversed()
        }
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
        var days = standard.targets
        try walkTargetsRoles { _, draft in
            guard draft.delegatedNames.contains(where: { $0.isExactly(role) }) else { return false }
            let delegations = draft.signed["delegations"]
            let entry =
                delegations?["succinct_roles"]
                ?? delegations?["roles"]?.array?.first { $0["name"] == .string(role) }
            days = Self.days(entry, standard.targets)
            return true
        }
        return days
    }
}
