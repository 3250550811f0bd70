import Base

/// Every bound of the verifier, with its unit. Metadata comes from anyone who can write to a stick or a wire.
public struct TrustLimits: Sendable, Equatable {
    /// Bytes of one metadata file, where the metadata that names it gives no length.
    public var rootBytes = 512 << 10
    public var timestampBytes = 16 << 10
    public var snapshotBytes = 4 << 20
    public var targetsBytes = 16 << 20
    /// Bytes of a release document.
    public var releaseBytes = 4 << 20
    /// Bytes of a DSSE envelope.
    public var envelopeBytes = 256 << 10

    /// New roots followed in one refresh (specification 5.3.3 leaves the bound to the client).
    public var rootSteps = 256
    /// Delegated roles visited in one search (5.6.7.1).
    public var delegatedRoles = 32
    /// Delegations in one metadata file.
    public var delegationsPerRole = 4096

    /// Nesting of a metadata file, and JSON values in one.
    public var jsonDepth = 32
    public var jsonNodes = 2_000_000

    /// Keys in one metadata file, and signatures on it.
    public var keys = 4096
    public var signatures = 256
    /// Bytes of one public key's text.
    public var keyBytes = 16 << 10
    /// Characters of a role name or target path.
    public var nameBytes = 1024

    public init() {}
    public static let standard = TrustLimits()
}
