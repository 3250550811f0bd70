import Base
import Model

/// A repository at a glance.
public struct RepositoryStatus: Sendable, Equatable {
    public struct Role: Sendable, Equatable {
        public var name: String
        /// 0 when nothing is published yet.
        public var version: Int64
        public var expires: Timestamp?
        public var keyIDs: [String]
        public var threshold: Int
        /// Targets listed, for targets roles.
        public var targets: Int
    }
    public var roles: [Role]
    public var pending: [SigningReport.Pending]
    public var releases: [ReleaseTarget]
}

/// Something wrong, or soon to be, in a repository.
public struct LintFinding: Sendable, Equatable {
    public enum Severity: String, Sendable, Codable { case error, warning }
    public var severity: Severity
    public var element: String
    public var message: String
}

extension Repository {
    public func status() throws -> RepositoryStatus {
        var roles: [RepositoryStatus.Role] = []
        for name in [TopLevel.root] + (try targetsRoles()) + [TopLevel.snapshot, TopLevel.timestamp] {
            let published = try published(name)
            let draft = try current(name)
            // A role that nothing was written for yet has its keys already: they will be asked for.
            guard
                let keys = try draft.map({ try authorities(of: name, $0)?.last })
                    ?? (TopLevel.all.contains(name) ? try publishedOrStagedRoot().keys(of: name) : nil)
            else { continue }
            roles.append(
                .init(
                    name: name, version: published?.version ?? 0, expires: published?.expires,
                    keyIDs: keys.keyIDs, threshold: Int(clamping: keys.threshold),
                    targets: draft?.signed["targets"]?.object?.count ?? 0))
        }
        return RepositoryStatus(roles: roles, pending: try pending(), releases: try releases())
    }

    /// Who may sign freshness tickets, and how many must.
    public func ticketSigners() throws -> RoleKeys {
        try FreshnessTicket.signers(RootMetadata(parsing: rootBytes(), limits: limits), limits: limits)
    }

    /// What waits for signatures.
    public func pending() throws -> [SigningReport.Pending] {
        try Self.unsigned(self)
    }

    private static func unsigned(_ repository: Repository) throws -> [SigningReport.Pending] {
        var report = SigningReport()
        try repository.collectPending(&report)
        return report.pending
    }

    /// Releases listed in any targets role, staged ones too, by path.
    public func releases() throws -> [ReleaseTarget] { try releases { try current($0) } }

    /// Releases whose listing enough key holders have signed, by path.
    public func publishedReleases() throws -> [ReleaseTarget] { try releases { try published($0) } }

    private func releases(_ draft: (String) throws -> MetadataDraft?) throws -> [ReleaseTarget] {
        var found: [String: ReleaseTarget] = [:]
        for role in try targetsRoles() {
            guard let draft = try draft(role) else { continue }
            let metadata = try TargetsMetadata(parsing: draft.bytes(role), role: role, limits: limits)
            try metadata.forEachTarget { (file) throws(TrustError) in
                guard file.path.hasSuffix(ReleaseTarget.pathSuffix), found[file.path] == nil else { return }
                do throws(TrustError) { found[file.path] = try ReleaseTarget(file) } catch { return }
            }
        }
        return found.values.sorted { ($0.app, $0.ctr, $0.path) < ($1.app, $1.ctr, $1.path) }
    }

    /// A release's document, checked against its listing.
    public func document(of target: ReleaseTarget) throws -> [UInt8] {
        let file = Path.join(path, documentPath(target))
        let bytes = try fileSystem.read(file, limit: limits.releaseBytes)
        guard Digest.sha256(bytes) == target.digest else {
            throw TrustError(.hashMismatch, target.path, "\(file) is not the document that is listed")
        }
        return bytes
    }

    /// Days before expiry that are worth a warning, where none are named.
    public static let warningDays = 14

    /// Reads the folder as a device would and says all that is wrong with it, or soon will be.
    ///
    /// - Parameter days: warns of what expires within so many days. When nil: within ``warningDays``, or within a third
    ///   of the role's life where that is less, since a timestamp lives a week and is always near its end.
    public func lint(warnDays days: Int? = nil) async throws -> [LintFinding] {
        var findings: [LintFinding] = []
        guard let root = try publishedRoot(1) else {
            return [
                .init(
                    severity: .error, element: TopLevel.root,
                    message: "no root is published in \(base): sign what waits, with holdfast repo sign")
            ]
        }
        let now = clock.now()
        do throws(TrustError) {
            var client = try MetadataClient(
                repository: name.rawValue, trusted: TrustedMetadata(root: root),
                fetcher: DirectoryFetcher(metadataDirectory), expiry: ExpiryPolicy(wallClock: now), limits: limits
            ) { _, _, _ in }
            try await client.refresh()
            for target in try releasesToCheck() {
                if try await client.find(target.path) == nil {
                    findings.append(
                        .init(
                            severity: .error, element: target.path,
                            message: "no client finds it: no delegation covers its path"))
                }
            }
        } catch {
            findings.append(.init(severity: .error, element: error.element, message: error.detail))
        }
        try lintRoles(now: now, days: days, &findings)
        try lintDocuments(&findings)
        return findings
    }

    private func releasesToCheck() throws(TrustError) -> [ReleaseTarget] {
        do { return try releases() } catch let error as TrustError { throw error } catch {
            throw TrustError(.repositoryInvalid, base, describe(error))
        }
    }

    private func lintRoles(now: Timestamp, days: Int?, _ findings: inout [LintFinding]) throws {
        for role in try status().roles {
            let near = try days ?? min(Self.warningDays, max(1, lifetime(of: role.name) / 3))
            if let expires = role.expires, expires > now, expires <= now + Int64(near) * 86_400 {
                findings.append(
                    .init(
                        severity: .warning, element: role.name,
                        message: "expires \(expires), within \(near) days: sign it anew with holdfast repo refresh"))
            }
            if role.keyIDs.count < role.threshold {
                findings.append(
                    .init(
                        severity: .error, element: role.name,
                        message: "has \(role.keyIDs.count) keys, \(role.threshold) must sign"))
            }
            if role.name == TopLevel.root, role.threshold == 1 {
                findings.append(
                    .init(
                        severity: .warning, element: role.name,
                        message: "one key alone can replace every other: raise the threshold outside a lab"))
            }
        }
        for wait in try pending() {
            findings.append(
                .init(
                    severity: .warning, element: wait.role,
                    message: "version \(wait.version) has \(wait.have) of \(wait.need) signatures"))
        }
    }

    private func lintDocuments(_ findings: inout [LintFinding]) throws {
        guard name == .release else { return }
        for target in try releases() {
            do {
                _ = try document(of: target)
            } catch {
                findings.append(.init(severity: .error, element: target.path, message: describe(error)))
            }
        }
        let byCounter = Dictionary(grouping: try releases()) { "\($0.app) ctr \($0.ctr)" }
        for (name, group) in byCounter.sorted(by: { $0.key < $1.key })
        where Set(group.map { "\($0.selector) \($0.architectures)" }).count < group.count {
            findings.append(
                .init(
                    severity: .error, element: name,
                    message: "several releases for the same devices: \(group.map(\.path).joined(separator: ", "))"))
        }
    }

    func publishedRoot(_ version: Int64) throws -> [UInt8]? {
        guard try fileSystem.status(rootPath(version)) != nil else { return nil }
        return try fileSystem.read(rootPath(version), limit: limits.rootBytes)
    }

    /// The newest published root: what a device is provisioned with.
    public func rootBytes() throws -> [UInt8] {
        guard let bytes = try publishedBytes(TopLevel.root) else { throw missing(TopLevel.root) }
        return bytes
    }
}
