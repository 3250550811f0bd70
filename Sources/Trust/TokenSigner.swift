import Base
import CPKCS11
import Glibc

/// A key in a PKCS#11 token (a smart card, an HSM): where to find it, nothing secret.
public struct TokenReference: Sendable, Hashable {
    /// Path of the token's PKCS#11 module, a shared library.
    public var module: String
    /// The token's label.
    public var tokenLabel: String
    /// The key pair's label.
    public var keyLabel: String

    public init(module: String, tokenLabel: String, keyLabel: String) {
        self.module = module
        self.tokenLabel = tokenLabel
        self.keyLabel = keyLabel
    }

    /// Reads the key pair's public part out of the token: a P-256 or an RSA key.
    public func publicKey() throws(TrustError) -> PublicKey {
        let session = try TokenSession(self, pin: nil)
        return try session.publicKey()
    }
}

/// Signs inside a token; the private key never leaves it.
public struct TokenSigner: Signer {
    public let publicKey: PublicKey
    private let reference: TokenReference
    private let pin: [UInt8]?

    /// The token is opened for each signature, and not before.
    public init(_ reference: TokenReference, publicKey: PublicKey, pin: [UInt8]?) {
        self.reference = reference
        self.publicKey = publicKey
        self.pin = pin
    }

    public func sign(_ message: [UInt8]) throws(TrustError) -> [UInt8] {
        let session = try TokenSession(reference, pin: pin)
        switch PublicKey.Scheme(rawValue: publicKey.scheme) {
        case .ecdsaP256: return try session.signECDSA(Digest.sha256(message))
        case .rsaPSS: return try session.signPSS(message)
        case .ed25519, nil:
            throw TrustError(.schemeUnknown, reference.keyLabel, "no \(publicKey.scheme) keys in tokens")
        }
    }
}

/// An open session with a token; closed and logged out when it goes.
private final class TokenSession {
    /// Slots looked at for the token, and bytes of one attribute or signature.
    static let slotLimit = 64
    static let valueLimit = 2048

    private let reference: TokenReference
    private let library: UnsafeMutableRawPointer
    private let functions: CK_FUNCTION_LIST
    private let session: CK_SESSION_HANDLE

    init(_ reference: TokenReference, pin: [UInt8]?) throws(TrustError) {
        self.reference = reference
        guard let library = dlopen(reference.module, RTLD_NOW | RTLD_LOCAL) else {
            throw TrustError(.token, reference.module, dlerror().map { String(cString: $0) } ?? "cannot be loaded")
        }
        guard let symbol = dlsym(library, "C_GetFunctionList") else {
            dlclose(library)
            throw TrustError(.token, reference.module, "is no PKCS#11 module")
        }
        let entry = unsafeBitCast(
            symbol, to: (@convention(c) (UnsafeMutablePointer<UnsafeMutablePointer<CK_FUNCTION_LIST>?>?) -> CK_RV).self)
        var list: UnsafeMutablePointer<CK_FUNCTION_LIST>?
        guard entry(&list) == CK_RV(CKR_OK_), let functions = list?.pointee else {
            dlclose(library)
            throw TrustError(.token, reference.module, "gives no function list")
        }
        do throws(TrustError) {
            let start = functions.C_Initialize?(nil) ?? 1
            guard start == CK_RV(CKR_OK_) || start == CK_RV(CKR_ALREADY_INITIALIZED_) else {
                throw TrustError(.token, reference.module, "C_Initialize failed with 0x\(String(start, radix: 16))")
            }
            session = try Self.open(functions, reference, pin: pin)
        } catch {
            dlclose(library)
            throw error
        }
        self.library = library
        self.functions = functions
    }

    deinit {
        _ = functions.C_Logout?(session)
        _ = functions.C_CloseSession?(session)
        dlclose(library)
    }

    private static func open(
        _ functions: CK_FUNCTION_LIST, _ reference: TokenReference, pin: [UInt8]?
    ) throws(TrustError) -> CK_SESSION_HANDLE {
        var slots = [CK_SLOT_ID](repeating: 0, count: slotLimit)
        var count = CK_ULONG(slots.count)
        try check(functions.C_GetSlotList?(1, &slots, &count), "C_GetSlotList", reference)
        for slot in slots.prefix(Int(count)) {
            var info = CK_TOKEN_INFO()
            guard functions.C_GetTokenInfo?(slot, &info) == CK_RV(CKR_OK_) else { continue }
            let label = withUnsafeBytes(of: &info.label) { String(decoding: $0, as: UTF8.self) }
            guard String(label.reversed().drop { $0 == " " }.reversed()) == reference.tokenLabel else { continue }
            var session: CK_SESSION_HANDLE = 0
            try check(
                functions.C_OpenSession?(slot, CK_ULONG(CKF_SERIAL_SESSION_), nil, nil, &session),
                "C_OpenSession", reference)
            if var pin {
                let result = functions.C_Login?(session, CK_ULONG(CKU_USER_), &pin, CK_ULONG(pin.count))
                if result != CK_RV(CKR_USER_ALREADY_LOGGED_IN_) { try check(result, "C_Login", reference) }
            }
            return session
        }
        throw TrustError(.token, reference.tokenLabel, "no token of this label is present")
    }

    private static func check(_ result: CK_RV?, _ call: String, _ reference: TokenReference) throws(TrustError) {
        guard let result else { throw TrustError(.token, reference.module, "offers no \(call)") }
        if result == CK_RV(CKR_PIN_INCORRECT_) {
            throw TrustError(.keyLocked, reference.tokenLabel, "the token refuses this PIN")
        }
        guard result == CK_RV(CKR_OK_) else {
            throw TrustError(.token, reference.tokenLabel, "\(call) failed with 0x\(String(result, radix: 16))")
        }
    }

    private func find(_ kind: CK_ULONG) throws(TrustError) -> CK_OBJECT_HANDLE {
        var kind = kind
        var label = Array(reference.keyLabel.utf8)
        var object: CK_OBJECT_HANDLE = 0
        var found: CK_ULONG = 0
        var result: CK_RV?
        withUnsafeMutablePointer(to: &kind) { kindPointer in
            label.withUnsafeMutableBytes { labelBytes in
                var template = [
                    CK_ATTRIBUTE(
                        type: CK_ULONG(CKA_CLASS_), pValue: kindPointer,
                        ulValueLen: CK_ULONG(MemoryLayout<CK_ULONG>.size)),
                    CK_ATTRIBUTE(
                        type: CK_ULONG(CKA_LABEL_), pValue: labelBytes.baseAddress,
                        ulValueLen: CK_ULONG(labelBytes.count)),
                ]
                result = functions.C_FindObjectsInit?(session, &template, 2)
                guard result == CK_RV(CKR_OK_) else { return }
                result = functions.C_FindObjects?(session, &object, 1, &found)
                _ = functions.C_FindObjectsFinal?(session)
            }
        }
        try Self.check(result, "C_FindObjects", reference)
        guard found == 1 else {
            throw TrustError(.keyNotFound, reference.keyLabel, "no such key in token \(reference.tokenLabel)")
        }
        return object
    }

    private func attribute(_ type: CK_ULONG, of object: CK_OBJECT_HANDLE) throws(TrustError) -> [UInt8] {
        var value = [UInt8](repeating: 0, count: Self.valueLimit)
        var length: CK_ULONG = 0
        let result = value.withUnsafeMutableBytes { bytes -> CK_RV? in
            var template = CK_ATTRIBUTE(type: type, pValue: bytes.baseAddress, ulValueLen: CK_ULONG(bytes.count))
            let result = functions.C_GetAttributeValue?(session, object, &template, 1)
            length = template.ulValueLen
            return result
        }
        try Self.check(result, "C_GetAttributeValue", reference)
        guard length <= CK_ULONG(Self.valueLimit) else {
            throw TrustError(.token, reference.keyLabel, "an attribute is too long")
        }
        return Array(value.prefix(Int(length)))
    }

    func publicKey() throws(TrustError) -> PublicKey {
        let object = try find(CK_ULONG(CKO_PUBLIC_KEY_))
        let type = try attribute(CK_ULONG(CKA_KEY_TYPE_), of: object)
        switch type.first.map(Int.init) {
        case Int(CKK_EC_):
            // An octet string that holds the uncompressed point.
            let point = try attribute(CK_ULONG(CKA_EC_POINT_), of: object)
            guard point.count == 67, point.starts(with: [0x04, 0x41, 0x04]) else {
                throw TrustError(.token, reference.keyLabel, "is on another curve than P-256")
            }
            let pem = DER.pem(DER.p256Key(point: Array(point.dropFirst(2))))
            return PublicKey(keyType: "ecdsa", scheme: PublicKey.Scheme.ecdsaP256.rawValue, value: pem)
        case Int(CKK_RSA_):
            let modulus = try attribute(CK_ULONG(CKA_MODULUS_), of: object)
            let exponent = try attribute(CK_ULONG(CKA_PUBLIC_EXPONENT_), of: object)
            let pem = DER.pem(DER.rsaKey(modulus: modulus, exponent: exponent))
            return PublicKey(keyType: "rsa", scheme: PublicKey.Scheme.rsaPSS.rawValue, value: pem)
        default: throw TrustError(.token, reference.keyLabel, "is neither an EC nor an RSA key")
        }
    }

    /// DER `ECDSA-Sig-Value`, as TUF writes it; the token gives r and s side by side.
    func signECDSA(_ digest: Digest) throws(TrustError) -> [UInt8] {
        var mechanism = CK_MECHANISM(mechanism: CK_ULONG(CKM_ECDSA_), pParameter: nil, ulParameterLen: 0)
        let raw = try sign(digest.bytes, &mechanism)
        guard raw.count == 64 else { throw TrustError(.token, reference.keyLabel, "gave no P-256 signature") }
        return DER.sequence(DER.integer(Array(raw.prefix(32))) + DER.integer(Array(raw.suffix(32))))
    }

    func signPSS(_ message: [UInt8]) throws(TrustError) -> [UInt8] {
        var parameters = CK_RSA_PKCS_PSS_PARAMS(
            hashAlg: CK_ULONG(CKM_SHA256_), mgf: CK_ULONG(CKG_MGF1_SHA256_), sLen: 32)
        return try withUnsafeMutableBytes(of: &parameters) { bytes throws(TrustError) in
            var mechanism = CK_MECHANISM(
                mechanism: CK_ULONG(CKM_SHA256_RSA_PKCS_PSS_), pParameter: bytes.baseAddress,
                ulParameterLen: CK_ULONG(bytes.count))
            return try sign(message, &mechanism)
        }
    }

    private func sign(_ data: [UInt8], _ mechanism: inout CK_MECHANISM) throws(TrustError) -> [UInt8] {
        let key = try find(CK_ULONG(CKO_PRIVATE_KEY_))
        try Self.check(functions.C_SignInit?(session, &mechanism, key), "C_SignInit", reference)
        var data = data
        var signature = [UInt8](repeating: 0, count: Self.valueLimit)
        var length = CK_ULONG(signature.count)
        try Self.check(
            functions.C_Sign?(session, &data, CK_ULONG(data.count), &signature, &length), "C_Sign", reference)
        return Array(signature.prefix(Int(length)))
    }
}

/// The little of X.690 that public keys and signatures take.
enum DER {
    static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        let count = content.count
        switch count {
        case ..<128: return [tag, UInt8(count)] + content
        case ..<256: return [tag, 0x81, UInt8(count)] + content
        default: return [tag, 0x82, UInt8(count >> 8 & 255), UInt8(count & 255)] + content
        }
    }

    static func sequence(_ content: [UInt8]) -> [UInt8] { element(0x30, content) }

    /// A non-negative integer from its big-endian bytes.
    static func integer(_ bytes: [UInt8]) -> [UInt8] {
        var digits = Array(bytes.drop { $0 == 0 })
        if digits.isEmpty || digits[0] >= 0x80 { digits.insert(0, at: 0) }
        return element(0x02, digits)
    }

    /// SubjectPublicKeyInfo of an uncompressed point on P-256 (RFC 5480).
    static func p256Key(point: [UInt8]) -> [UInt8] {
        let ecPublicKey: [UInt8] = [0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01]
        let prime256v1: [UInt8] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]
        return sequence(sequence(ecPublicKey + prime256v1) + element(0x03, [0] + point))
    }

    /// SubjectPublicKeyInfo of an RSA key (RFC 8017).
    static func rsaKey(modulus: [UInt8], exponent: [UInt8]) -> [UInt8] {
        let rsaEncryption: [UInt8] = [0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00]
        return sequence(
            sequence(rsaEncryption) + element(0x03, [0] + sequence(integer(modulus) + integer(exponent))))
    }

    static func pem(_ key: [UInt8]) -> String {
        let text = Base64.encode(key)
        var lines = ["-----BEGIN PUBLIC KEY-----"]
        var rest = Substring(text)
        while !rest.isEmpty {
            lines.append(String(rest.prefix(64)))
            rest = rest.dropFirst(64)
        }
        return (lines + ["-----END PUBLIC KEY-----", ""]).joined(separator: "\n")
    }
}
