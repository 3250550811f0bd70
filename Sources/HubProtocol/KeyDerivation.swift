import Base
import COpenSSL
import WireGuard

/// The few primitives that enrolment is made of, by libcrypto.
enum KeyDerivation {
    static let macBytes = 32

    /// HMAC-SHA-256 (RFC 2104).
    static func hmac(key: [UInt8], _ message: [UInt8]) throws(HubProtocolError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: macBytes)
        var count = 0
        // libcrypto reads an empty key through its pointer, so it gets one byte to point at.
        let storage = key.isEmpty ? [0] : key
        let result = EVP_Q_mac(
            nil, "HMAC", nil, "SHA256", nil, storage, key.count, message, message.count, &output, output.count, &count)
        guard result != nil, count == macBytes else {
            throw HubProtocolError(.crypto, "HMAC", "libcrypto offers no HMAC-SHA-256")
        }
        return output
    }

    /// HKDF-SHA-256 (RFC 5869), at most 255 blocks of 32 bytes.
    static func hkdf(
        secret: [UInt8], salt: [UInt8], info: [UInt8], count: Int
    ) throws(HubProtocolError) -> [UInt8] {
        precondition((1...255 * macBytes).contains(count))
        let key = try hmac(key: salt.isEmpty ? [UInt8](repeating: 0, count: macBytes) : salt, secret)
        var output: [UInt8] = []
        var block: [UInt8] = []
        var index: UInt8 = 1
        while output.count < count {
            block = try hmac(key: key, block + info + [index])
            output += block
            index &+= 1
        }
        return Array(output.prefix(count))
    }

    /// The X25519 shared secret (RFC 7748). A public key of small order is refused.
    static func agree(
        _ privateKey: SecretKey, with publicKey: WireGuard.PublicKey
    ) throws(HubProtocolError) -> [UInt8] {
        let failed = HubProtocolError(.crypto, "key agreement", "the public key is not usable")
        let own = privateKey.withUnsafeBytes {
            EVP_PKEY_new_raw_private_key(
                EVP_PKEY_X25519, nil, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count)
        }
        defer { EVP_PKEY_free(own) }
        let bytes = publicKey.bytes
        let other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nil, bytes, bytes.count)
        defer { EVP_PKEY_free(other) }
        guard let own, let other, let context = EVP_PKEY_CTX_new(own, nil) else { throw failed }
        defer { EVP_PKEY_CTX_free(context) }
        var secret = [UInt8](repeating: 0, count: 32)
        var count = secret.count
        guard EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, other) == 1,
            EVP_PKEY_derive(context, &secret, &count) == 1, count == secret.count
        else {
            ERR_clear_error()
            throw failed
        }
        return secret
    }

    /// Whether two MACs are equal, in time that does not depend on where they differ.
    static func equal(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && zip(left, right).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
