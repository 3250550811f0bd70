import Base
import COpenSSL

/// Something that holds a private key: a key file, or a token that never gives its key out.
public protocol Signer: Sendable {
    var publicKey: PublicKey { get }
    /// The keyid that signatures are made under.
    var keyID: String { get }
    func sign(_ message: [UInt8]) throws(TrustError) -> [UInt8]
}

extension Signer {
    public var keyID: String { publicKey.keyID }
}

/// An ed25519 private key in memory.
///
/// `@unchecked Sendable`: the EVP_PKEY is never changed after `init`; each signature makes its own context.
public final class Ed25519Signer: Signer, @unchecked Sendable {
    private let handle: OpaquePointer
    public let publicKey: PublicKey
    public static let seedBytes = 32

    /// From the 32-byte seed of RFC 8032.
    public init(seed: [UInt8]) throws(TrustError) {
        guard seed.count == Self.seedBytes,
            let handle = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, seed.count)
        else { throw TrustError(.keyMalformed, "ed25519", "a seed of 32 bytes is needed") }
        var raw = [UInt8](repeating: 0, count: 32)
        var length = raw.count
        guard EVP_PKEY_get_raw_public_key(handle, &raw, &length) == 1, length == 32 else {
            EVP_PKEY_free(handle)
            throw TrustError(.crypto, "ed25519", "libcrypto gives no public key")
        }
        self.handle = handle
        publicKey = PublicKey(ed25519: raw)
    }

    deinit { EVP_PKEY_free(handle) }

    public func sign(_ message: [UInt8]) throws(TrustError) -> [UInt8] {
        guard let context = EVP_MD_CTX_new() else { throw TrustError(.crypto, "ed25519", "out of memory") }
        defer { EVP_MD_CTX_free(context) }
        var signature = [UInt8](repeating: 0, count: 64)
        var length = signature.count
        guard EVP_DigestSignInit(context, nil, nil, nil, handle) == 1,
            EVP_DigestSign(context, &signature, &length, message, message.count) == 1, length == 64
        else { throw TrustError(.crypto, "ed25519", "libcrypto cannot sign") }
        return signature
    }
}

/// Bytes from the kernel by way of libcrypto.
enum SecureRandom {
    static func bytes(_ count: Int) throws(TrustError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: count)
        guard RAND_bytes(&output, Int32(count)) == 1 else {
            throw TrustError(.crypto, "random", "libcrypto has no random bytes")
        }
        return output
    }
}
