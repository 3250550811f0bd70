import Base
import COpenSSL
import Glibc
import WireGuard

/// Seals what must not stand in the store in clear: a copied database holds no usable credential.
///
/// AES-256-GCM (NIST SP 800-38D), a random nonce of 12 bytes in front and the tag of 16 behind; `context`
/// is authenticated, so that one record's secret cannot be moved into another. Random nonces bear 2^32
/// seals under one key; a hub makes one a token.
public struct Sealing: Sendable {
    static let nonceBytes = 12
    static let tagBytes = 16
    /// Bytes of a secret.
    public static let secretLimit = 64 << 10

    private let key: SecretKey

    public init(key: SecretKey) { self.key = key }

    public func seal(_ secret: [UInt8], context: String) throws(HubError) -> [UInt8] {
        let failed = HubError(.crypto, "sealing", "libcrypto cannot seal")
        guard secret.count <= Self.secretLimit, let cipher = EVP_CIPHER_CTX_new() else { throw failed }
        defer { EVP_CIPHER_CTX_free(cipher) }
        var nonce = [UInt8](repeating: 0, count: Self.nonceBytes)
        guard getentropy(&nonce, nonce.count) == 0 else { throw failed }
        let aad = Array(context.utf8)
        var output = [UInt8](repeating: 0, count: secret.count)
        var tag = [UInt8](repeating: 0, count: Self.tagBytes)
        var count: Int32 = 0
        var rest = [UInt8](repeating: 0, count: Self.tagBytes)
        guard start(cipher, nonce: nonce, encrypt: true),
            EVP_EncryptUpdate(cipher, nil, &count, aad, Int32(aad.count)) == 1,
            EVP_EncryptUpdate(cipher, &output, &count, secret, Int32(secret.count)) == 1,
            EVP_EncryptFinal_ex(cipher, &rest, &count) == 1,
            EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, Int32(tag.count), &tag) == 1
        else { throw failed }
        return nonce + output + tag
    }

    /// - Throws: `hub.seal-broken` when the key, the context or a byte is not the one it was sealed with.
    public func open(_ sealed: [UInt8], context: String) throws(HubError) -> [UInt8] {
        let broken = HubError(.sealBroken, context, "does not open with this hub's sealing key")
        let overhead = Self.nonceBytes + Self.tagBytes
        guard sealed.count >= overhead, sealed.count <= Self.secretLimit + overhead,
            let cipher = EVP_CIPHER_CTX_new()
        else { throw broken }
        defer {
            EVP_CIPHER_CTX_free(cipher)
            ERR_clear_error()
        }
        let aad = Array(context.utf8)
        let body = Array(sealed[Self.nonceBytes..<(sealed.count - Self.tagBytes)])
        var tag = Array(sealed.suffix(Self.tagBytes))
        var output = [UInt8](repeating: 0, count: body.count)
        var rest = [UInt8](repeating: 0, count: Self.tagBytes)
        var count: Int32 = 0
        guard start(cipher, nonce: Array(sealed.prefix(Self.nonceBytes)), encrypt: false),
            EVP_DecryptUpdate(cipher, nil, &count, aad, Int32(aad.count)) == 1,
            EVP_DecryptUpdate(cipher, &output, &count, body, Int32(body.count)) == 1,
            EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, Int32(tag.count), &tag) == 1,
            EVP_DecryptFinal_ex(cipher, &rest, &count) == 1
        else { throw broken }
        return output
    }

    private func start(_ cipher: OpaquePointer, nonce: [UInt8], encrypt: Bool) -> Bool {
        key.withUnsafeBytes { bytes in
            let raw = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return EVP_CipherInit_ex2(cipher, EVP_aes_256_gcm(), raw, nonce, encrypt ? 1 : 0, nil) == 1
        }
    }
}
