import Base

/// A value whose bytes passed every check. Only this module makes one: what takes a `Verified` cannot be
/// handed anything else.
public struct Verified<Value: Sendable>: Sendable {
    public let value: Value
    /// The document as it was signed.
    public let bytes: [UInt8]
    public let targetPath: String
    /// SHA-256 of the document.
    public let digest: Digest
    /// Bytes of the document.
    public let length: Int64
    public let freshness: Freshness
    /// What to remember, saved in the transaction that adopts the value.
    public let newState: TrustState
    /// What became of every release that was looked at.
    public let selection: Selection

    init(
        value: Value, bytes: [UInt8], target: ReleaseTarget, freshness: Freshness, newState: TrustState,
        selection: Selection
    ) {
        self.value = value
        self.bytes = bytes
        targetPath = target.path
        digest = target.digest
        length = target.length
        self.freshness = freshness
        self.newState = newState
        self.selection = selection
    }
}
