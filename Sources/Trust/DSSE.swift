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
            let payload = root["payload"]?.string.flatMap(Base64.decode), let list = root["signatures"], list.isArray
        else { throw TrustError(.metadataMalformed, "envelope", "no payloadType, payload and signatures") }
        guard list.count <= limits.signatures else {
            throw TrustError(.tooLarge, "envelope", "more than \(limits.signatures) signatures")
        }
        payloadType = type
        self.payload = payload
        signatures = []
        for item in list.elements {
            guard let signature = item["sig"]?.string.flatMap(Base64.decode) else {
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
        guard payloadType == type else {
            throw TrustError(.wrongType, "envelope", "a payload of type \"\(payloadType)\" where \"\(type)\" is due")
        }
        try keys.verify(signatures, over: preAuthenticationEncoding, element: "envelope")
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
        var characters = Array(text.utf8)
        var padding = 0
        while characters.last == 0x3D, padding < 2 {
            characters.removeLast()
            padding += 1
        }
        guard characters.count % 4 != 1, padding == 0 || (characters.count + padding).isMultiple(of: 4) else {
            return nil
        }
        var output: [UInt8] = []
        output.reserveCapacity(characters.count * 3 / 4)
        var (bits, count) = (UInt32(0), 0)
        for character in characters {
            guard let value = value(of: character) else { return nil }
            bits = (bits << 6 | value) & 0xFFFFFF
            count += 6
            if count >= 8 {
                count -= 8
                output.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        guard bits & (1 << UInt32(count) - 1) == 0 else { return nil }
        return output
    }

    private static func value(of character: UInt8) -> UInt32? {
        switch character {
        case 0x41...0x5A: UInt32(character - 0x41)
        case 0x61...0x7A: UInt32(character - 0x61 + 26)
        case 0x30...0x39: UInt32(character - 0x30 + 52)
        case 0x2B, 0x2D: 62
        case 0x2F, 0x5F: 63
        default: nil
        }
    }
}
