import Base
import COpenSSL
import WireGuard

/// A certificate for the management side of a hub that has no other: P-256, for the hub's names, by itself.
///
/// Whoever connects has to be shown its fingerprint once; nothing else vouches for it.
struct SelfSignedCertificate {
    /// Seconds that it is good for: ten years, since nobody renews it.
    static let lifetime = 3_650 * 86_400

    /// MBSTRING_UTF8 of asn1.h, a macro that is not imported.
    private static let utf8: Int32 = 0x1000

    let certificate: [UInt8]
    let key: [UInt8]
    /// SHA-256 of the DER form.
    let fingerprint: Digest

    /// - Parameter names: host names and addresses.
    init(names: [String]) throws(HubServerError) {
        func failed(_ what: String) -> HubServerError {
            ERR_clear_error()
            return HubServerError(.certificate, "libcrypto cannot make a certificate: \(what)")
        }
        guard let key = Self.makeKey(), let certificate = X509_new() else { throw failed("key") }
        defer {
            EVP_PKEY_free(key)
            X509_free(certificate)
        }
        var serial: UInt64 = 0
        withUnsafeMutableBytes(of: &serial) { _ = RAND_bytes($0.baseAddress?.assumingMemoryBound(to: UInt8.self), 8) }
        guard X509_set_version(certificate, 2) == 1,
            ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1,
            // From a day ago, for clients whose clocks are behind.
            X509_gmtime_adj(X509_getm_notBefore(certificate), -86_400) != nil,
            X509_gmtime_adj(X509_getm_notAfter(certificate), Self.lifetime) != nil,
            X509_set_pubkey(certificate, key) == 1, let subject = X509_get_subject_name(certificate)
        else { throw failed("fields") }
        let common = Array((names.first ?? "holdfast-hub").utf8.prefix(64))
        guard X509_NAME_add_entry_by_txt(subject, "CN", Self.utf8, common, Int32(common.count), -1, 0) == 1,
            X509_set_issuer_name(certificate, subject) == 1,
            Self.extend(certificate, NID_subject_alt_name, Self.alternatives(names)),
            Self.extend(certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
            Self.extend(certificate, NID_ext_key_usage, "serverAuth"),
            X509_sign(certificate, key, EVP_sha256()) > 0
        else { throw failed("signature") }
        guard let pem = Self.bytes({ PEM_write_bio_X509($0, certificate) }),
            let keyPEM = Self.bytes({ PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }),
            let der = Self.bytes({ i2d_X509_bio($0, certificate) })
        else { throw failed("encoding") }
        self.certificate = pem
        self.key = keyPEM
        fingerprint = .sha256(der)
    }

    private static func makeKey() -> OpaquePointer? {
        guard let context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil) else { return nil }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen_init(context) == 1,
            EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1,
            EVP_PKEY_keygen(context, &key) == 1
        else { return nil }
        return key
    }

    /// Addresses as such, everything else as a host name; what is neither is left out.
    private static func alternatives(_ names: [String]) -> String {
        names.compactMap { name in
            if let address = IPAddress(name) { return "IP:\(address)" }
            let isPlain = name.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) || $0 == 0x2D || $0 == 0x2E
            }
            return isPlain && !name.isEmpty ? "DNS:\(name)" : nil
        }.joined(separator: ",")
    }

    private static func extend(_ certificate: OpaquePointer, _ nid: Int32, _ value: String) -> Bool {
        guard let item = X509V3_EXT_conf_nid(nil, nil, nid, value) else { return false }
        defer { X509_EXTENSION_free(item) }
        return X509_add_ext(certificate, item, -1) == 1
    }

    private static func bytes(_ write: (OpaquePointer) -> Int32) -> [UInt8]? {
        guard let bio = BIO_new(BIO_s_mem()) else { return nil }
        defer { BIO_free(bio) }
        guard write(bio) == 1 else { return nil }
        var output: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = BIO_read(bio, &piece, Int32(piece.count))
            guard count > 0 else { return output }
            output += piece.prefix(Int(count))
        }
    }
}
