import Base
import Model

/// A Dead Simple Signing Envelope (DSSE 1.0.2): a payload, its type, and signatures over both.
public struct DSSEEnvelope: Sendable, Equatable {
    public let payloadType: String
    public let payload: [UInt8]
    public private(set) var signatures: [Signature]

    public init(payloadType: String, payload: [UInt8], signatures: [Signature] = []) {
        self.payloadType = payloadType
        self.payload = payload
        self.signatures = signatures
    }

    /// Parses the JSON form; at most ``TrustLimits/envelopeBytes``.
    public init(parsing bytes: [UInt8], limits: TrustLimits = .standard) throws(TrustError) {
        guard bytes.count <= limits.envelopeBytes else {
            throw TrustError(.tooLarge, "envelope", "more than \(limits.envelopeBytes) bytes")
        }
        let root: JSONNode
        do throws(JSONError) {
            root = try JSONTape(parsing: bytes, limits: limits).root
        } catch {
            throw TrustError(.metadataMalformed, "envelope", error.message)
        }
        guard let type = root["payloadType"]?.string,
            let payload = root["payload"]?.base64, let list = root["signatures"], list.isArray
        else { throw TrustError(.metadataMalformed, "envelope", "no payloadType, payload and signatures") }
        guard list.count <= limits.signatures else {
            throw TrustError(.tooLarge, "envelope", "more than \(limits.signatures) signatures")
        }
        payloadType = type
        self.payload = payload
        signatures = []
        for item in list.elements {
            guard let signature = item["sig"]?.base64 else {
                throw TrustError(.metadataMalformed, "envelope", "a signature that is no base64")
            }
            signatures.append(Signature(keyID: item["keyid"]?.string ?? "", bytes: signature))
        }
    }

    /// The JSON form, keys sorted, on one line.
    public var bytes: [UInt8] {
        let list = signatures.map { signature -> JSONValue in
            ["keyid": .string(signature.keyID), "sig": .string(Base64.encode(signature.bytes))]
        }
        let value: JSONValue = [
            "payload": .string(Base64.encode(payload)), "payloadType": .string(payloadType), "signatures": .array(list),
        ]
        // No numbers: serialising cannot fail.
        return (try? value.serialized(.compact)) ?? []
    }

    /// What is signed: the pre-authentication encoding, `DSSEv1 len type len payload`.
    public var preAuthenticationEncoding: [UInt8] {
        Array("DSSEv1 \(payloadType.utf8.count) \(payloadType) \(payload.count) ".utf8) + payload
    }

    public mutating func sign(with signer: some Signer) throws(TrustError) {
        let keyID = signer.keyID
        signatures.removeAll { $0.keyID == keyID }
        signatures.append(Signature(keyID: keyID, bytes: try signer.sign(preAuthenticationEncoding)))
    }

    /// The payload, once a threshold of `keys` signed it and it is of the type that is due.
    public func verified(type: String, by keys: RoleKeys) throws(TrustError) -> [UInt8] {
        try verified(type: type, by: keys) { (key, keyID) throws(TrustError) in try VerificationKey(key, keyID: keyID) }
    }

    func verified(
        type: String, by keys: RoleKeys, ready: (PublicKey, String) throws(TrustError) -> VerificationKey
    ) throws(TrustError) -> [UInt8] {
        guard payloadType == type else {
            throw TrustError(.wrongType, "envelope", "a payload of type \"\(payloadType)\" where \"\(type)\" is due")
        }
        try keys.verify(signatures, over: preAuthenticationEncoding, element: "envelope", ready: ready)
        return payload
    }
}

/// RFC 4648 section 4 and, to read, section 5 (DSSE allows both), padding required by neither.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            bits <<= UInt32(8 * (3 - group.count))
            for place in 0..<4 {
                let isPadding = place > group.count
                output.append(isPadding ? 0x3D : alphabet[Int(bits >> UInt32(18 - 6 * place)) & 63])
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for a character outside the alphabet, or bits left over.
    static func decode(_ text: String) -> [UInt8]? {
        var text = text
        return text.withUTF8 { decode(utf8: $0) }
    }

    /// The same from the text's bytes.
    static func decode(utf8 text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        var end = text.count
        while end > 0, text.count - end < 2, text[end - 1] == 0x3D { end -= 1 }
        let padding = text.count - end
        guard end % 4 != 1, padding == 0 || text.count.isMultiple(of: 4) else { return nil }
        // Every value is below 64: a bit above tells that one was none.
        var seen: UInt8 = 0
        var (bits, count) = (UInt32(0), 0)
        let output = [UInt8](unsafeUninitializedCapacity: end * 3 / 4) { output, written in
            for place in 0..<end {
                let value = values[Int(text[place])]
                seen |= value
                bits = bits << 6 | UInt32(value & 63)
                count += 6
                guard count >= 8 else { continue }
                count -= 8
                output[written] = UInt8(truncatingIfNeeded: bits >> UInt32(count))
                written += 1
            }
        }
        guard seen < 64, bits & (1 << UInt32(count) - 1) == 0 else { return nil }
        return output
    }

    /// By character; 255 for what is outside both alphabets.
    private static let values: [UInt8] = (0...255).map { (character: UInt8) in
        switch character {
        case 0x41...0x5A: character - 0x41
        case 0x61...0x7A: character - 0x61 + 26
        case 0x30...0x39: character - 0x30 + 52
        case 0x2B, 0x2D: 62
        case 0x2F, 0x5F: 63
        default: 255
        }
    }
}
