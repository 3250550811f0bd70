import COpenSSL

/// A SHA-256 digest, written `sha256:<64 lowercase hex digits>` as OCI image-spec does.
public struct Digest: Hashable, Sendable, Comparable {
    public static let byteCount = 32
    /// Exactly ``byteCount`` bytes.
    public let bytes: [UInt8]

    /// Nil unless `bytes` has exactly 32 elements.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    /// Parses `sha256:<hex>`. Nil for any other algorithm, length, or upper-case hex.
    public init?(_ text: String) {
        guard text.hasPrefix("sha256:") else { return nil }
        self.init(hex: String(text.dropFirst(7)))
    }

    /// Parses 64 lowercase hex digits.
    public init?(hex: String) {
        guard hex.utf8.count == 64, hex.utf8.allSatisfy({ !(0x41...0x46).contains($0) }),
            let bytes = Hex.decode(hex)
        else { return nil }
        self.bytes = bytes
    }

    fileprivate init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    public var hex: String { Hex.encode(bytes) }

    public static func sha256(_ data: some Sequence<UInt8>) -> Digest {
        var hasher = SHA256Hasher()
        if data.withContiguousStorageIfAvailable({ hasher.update(UnsafeRawBufferPointer($0)) }) == nil {
            hasher.update(Array(data))
        }
        return hasher.finish()
    }

    public static func < (lhs: Digest, rhs: Digest) -> Bool {
        lhs.bytes.lexicographicallyPrecedes(rhs.bytes)
    }
}

extension Digest: CustomStringConvertible {
    public var description: String { "sha256:" + hex }
    /// First 12 hex digits, for people.
    public var short: String { String(hex.prefix(12)) }
}

extension Digest: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let digest = Digest(text) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "expected sha256:<64 lowercase hex digits>")
        }
        self = digest
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// Incremental SHA-256 by libcrypto, which hashes twice as fast as the Swift one here (DESIGN.md).
///
/// A value with reference storage: do not copy one in mid-stream and go on with both copies.
public struct SHA256Hasher: ~Copyable {
    private let context: OpaquePointer

    public init() {
        // EVP allocation and init fail only when memory is exhausted or no provider is loaded;
        // neither leaves anything sensible to do.
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            preconditionFailure("libcrypto offers no SHA-256")
        }
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    public mutating func update(_ buffer: UnsafeRawBufferPointer) {
        guard let base = buffer.baseAddress, buffer.count > 0 else { return }
        precondition(EVP_DigestUpdate(context, base, buffer.count) == 1, "EVP_DigestUpdate failed")
    }

    public mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update($0) }
    }

    public mutating func update(_ bytes: ArraySlice<UInt8>) {
        bytes.withUnsafeBytes { update($0) }
    }

    private init(context: OpaquePointer) { self.context = context }

    /// A second hasher that has been fed the same bytes.
    public borrowing func fork() -> SHA256Hasher {
        guard let copy = EVP_MD_CTX_new(), EVP_MD_CTX_copy_ex(copy, context) == 1 else {
            preconditionFailure("EVP_MD_CTX_copy_ex failed")
        }
        return SHA256Hasher(context: copy)
    }

    /// The digest of what was fed until now; the hasher goes on.
    public borrowing func digestSoFar() -> Digest { fork().finish() }

    /// The digest of all that was fed; the hasher may not be used afterwards.
    public consuming func finish() -> Digest {
        var output = [UInt8](repeating: 0, count: Digest.byteCount)
        precondition(EVP_DigestFinal_ex(context, &output, nil) == 1, "EVP_DigestFinal_ex failed")
        return Digest(unchecked: output)
    }
}
