import Base

/// A plain TUF client: the workflow of the specification and nothing of Holdfast's own, with the wall clock as it is.
///
/// What a device runs is ``ReleaseVerifier``; this is the same workflow for tools and for other repositories.
public struct UpdateClient {
    private var client: MetadataClient

    /// - Parameters:
    ///   - trusted: what is kept from before; at least a root.
    ///   - now: the update start time (5.1).
    ///   - persist: keeps a role's bytes, or with nil forgets them; called before the next file is fetched.
    /// - Throws: when the root is malformed or does not sign itself.
    public init(
        trusted: TrustedMetadata, fetcher: any MetadataFetcher, now: Timestamp, limits: TrustLimits = .standard,
        persist: @escaping (_ role: String, _ bytes: [UInt8]?) async throws -> Void
    ) throws(TrustError) {
        client = try MetadataClient(
            repository: "repository", trusted: trusted, fetcher: fetcher, expiry: ExpiryPolicy(wallClock: now),
            limits: limits
        ) { _, role, bytes in try await persist(role, bytes) }
    }

    /// Brings the top-level roles up to date (5.3 to 5.6).
    public mutating func refresh() async throws(TrustError) { try await client.refresh() }

    /// What the repository says of `path`, through delegations (5.6.7); nil when no role lists it.
    public mutating func find(_ path: String) async throws(TrustError) -> TargetDescription? {
        try await client.find(path).map(TargetDescription.init)
    }

    public var usesConsistentSnapshots: Bool { client.usesConsistentSnapshots }

    /// All that is trusted now.
    public var trusted: TrustedMetadata { client.trusted }
}
