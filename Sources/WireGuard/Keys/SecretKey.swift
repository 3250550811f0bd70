import Base
import COpenSSL
import Glibc

/// A private or preshared key of 32 bytes.
///
/// Compared in constant time, zeroed when the last reference goes, and never printed:
/// ``description`` has nothing of it. Copies share one place in memory.
///
/// Sendable although unchecked: the words are written in `init`, before the reference is handed out,
/// and in `deinit`, when no other reference is left; between these they are only read.
public final class SecretKey: @unchecked Sendable {
    public static let byteCount = 32

    private var words: (UInt64, UInt64, UInt64, UInt64)

    private init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    deinit { explicit_bzero(&words, Self.byteCount) }

    /// Nil unless exactly ``byteCount`` bytes. The caller wipes its own copy.
    public convenience init?(bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        self.init(words: (0, 0, 0, 0))
        withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: bytes) }
    }

    convenience init?(buffer: UnsafeRawBufferPointer) {
        guard buffer.count == Self.byteCount else { return nil }
        self.init(words: buffer.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self))
    }

    /// Parses the field's form: 44 characters of canonical base64. Nil for anything else.
    public convenience init?(base64 text: some StringProtocol) {
        var characters = Array(text.utf8)
        defer { characters.wipe() }
        self.init(words: (0, 0, 0, 0))
        let good = withUnsafeMutableBytes(of: &words) { output in
            characters.withUnsafeBytes { Base64Key.decode($0, into: output) }
        }
        guard good else { return nil }
    }

    convenience init?(base64Bytes: UnsafeRawBufferPointer) {
        self.init(words: (0, 0, 0, 0))
        guard withUnsafeMutableBytes(of: &words, { Base64Key.decode(base64Bytes, into: $0) }) else { return nil }
    }

    convenience init?(hexBytes: UnsafeRawBufferPointer) {
        self.init(words: (0, 0, 0, 0))
        guard withUnsafeMutableBytes(of: &words, { HexKey.decode(hexBytes, into: $0) }) else { return nil }
    }

    /// A new X25519 private key, clamped, from the kernel's generator.
    public static func generatePrivate() throws(WireGuardError) -> SecretKey {
        try generatePreshared().clamped()
    }

    /// The scalar that X25519 makes of a private key (RFC 7748 section 5).
    func clamped() -> SecretKey {
        let key = SecretKey(words: words)
        withUnsafeMutableBytes(of: &key.words) {
            $0[0] &= 0xF8
            $0[31] = $0[31] & 0x7F | 0x40
        }
        return key
    }

    /// 32 random bytes from the kernel's generator.
    public static func generatePreshared() throws(WireGuardError) -> SecretKey {
        let key = SecretKey(words: (0, 0, 0, 0))
        guard getentropy(&key.words, byteCount) == 0 else {
            throw .system(operation: "draw", element: "random bytes", errno: errno, detail: "")
        }
        return key
    }

    /// The bytes, for the length of `body` only. Do not let them escape unwiped.
    public func withUnsafeBytes<Value, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try Swift.withUnsafeBytes(of: &words, body)
    }

    /// Appends the whole key in the field's form. The caller wipes `output`.
    func appendBase64(to output: inout [UInt8]) { withUnsafeBytes { Base64Key.encode($0, into: &output) } }

    /// The whole key in the field's form, for measuring beside tools that print it. Not for products.
    @_spi(Measuring) public func exposedBase64() -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(Base64Key.characterCount)
        appendBase64(to: &output)
        return output
    }

    func appendHex(to output: inout [UInt8]) { withUnsafeBytes { HexKey.encode($0, into: &output) } }

    public var isZero: Bool { words.0 | words.1 | words.2 | words.3 == 0 }

    /// The X25519 public key of this private key.
    public func derivePublicKey() throws(WireGuardError) -> PublicKey {
        let failed = WireGuardError.invalidKey(source: "private key")
        let handle = withUnsafeBytes {
            EVP_PKEY_new_raw_private_key(
                EVP_PKEY_X25519, nil, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count)
        }
        guard let handle else { throw failed }
        defer { EVP_PKEY_free(handle) }
        var output = [UInt8](repeating: 0, count: PublicKey.byteCount)
        var count = output.count
        guard EVP_PKEY_get_raw_public_key(handle, &output, &count) == 1, let key = PublicKey(bytes: output) else {
            throw failed
        }
        return key
    }
}

extension SecretKey: Hashable {
    /// Time does not depend on where the keys differ.
    public static func == (lhs: SecretKey, rhs: SecretKey) -> Bool {
        (lhs.words.0 ^ rhs.words.0) | (lhs.words.1 ^ rhs.words.1) | (lhs.words.2 ^ rhs.words.2)
            | (lhs.words.3 ^ rhs.words.3) == 0
    }
    public func hash(into hasher: inout Hasher) { withUnsafeBytes { hasher.combine(bytes: $0) } }
}

extension SecretKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "(hidden)" }
    public var debugDescription: String { description }
    /// Nothing, so that `dump` has nothing either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension [UInt8] {
    /// Zeroes the bytes in a way the optimiser keeps, then empties the array.
    mutating func wipe() {
        withUnsafeMutableBytes { buffer in
            if let base = buffer.baseAddress { explicit_bzero(base, buffer.count) }
        }
        removeAll()
    }

    /// Makes room for `count` more bytes, wiping the old storage when the array has to move,
    /// so that no copy of a key is left behind.
    mutating func reserveWiping(_ count: Int) {
        guard capacity - self.count < count else { return }
        var larger: [UInt8] = []
        larger.reserveCapacity(Swift.max(capacity * 2, self.count + count))
        larger += self
        wipe()
        self = larger
    }
}
