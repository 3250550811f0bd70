import Base

/// The client workflow of The Update Framework 1.0.34, section 5, over one repository.
///
/// Steps carry the specification's numbers. Nothing here touches a disk or a wire: bytes come from a
/// ``MetadataFetcher``, and every file that becomes trusted is handed to `accept` before the next is fetched
/// (5.3.8, 5.4.5, 5.5.7, 5.6.6).
struct MetadataClient {
    let repository: String
    let fetcher: any MetadataFetcher
    let expiry: ExpiryPolicy
    let limits: TrustLimits
    /// Told of each file that became trusted, or with nil of one that no longer is.
    let accept: (_ trusted: TrustedMetadata, _ role: String, _ bytes: [UInt8]?) async throws -> Void

    private(set) var trusted: TrustedMetadata
    /// Over all that this refresh relied on.
    private(set) var freshness = Freshness.proven
    /// Latest issue time, and earliest expiry, of all that this refresh relied on.
    private(set) var issued: Timestamp?
    private(set) var earliestExpiry: Timestamp?

    private var root: RootMetadata
    private(set) var snapshot: SnapshotMetadata?
    private(set) var timestampVersion: Int64 = 0
    private(set) var targets: TargetsMetadata?
    /// Delegated roles verified in this refresh, with the keys that they were verified by.
    private var verifiedRoles = ExactMap<(keys: RoleKeys, metadata: TargetsMetadata)>()
    /// Whose list of a director with bins is looked into.
    private let device: String?
    /// That device's bin, as the verified targets role spreads devices.
    private var bin: DeviceBin?

    /// - Parameter device: in a director's repository, who asks: of its bins only the device's own is looked into.
    init(
        repository: String, trusted: TrustedMetadata, fetcher: any MetadataFetcher, expiry: ExpiryPolicy,
        limits: TrustLimits, device: String? = nil,
        accept: @escaping (_ trusted: TrustedMetadata, _ role: String, _ bytes: [UInt8]?) async throws -> Void
    ) throws(TrustError) {
        self.repository = repository
        self.trusted = trusted
        self.fetcher = fetcher
        self.expiry = expiry
        self.limits = limits
        self.device = device
        self.accept = accept
        // 5.2: the trusted root, provided out of band or by an earlier update. It must at least sign itself.
        root = try RootMetadata(parsing: trusted.root, limits: limits)
        try Self.checkSelfSigned(root)
    }

    static func checkSelfSigned(_ root: RootMetadata) throws(TrustError) {
        try root.keys(of: TopLevel.root).verify(
            root.document.signatures, over: root.document.canonical, element: TopLevel.root)
    }

    /// 5.1 to 5.6 for the top-level roles.
    mutating func refresh() async throws(TrustError) {
        // 5.1: the update start time is fixed: `expiry` was made once for this refresh.
        try await updateRoot()
        try await updateTimestamp()
        try await updateSnapshot()
        let targets = try await loadTargets(role: TopLevel.targets, keys: try root.keys(of: TopLevel.targets))
        self.targets = targets
        bin = device.flatMap { DeviceBins(targets.document.signed)?.bin(of: $0) }
    }

    var usesConsistentSnapshots: Bool { root.consistentSnapshot }
    var rootVersion: Int64 { root.document.version }
    var rootDocument: RootMetadata { root }

    // MARK: 5.3 root

    private mutating func updateRoot() async throws(TrustError) {
        let first = root
        // 5.3.1 to 5.3.9: one version after the other until there is no next.
        for step in 0... {
            // The highest number that there is has no next.
            guard root.document.version < Int64.max else { break }
            // 5.3.2, 5.3.3: version N+1, of at most so many bytes.
            let name = "\(root.document.version + 1).root.json"
            guard let bytes = try await fetch(name, limits.rootBytes, element: TopLevel.root) else { break }
            guard step < limits.rootSteps else {
                throw TrustError(
                    .rootChainTooLong, TopLevel.root, "more than \(limits.rootSteps) new roots in one refresh")
            }
            let next = try RootMetadata(parsing: bytes, limits: limits)
            // 5.3.4: signed by a threshold of the old root's keys and by a threshold of its own.
            try root.keys(of: TopLevel.root).verify(
                next.document.signatures, over: next.document.canonical, element: TopLevel.root)
            try Self.checkSelfSigned(next)
            // 5.3.5: exactly the next version.
            guard next.document.version == root.document.version + 1 else {
                throw TrustError(
                    next.document.version <= root.document.version ? .rollback : .versionMismatch, TopLevel.root,
                    "version \(next.document.version) in \(name)")
            }
            // 5.3.6: its expiry does not matter yet. 5.3.7, 5.3.8: it becomes trusted, and is kept.
            root = next
            try await commit(TopLevel.root, bytes)
        }
        // 5.3.10: the last root must not have expired.
        try judge(root.document, role: TopLevel.root)
        // 5.3.11: after a rotation of timestamp or snapshot keys, forget what those keys may have fast-forwarded.
        if root.hasRotated(TopLevel.timestamp, since: first) || root.hasRotated(TopLevel.snapshot, since: first) {
            for role in [TopLevel.timestamp, TopLevel.snapshot] where trusted[role] != nil {
                try await commit(role, nil)
            }
        }
        // 5.3.12: consistent snapshots as this root says; see `fileName`.
    }

    // MARK: 5.4 timestamp

    private mutating func updateTimestamp() async throws(TrustError) {
        let keys = try root.keys(of: TopLevel.timestamp)
        let current = trusted.timestamp.flatMap { bytes -> TimestampMetadata? in
            guard let old = try? TimestampMetadata(parsing: bytes, limits: limits),
                (try? keys.verify(old.document.signatures, over: old.document.canonical, element: TopLevel.timestamp))
                    != nil
            else { return nil }
            return old
        }
        // 5.4.1: always unversioned.
        guard let bytes = try await fetch("timestamp.json", limits.timestampBytes, element: TopLevel.timestamp) else {
            throw TrustError(.metadataMissing, TopLevel.timestamp, "the repository has no timestamp.json")
        }
        let new = try TimestampMetadata(parsing: bytes, limits: limits)
        // 5.4.2: signatures.
        try keys.verify(new.document.signatures, over: new.document.canonical, element: TopLevel.timestamp)
        if let current {
            // 5.4.3.1: never an older version; the same version again is the one already trusted.
            guard new.document.version >= current.document.version else {
                throw TrustError(
                    .rollback, TopLevel.timestamp,
                    "version \(new.document.version), \(current.document.version) is trusted already")
            }
            if new.document.version == current.document.version {
                try judge(current.document, role: TopLevel.timestamp)
                try bind(current)
                return
            }
            // 5.4.3.2: nor one that points at an older snapshot.
            guard new.snapshot.version >= current.snapshot.version else {
                throw TrustError(
                    .rollback, TopLevel.snapshot,
                    "timestamp names version \(new.snapshot.version), \(current.snapshot.version) was named before")
            }
        }
        // 5.4.4: not expired. 5.4.5: kept.
        try judge(new.document, role: TopLevel.timestamp)
        try await commit(TopLevel.timestamp, bytes)
        try bind(new)
    }

    private var snapshotEntry: MetaFile?

    private mutating func bind(_ timestamp: TimestampMetadata) throws(TrustError) {
        snapshotEntry = timestamp.snapshot
        timestampVersion = timestamp.document.version
    }

    // MARK: 5.5 snapshot

    private mutating func updateSnapshot() async throws(TrustError) {
        guard let entry = snapshotEntry else { return }
        let keys = try root.keys(of: TopLevel.snapshot)
        let old = trusted.snapshot.flatMap { bytes -> SnapshotMetadata? in
            guard let old = try? SnapshotMetadata(parsing: bytes, limits: limits),
                (try? keys.verify(old.document.signatures, over: old.document.canonical, element: TopLevel.snapshot))
                    != nil
            else { return nil }
            return old
        }
        if let old, old.document.version == entry.version,
            (try? entry.check(old.document.bytes, element: TopLevel.snapshot)) != nil
        {
            try judge(old.document, role: TopLevel.snapshot)
            snapshot = old
            return
        }
        // 5.5.1: by version where the root says so, of at most the length that timestamp gives.
        let name = fileName(TopLevel.snapshot, version: entry.version)
        let limit = min(entry.length ?? limits.snapshotBytes, limits.snapshotBytes)
        guard let bytes = try await fetch(name, limit, element: TopLevel.snapshot) else {
            throw TrustError(.metadataMissing, TopLevel.snapshot, "the repository has no \(name)")
        }
        // 5.5.2: hashes before anything is parsed.
        try entry.check(bytes, element: TopLevel.snapshot)
        let new = try SnapshotMetadata(parsing: bytes, limits: limits)
        // 5.5.3: signatures.
        try keys.verify(new.document.signatures, over: new.document.canonical, element: TopLevel.snapshot)
        // 5.5.4: the version that timestamp names.
        guard new.document.version == entry.version else {
            throw TrustError(
                .versionMismatch, TopLevel.snapshot,
                "version \(new.document.version) where timestamp names \(entry.version)")
        }
        // 5.5.5: no targets metadata goes back or goes missing.
        if let old {
            for (file, before) in old.meta.sorted(by: { $0.key < $1.key }) {
                guard let after = new.meta[file] else {
                    throw TrustError(.rollback, file, "was listed in the trusted snapshot, is missing from the new one")
                }
                guard after.version >= before.version else {
                    throw TrustError(.rollback, file, "version \(after.version), \(before.version) was listed before")
                }
            }
        }
        // 5.5.6: not expired. 5.5.7: kept.
        try judge(new.document, role: TopLevel.snapshot)
        try await commit(TopLevel.snapshot, bytes)
        snapshot = new
    }

    // MARK: 5.6 targets

    /// 5.6.1 to 5.6.6 for one targets role, from what is kept when that is still what the snapshot names.
    ///
    /// A kept file gets no credit for having been trusted before: its delegator may since have changed keys
    /// or threshold, so it passes every check that a fetched one does.
    private mutating func loadTargets(role: String, keys: RoleKeys) async throws(TrustError) -> TargetsMetadata {
        guard let snapshot else { throw TrustError(.metadataMissing, TopLevel.snapshot, "not loaded") }
        // Two delegators may name one role with different keys; what one vouches for the other may not.
        if let known = verifiedRoles[role], known.keys == keys { return known.metadata }
        let entry = try snapshot.entry(of: role)
        if let kept = trusted[role], let loaded = try? verified(kept, role: role, keys: keys, entry: entry),
            (try? judge(loaded.document, role: role)) != nil
        {
            verifiedRoles[role] = (keys, loaded)
            return loaded
        }
        // 5.6.1: by version where the root says so, of at most the length that the snapshot gives.
        let name = fileName(role, version: entry.version)
        let limit = min(entry.length ?? limits.targetsBytes, limits.targetsBytes)
        guard let bytes = try await fetch(name, limit, element: role) else {
            throw TrustError(.metadataMissing, role, "the repository has no \(name)")
        }
        let loaded = try verified(bytes, role: role, keys: keys, entry: entry)
        // 5.6.5: not expired. 5.6.6: kept.
        try judge(loaded.document, role: role)
        try await commit(role, bytes)
        verifiedRoles[role] = (keys, loaded)
        return loaded
    }

    private func verified(
        _ bytes: [UInt8], role: String, keys: RoleKeys, entry: MetaFile
    ) throws(TrustError) -> TargetsMetadata {
        // 5.6.2: hashes before anything is parsed.
        try entry.check(bytes, element: role)
        let loaded = try TargetsMetadata(parsing: bytes, role: role, limits: limits)
        // 5.6.3: signatures by the delegator's keys.
        try keys.verify(loaded.document.signatures, over: loaded.document.canonical, element: role)
        // 5.6.4: the version that the snapshot names.
        guard loaded.document.version == entry.version else {
            throw TrustError(
                .versionMismatch, role, "version \(loaded.document.version) where the snapshot names \(entry.version)")
        }
        return loaded
    }

    /// 5.6.7: preorder depth-first search for `path`. Nil when no role lists it.
    ///
    /// A role that cannot be loaded ends the search: to go on past it would let whoever withholds a role
    /// choose which role answers.
    mutating func find(_ path: String) async throws(TrustError) -> TargetFile? {
        if let bin, let found = try await search(bin.folder + path) { return found.named(path) }
        return try await search(path)
    }

    private mutating func search(_ path: String) async throws(TrustError) -> TargetFile? {
        guard let targets else { throw TrustError(.metadataMissing, TopLevel.targets, "not loaded") }
        guard path.utf8.count <= limits.nameBytes else {
            throw TrustError(.targetNotFound, String(path.prefix(64)), "the target path is too long")
        }
        if let found = try targets.target(path) { return found }
        let target = TargetPath(path)
        // The last of `pending` is next, so children are pushed in reverse.
        var pending = Array(targets.delegations(for: target).reversed())
        var visited: Set<ExactText> = []
        while let delegation = pending.popLast() {
            // 5.6.7.1: a role already visited is skipped, so cycles end.
            guard !visited.contains(ExactText(delegation.role)) else { continue }
            guard visited.count < limits.delegatedRoles else {
                throw TrustError(
                    .tooManyRoles, path, "not found within \(limits.delegatedRoles) delegated roles")
            }
            visited.insert(ExactText(delegation.role))
            let role = try await loadTargets(role: delegation.role, keys: delegation.keys)
            if let found = try role.target(path) { return found }
            // 5.6.7.2.1: nothing after a terminating delegation is looked at, only what is below it.
            if delegation.isTerminating { pending = [] }
            pending += role.delegations(for: target).reversed()
        }
        return nil
    }

    /// Every target reachable by delegation whose path `wants`, first mention first: for choosing without a path.
    ///
    /// Delegated roles may speak only for paths that every delegation on the way to them covers.
    mutating func list(_ wants: (String) -> Bool) async throws(TrustError) -> [TargetFile] {
        guard let targets else { throw TrustError(.metadataMissing, TopLevel.targets, "not loaded") }
        struct Visit {
            var delegation: Delegation
            var way: [Delegation]
        }
        var found: [TargetFile] = []
        var known: Set<ExactText> = []
        try targets.forEachTarget { (file) throws(TrustError) in
            if wants(file.path), known.insert(ExactText(file.path)).inserted { found.append(file) }
        }
        // The lists of other devices are none of this device's business.
        let bin = bin
        let own = targets.allDelegations.lazy.filter { delegation in
            bin.map { !delegation.role.hasPrefix(DeviceBins.prefix) || delegation.role == $0.role } ?? true
        }
        var pending = own.prefix(limits.delegatedRoles + 1).map { Visit(delegation: $0, way: [$0]) }
        pending.reverse()
        var visited: Set<ExactText> = []
        while let visit = pending.popLast() {
            guard !visited.contains(ExactText(visit.delegation.role)) else { continue }
            guard visited.count < limits.delegatedRoles else {
                throw TrustError(
                    .tooManyRoles, repository, "more than \(limits.delegatedRoles) delegated roles to look through")
            }
            visited.insert(ExactText(visit.delegation.role))
            let role = try await loadTargets(role: visit.delegation.role, keys: visit.delegation.keys)
            try role.forEachTarget { (file) throws(TrustError) in
                let name = bin?.plain(file.path) ?? file.path
                guard wants(name), !known.contains(ExactText(name)) else { return }
                let path = TargetPath(file.path)
                guard visit.way.allSatisfy({ $0.matches(path) }) else { return }
                known.insert(ExactText(name))
                found.append(file.named(name))
            }
            let below = role.allDelegations.prefix(limits.delegatedRoles + 1)
            pending += below.map { Visit(delegation: $0, way: visit.way + [$0]) }.reversed()
        }
        return found
    }

    // MARK: Shared

    private func fileName(_ role: String, version: Int64) -> String {
        root.consistentSnapshot ? "\(version).\(role).json" : "\(role).json"
    }

    private func fetch(_ name: String, _ limit: Int, element: String) async throws(TrustError) -> [UInt8]? {
        let bytes: [UInt8]?
        do {
            bytes = try await fetcher.fetchMetadata(name, maxLength: limit)
        } catch let error as TrustError {
            throw error
        } catch {
            throw TrustError(.fetchFailed, element, "\(name): \(describe(error))")
        }
        if let bytes, bytes.count > limit {
            throw TrustError(.tooLarge, element, "\(name) has more than \(limit) bytes")
        }
        return bytes
    }

    private mutating func judge(_ document: SignedMetadata, role: String) throws(TrustError) {
        freshness = max(freshness, try expiry.judge(document.expires, role: role))
        earliestExpiry = min(earliestExpiry ?? document.expires, document.expires)
        if let time = document.issued { issued = max(issued ?? time, time) }
    }

    private mutating func commit(_ role: String, _ bytes: [UInt8]?) async throws(TrustError) {
        // Changed in place: a copy of the delegated roles at each of a thousand bins would be quadratic.
        let old = trusted[role]
        trusted.set(role, bytes)
        do {
            try await accept(trusted, role, bytes)
        } catch {
            trusted.set(role, old)
            throw error as? TrustError ?? TrustError(.persistFailed, role, describe(error))
        }
    }
}

/// An error's own words when it has any.
func describe(_ error: any Error) -> String { (error as? any CodedError)?.message ?? String(describing: error) }
