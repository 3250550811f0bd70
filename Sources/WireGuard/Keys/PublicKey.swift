import Base

/// A peer's X25519 public key: what WireGuard knows the peer by.
///
/// Held in line, so that a state of 60,000 peers makes no object per key.
public struct PublicKey: Sendable {
    public static let byteCount = 32

    private var words: (UInt64, UInt64, UInt64, UInt64)

    /// Nil unless exactly ``byteCount`` bytes.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        words = (0, 0, 0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: bytes) }
    }

    package init?(buffer: UnsafeRawBufferPointer) {
        guard buffer.count == Self.byteCount else { return nil }
        words = buffer.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self)
    }

    /// Parses the field's form: 44 characters of canonical base64. Nil for anything else.
    public init?(base64 text: some StringProtocol) {
        self.init(characters: Array(text.utf8), decode: Base64Key.decode)
    }

    /// Parses 64 hex digits, the form of the UAPI socket.
    public init?(hex text: some StringProtocol) {
        self.init(characters: Array(text.utf8), decode: HexKey.decode)
    }

    private init?(
        characters: [UInt8], decode: (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) -> Bool
    ) {
        words = (0, 0, 0, 0)
        let good = withUnsafeMutableBytes(of: &words) { output in characters.withUnsafeBytes { decode($0, output) } }
        guard good else { return nil }
    }

    init?(hexBytes: UnsafeRawBufferPointer) {
        words = (0, 0, 0, 0)
        guard withUnsafeMutableBytes(of: &words, { HexKey.decode(hexBytes, into: $0) }) else { return nil }
    }

    init?(base64Bytes: UnsafeRawBufferPointer) {
        words = (0, 0, 0, 0)
        guard withUnsafeMutableBytes(of: &words, { Base64Key.decode(base64Bytes, into: $0) }) else { return nil }
    }

    public func withUnsafeBytes<Value, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let copy = words
        return try Swift.withUnsafeBytes(of: copy, body)
    }

    public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

    /// The whole key in the field's form.
    public var base64: String {
        var output: [UInt8] = []
        output.reserveCapacity(Base64Key.characterCount)
        withUnsafeBytes { Base64Key.encode($0, into: &output) }
        return String(decoding: output, as: UTF8.self)
    }

    public var isZero: Bool { words.0 | words.1 | words.2 | words.3 == 0 }
}

extension PublicKey: Hashable {
    /// Time does not depend on where the keys differ.
    public static func == (lhs: PublicKey, rhs: PublicKey) -> Bool {
        (lhs.words.0 ^ rhs.words.0) | (lhs.words.1 ^ rhs.words.1) | (lhs.words.2 ^ rhs.words.2)
            | (lhs.words.3 ^ rhs.words.3) == 0
    }
    public func hash(into hasher: inout Hasher) { withUnsafeBytes { hasher.combine(bytes: $0) } }
}

extension PublicKey: CustomStringConvertible, CustomDebugStringConvertible {
    /// The first eight characters and an ellipsis, as WireGuard's own log has it: enough to tell peers apart.
    public var description: String { base64.prefix(8) + "…" }
    public var debugDescription: String { description }
}
