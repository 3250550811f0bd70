import Base
import COpenSSL
import Model

/// A public key as TUF metadata writes it (specification 4.2).
public struct PublicKey: Sendable, Hashable {
    /// Keytypes and schemes that the specification names. `ecdsa-sha2-nistp256` as a keytype is the older
    /// spelling of `ecdsa`.
    public enum Scheme: String, Sendable, CaseIterable {
        case ed25519
        case ecdsaP256 = "ecdsa-sha2-nistp256"
        case rsaPSS = "rsassa-pss-sha256"

        var keyTypes: [String] {
            switch self {
            case .ed25519: ["ed25519"]
            case .ecdsaP256: ["ecdsa", "ecdsa-sha2-nistp256"]
            case .rsaPSS: ["rsa"]
            }
        }
    }

    public let keyType: String
    public let scheme: String
    /// Hex for ed25519, PEM SubjectPublicKeyInfo otherwise.
    public let value: String

    public init(keyType: String, scheme: String, value: String) {
        self.keyType = keyType
        self.scheme = scheme
        self.value = value
    }

    /// An ed25519 key of 32 bytes.
    public init(ed25519 raw: [UInt8]) {
        self.init(keyType: "ed25519", scheme: Scheme.ed25519.rawValue, value: Hex.encode(raw))
    }

    /// As it stands in metadata.
    public var json: JSONValue {
        ["keytype": .string(keyType), "scheme": .string(scheme), "keyval": ["public": .string(value)]]
    }

    /// SHA-256 of the canonical form, in hex: the keyid this repository writer gives.
    /// A reader takes keyids as given, since unknown fields of a key change what it would compute.
    public var keyID: String {
        // Strings only: the canonical form cannot fail.
        let bytes = (try? json.serialized(.canonical)) ?? []
        return Digest.sha256(bytes).hex
    }
}

/// A public key ready to check signatures.
///
/// `@unchecked Sendable`: the EVP_PKEY is never changed after `init`, and OpenSSL allows concurrent
/// readers of one key (each verification makes its own EVP_MD_CTX).
final class VerificationKey: @unchecked Sendable {
    private let handle: OpaquePointer
    private let scheme: PublicKey.Scheme
    /// The raw key of ed25519, else DER SubjectPublicKeyInfo: equal for one key under any keyid or spelling.
    let identity: [UInt8]

    /// RSA moduli, in bits. Below is breakable; above costs a device seconds a signature.
    static let rsaBits = 2048...8192

    init(_ key: PublicKey, keyID: String, limits: TrustLimits = .standard) throws(TrustError) {
        guard let scheme = PublicKey.Scheme(rawValue: key.scheme) else {
            throw TrustError(.schemeUnknown, keyID, "signature scheme \"\(key.scheme)\" is unknown")
        }
        guard scheme.keyTypes.contains(key.keyType) else {
            throw TrustError(
                .keyTypeMismatch, keyID, "keytype \"\(key.keyType)\" does not go with scheme \"\(key.scheme)\"")
        }
        guard key.value.utf8.count <= limits.keyBytes, let handle = Self.load(key.value, scheme) else {
            throw TrustError(.keyMalformed, keyID, "the public key is no \(scheme.rawValue) key")
        }
        guard let identity = Self.identity(of: handle, key, scheme) else {
            EVP_PKEY_free(handle)
            throw TrustError(.keyMalformed, keyID, "the public key cannot be encoded")
        }
        self.identity = identity
        self.handle = handle
        self.scheme = scheme
    }

    deinit { EVP_PKEY_free(handle) }

    private static func identity(of handle: OpaquePointer, _ key: PublicKey, _ scheme: PublicKey.Scheme) -> [UInt8]? {
        // OpenSSL's encoder costs more than an ed25519 verification; such a key is its 32 bytes.
        if scheme == .ed25519 { return Hex.decode(key.value) }
        var der: UnsafeMutablePointer<UInt8>?
        let length = i2d_PUBKEY(handle, &der)
        guard length > 0, let der else { return nil }
        defer { CRYPTO_free(der, #file, #line) }
        return Array(UnsafeBufferPointer(start: der, count: Int(length)))
    }

    private static func load(_ text: String, _ scheme: PublicKey.Scheme) -> OpaquePointer? {
        if scheme == .ed25519 {
            guard let raw = Hex.decode(text), raw.count == 32 else { return nil }
            return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, raw, raw.count)
        }
        // The BIO reads from these very bytes as long as it lives, so they are held as long (found by TrustKey's fuzzing:
        // an array passed by itself is free once BIO_new_mem_buf has returned).
        let read = Array(text.utf8).withUnsafeBytes { bytes -> OpaquePointer? in
            guard let bio = BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else { return nil }
            defer { BIO_free(bio) }
            // The callback keeps OpenSSL from asking for a passphrase on the terminal.
            return PEM_read_bio_PUBKEY(bio, nil, { _, _, _, _ in 0 }, nil)
        }
        guard let key = read else {
            ERR_clear_error()
            return nil
        }
        let fits: Bool
        switch scheme {
        case .ed25519: fits = false
        case .rsaPSS:
            fits = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && rsaBits.contains(Int(EVP_PKEY_get_bits(key)))
        case .ecdsaP256:
            var name = [CChar](repeating: 0, count: 64)
            var length = 0
            fits =
                EVP_PKEY_get_base_id(key) == EVP_PKEY_EC
                && EVP_PKEY_get_group_name(key, &name, name.count, &length) == 1
                && name.prefix(length).elementsEqual("prime256v1".utf8.map { CChar(bitPattern: $0) })
        }
        if fits { return key }
        EVP_PKEY_free(key)
        return nil
    }

    /// Whether `signature` is this key's over `message`.
    func verify(_ signature: [UInt8], over message: [UInt8]) -> Bool {
        guard let context = EVP_MD_CTX_new() else { return false }
        defer {
            EVP_MD_CTX_free(context)
            ERR_clear_error()
        }
        var keyContext: OpaquePointer?
        let digest = scheme == .ed25519 ? nil : EVP_sha256()
        guard EVP_DigestVerifyInit(context, &keyContext, digest, nil, handle) == 1 else { return false }
        if scheme == .rsaPSS {
            // The salt's length is read from the signature: writers differ between the digest's length
            // and the longest possible.
            guard EVP_PKEY_CTX_set_rsa_padding(keyContext, RSA_PKCS1_PSS_PADDING) == 1,
                EVP_PKEY_CTX_set_rsa_pss_saltlen(keyContext, RSA_PSS_SALTLEN_AUTO) == 1,
                EVP_PKEY_CTX_set_rsa_mgf1_md(keyContext, EVP_sha256()) == 1
            else { return false }
        }
        return EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }
}
