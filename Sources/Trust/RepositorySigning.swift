import Base
import Model

/// What signing did, and what it waits for.
public struct SigningReport: Sendable, Equatable {
    /// Roles that reached their threshold and are published now, in order.
    public var published: [Published] = []
    /// Roles that wait for more signatures.
    public var pending: [Pending] = []

    public struct Published: Sendable, Equatable {
        public var role: String
        public var version: Int64
    }

    public struct Pending: Sendable, Equatable {
        public var role: String
        public var version: Int64
        /// Valid signatures so far, and how many it takes; a root counts for the old and for the new keys.
        public var have: Int
        public var need: Int
        /// Whether it is the former root's keys that are asked, whose word a new root needs besides its own keys'.
        public var isOfFormerKeys = false
        /// Keyids that may still sign.
        public var missing: [String]
    }
}

extension Repository {
    /// Signs what is staged with whatever `signers` are there, and publishes what then meets its threshold.
    ///
    /// A second key holder calls this on the carried folder. Snapshot and timestamp are written anew when
    /// something they cover was published and their keys are among `signers`; else they stay pending. A snapshot waits
    /// for every delegated role.
    @discardableResult
    public func sign(_ signers: [any Signer]) throws -> SigningReport {
        try checkFolders()
        var operation = self
        operation.listing = try PublishedListing(self)
        return try operation.signAll(signers)
    }

    private func signAll(_ signers: [any Signer]) throws -> SigningReport {
        var report = SigningReport()
        // Root first: it says whose signatures count. Then targets roles, delegators before delegated.
        if isStaged(TopLevel.root) { try advance(TopLevel.root, signers, &report) }
        guard try published(TopLevel.root) != nil else {
            try collectPending(&report)
            return report
        }
        try restageOrphans()
        let held = try rolesHeldByRoot()
        // Twice: publishing a delegator may change whose signatures a delegated role needs.
        for _ in 0..<2 {
            for role in try stagedTargetsRoles() where !held.contains(role) { try advance(role, signers, &report) }
            try restageOrphans()
        }
        if try needsSnapshot(), try delegationsAreSigned() { try stageSnapshot() }
        for role in [TopLevel.snapshot, TopLevel.timestamp] {
            if role == TopLevel.timestamp, try needsTimestamp() { try stageTimestamp() }
            if isStaged(role), !held.contains(role) { try advance(role, signers, &report) }
        }
        try collectPending(&report)
        return report
    }

    /// Top-level roles whose keys a staged root changes: signing them waits until that root is in force, since
    /// what the old keys sign would be worthless a moment later.
    private func rolesHeldByRoot() throws -> Set<String> {
        guard let draft = try staged(TopLevel.root), let old = try published(TopLevel.root) else { return [] }
        let next = try RootMetadata(parsing: draft.bytes(TopLevel.root), limits: limits)
        let now = try RootMetadata(parsing: old.bytes(TopLevel.root), limits: limits)
        return TopLevel.all.subtracting([TopLevel.root]).filter { next.roles[$0] != now.roles[$0] }
    }

    /// After a rotation, what the role's former keys signed is written anew for its new keys.
    private func restageOrphans() throws {
        let root = try publishedOrStagedRoot()
        for role in try targetsRoles() + [TopLevel.snapshot, TopLevel.timestamp] where !isStaged(role) {
            guard let draft = try published(role) else { continue }
            let keys = TopLevel.all.contains(role) ? try root.keys(of: role) : try delegation(of: role)?.keys
            if let keys, !Self.meets(keys, draft, try draft.canonical(role), role) { try restage(role) }
        }
    }

    /// Adds signatures to one staged role and publishes it when enough are there.
    private func advance(_ role: String, _ signers: [any Signer], _ report: inout SigningReport) throws {
        guard var draft = try staged(role), let authorities = try authorities(of: role, draft) else { return }
        let allowed = Set(authorities.flatMap(\.keyIDs))
        let signed = try draft.sign(role, by: signers, allowed: allowed)
        if !signed.isEmpty { try stage(role, draft) }
        let message = try draft.canonical(role)
        for authority in authorities {
            guard Self.meets(authority, draft, message, role) else { return }
        }
        try publish(role, draft)
        report.published.append(.init(role: role, version: draft.version))
    }

    private static func meets(
        _ keys: RoleKeys, _ draft: MetadataDraft, _ message: [UInt8], _ role: String
    ) -> Bool {
        do throws(TrustError) {
            try keys.verify(draft.signatures, over: message, element: role)
            return true
        } catch {
            return false
        }
    }

    func collectPending(_ report: inout SigningReport) throws {
        for role in try stagedRoles() {
            guard let draft = try staged(role), let authorities = try authorities(of: role, draft) else { continue }
            let message = try draft.canonical(role)
            for (number, keys) in authorities.enumerated() {
                let valid = keys.keyIDs.filter { keyID in
                    guard let signature = draft.signatures.first(where: { $0.keyID == keyID }) else { return false }
                    let alone = RoleKeys(keyIDs: [keyID], threshold: 1, keys: keys.keys)
                    return (try? alone.verify([signature], over: message, element: role)) != nil
                }
                guard valid.count < Int(clamping: keys.threshold) else { continue }
                report.pending.append(
                    .init(
                        role: role, version: draft.version, have: valid.count, need: Int(clamping: keys.threshold),
                        isOfFormerKeys: authorities.count > 1 && number == 0,
                        missing: keys.keyIDs.filter { !valid.contains($0) }))
            }
        }
    }

    /// Whose thresholds a staged role must meet: its delegator's word; for a root the old root's and its own.
    /// Nil when no delegation names the role yet.
    func authorities(of role: String, _ draft: MetadataDraft) throws -> [RoleKeys]? {
        if role == TopLevel.root {
            let own = try RootMetadata(parsing: draft.bytes(role), limits: limits).keys(of: role)
            guard let old = try published(TopLevel.root) else { return [own] }
            let before = try RootMetadata(parsing: old.bytes(role), limits: limits).keys(of: role)
            return before == own ? [own] : [before, own]
        }
        if TopLevel.all.contains(role) { return [try publishedOrStagedRoot().keys(of: role)] }
        return try delegation(of: role).map { [$0.keys] }
    }

    /// The first delegation to `role`: as published, or, while it is new, as staged.
    func delegation(of role: String) throws -> Delegation? {
        var found: Delegation?
        try walkTargetsRoles { delegator, _ in
            for draft in [try published(delegator), try staged(delegator)].compactMap({ $0 })
            where draft.delegatedNames.contains(where: { $0.isExactly(role) }) {
                let metadata = try TargetsMetadata(parsing: draft.bytes(delegator), role: delegator, limits: limits)
                found = metadata.allDelegations.first { $0.role.isExactly(role) }
                if found != nil { return true }
            }
            return false
        }
        return found
    }

    // MARK: Snapshot and timestamp

    /// Whether the published targets roles are other than the current snapshot lists.
    private func needsSnapshot() throws -> Bool {
        guard try published(TopLevel.targets) != nil else { return false }
        return try snapshotMeta() != (try current(TopLevel.snapshot))?.signed["meta"]
    }

    /// Whether every role that a published one delegates to is published and signed as its delegator asks.
    ///
    /// Until then no snapshot lists the delegator's change: it would lead every client to a role that cannot be
    /// verified, which ends its search, also for what others list.
    private func delegationsAreSigned() throws -> Bool {
        var visited: Set<ExactText> = []
        var pending = [TopLevel.targets]
        while let delegator = pending.popLast() {
            guard visited.insert(ExactText(delegator)).inserted, let draft = try published(delegator) else { continue }
            let metadata = try TargetsMetadata(parsing: draft.bytes(delegator), role: delegator, limits: limits)
            for delegation in metadata.allDelegations {
                try Self.checkRoleName(delegation.role)
                guard let below = try published(delegation.role),
                    Self.meets(delegation.keys, below, try below.canonical(delegation.role), delegation.role)
                else { return false }
                pending.append(delegation.role)
            }
        }
        return true
    }

    private func snapshotMeta() throws -> JSONValue {
        var meta = JSONObject()
        for role in try targetsRoles() {
            guard let bytes = try publishedBytes(role), let draft = try published(role) else { continue }
            meta[role + ".json"] = [
                "version": .integer(draft.version), "length": .integer(Int64(bytes.count)),
                "hashes": ["sha256": .string(Digest.sha256(bytes).hex)],
            ]
        }
        return .object(meta)
    }

    private func stageSnapshot() throws {
        var draft = try current(TopLevel.snapshot) ?? MetadataDraft(type: TopLevel.snapshot, fields: [:])
        draft.signed["meta"] = try snapshotMeta()
        draft.renew(
            version: try nextVersion(TopLevel.snapshot), now: clock.now(), days: try lifetime(of: TopLevel.snapshot))
        try stage(TopLevel.snapshot, draft)
    }

    private func needsTimestamp() throws -> Bool {
        guard try published(TopLevel.snapshot) != nil else { return false }
        return try timestampMeta() != (try current(TopLevel.timestamp))?.signed["meta"]
    }

    private func timestampMeta() throws -> JSONValue {
        guard let bytes = try publishedBytes(TopLevel.snapshot), let draft = try published(TopLevel.snapshot) else {
            throw missing(TopLevel.snapshot)
        }
        return [
            "snapshot.json": [
                "version": .integer(draft.version), "length": .integer(Int64(bytes.count)),
                "hashes": ["sha256": .string(Digest.sha256(bytes).hex)],
            ]
        ]
    }

    private func stageTimestamp() throws {
        var draft = try current(TopLevel.timestamp) ?? MetadataDraft(type: TopLevel.timestamp, fields: [:])
        draft.signed["meta"] = try timestampMeta()
        draft.renew(
            version: try nextVersion(TopLevel.timestamp), now: clock.now(), days: try lifetime(of: TopLevel.timestamp))
        try stage(TopLevel.timestamp, draft)
    }
}
