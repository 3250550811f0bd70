import Base

/// Everything a device remembers of whom and what it trusts. A value: the journal saves it, with the adoption
/// that it belongs to, in one transaction.
public struct TrustState: Sendable, Equatable {
    /// What a device may no longer go below for one application.
    public struct Floor: Sendable, Equatable, Codable {
        public var ctr: Int64
        public var epoch: Int64
        public init(ctr: Int64, epoch: Int64) {
            self.ctr = ctr
            self.epoch = epoch
        }
    }

    public internal(set) var release: TrustedMetadata
    /// Nil on a device that goes without a director.
    public internal(set) var director: TrustedMetadata?
    /// The time is at least this, whatever the clock says. Only grows.
    public internal(set) var timeFloor: Timestamp
    /// By application. Raised after a release proved healthy and was committed, never by seeing it.
    public internal(set) var floors: [String: Floor]
    /// The nonce that a freshness ticket must answer; nil when none is out.
    public internal(set) var nonce: [UInt8]?
    /// The one that a ticket has answered: saving the state voids it. Any other that is out by then stays.
    var answeredNonce: [UInt8]?

    init(
        release: TrustedMetadata, director: TrustedMetadata?, timeFloor: Timestamp, floors: [String: Floor],
        nonce: [UInt8]?
    ) {
        self.release = release
        self.director = director
        self.timeFloor = timeFloor
        self.floors = floors
        self.nonce = nonce
    }

    public subscript(repository: RepositoryName) -> TrustedMetadata? {
        switch repository {
        case .release: release
        case .director: director
        }
    }

    mutating func set(_ repository: RepositoryName, _ metadata: TrustedMetadata) {
        switch repository {
        case .release: release = metadata
        case .director: director = metadata
        }
    }

    /// First trust: root metadata brought by a person or an enrolment token.
    ///
    /// - Parameters:
    ///   - expected: SHA-256 of `releaseRoot` when it came by an untrusted way.
    ///   - buildTime: when this program was built: the first time floor.
    /// - Throws: `trust.metadata-malformed`, `trust.threshold-not-met` … when a root does not sign itself, and
    ///   `trust.hash-mismatch` when it is not the expected one.
    public static func provision(
        releaseRoot: [UInt8], directorRoot: [UInt8]? = nil, expected: Digest? = nil, buildTime: Timestamp,
        limits: TrustLimits = .standard
    ) throws(TrustError) -> TrustState {
        if let expected, Digest.sha256(releaseRoot) != expected {
            throw TrustError(.hashMismatch, TopLevel.root, "the root metadata's sha256 is not \(expected.hex)")
        }
        for bytes in [releaseRoot, directorRoot].compactMap({ $0 }) { try checkRoot(bytes, limits: limits) }
        return TrustState(
            release: TrustedMetadata(root: releaseRoot), director: directorRoot.map { TrustedMetadata(root: $0) },
            timeFloor: buildTime, floors: [:], nonce: nil)
    }

    private static func checkRoot(_ bytes: [UInt8], limits: TrustLimits) throws(TrustError) {
        guard bytes.count <= limits.rootBytes else {
            throw TrustError(.tooLarge, TopLevel.root, "more than \(limits.rootBytes) bytes")
        }
        try MetadataClient.checkSelfSigned(RootMetadata(parsing: bytes, limits: limits))
    }

    /// First trust in a director, beside a release repository that is trusted already. Replaces an earlier director.
    ///
    /// - Throws: as ``provision(releaseRoot:directorRoot:expected:buildTime:limits:)``.
    public mutating func adoptDirector(root: [UInt8], limits: TrustLimits = .standard) throws(TrustError) {
        try Self.checkRoot(root, limits: limits)
        director = TrustedMetadata(root: root)
    }

    /// The keys of a top-level role as the trusted root of a repository has them; nil without that repository.
    public func keys(of role: String, in repository: RepositoryName) throws(TrustError) -> RoleKeys? {
        guard let root = self[repository]?.root else { return nil }
        return try RootMetadata(parsing: root, limits: .standard).keys(of: role)
    }

    /// Raises the floors of an application to those of a release that proved healthy and was committed.
    public mutating func raiseFloors(app: String, ctr: Int64, epoch: Int64) {
        let old = floors[app] ?? Floor(ctr: 0, epoch: 0)
        floors[app] = Floor(ctr: max(old.ctr, ctr), epoch: max(old.epoch, epoch))
    }

    /// Raises the time floor: the time is known to be at least `time`, by the program's build or a signed statement.
    public mutating func raiseTimeFloor(to time: Timestamp) {
        timeFloor = max(timeFloor, time)
    }

    /// Makes the nonce that the next freshness ticket must answer. 16 random bytes; an older nonce is void.
    public mutating func makeNonce(using generator: inout some RandomNumberGenerator) -> [UInt8] {
        let fresh = (0..<16).map { _ in UInt8.random(in: 0...255, using: &generator) }
        nonce = fresh
        return fresh
    }
}
