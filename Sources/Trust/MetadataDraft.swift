import Base
import Model

/// Metadata being written: fields that are not understood are carried over as they are.
struct MetadataDraft: Sendable, Equatable {
    var signed: JSONObject
    /// In the order they were made.
    var signatures: [Signature]

    static let specVersion = "1.0.34"

    init(type: String, fields: JSONObject) {
        signed = fields
        signed["_type"] = .string(type)
        signed["spec_version"] = .string(Self.specVersion)
        signed["version"] = 1
        signatures = []
    }

    /// Reads a file that was written before.
    init(parsing bytes: [UInt8], element: String, limits: TrustLimits = .standard) throws(TrustError) {
        let root: JSONNode
        do throws(JSONError) {
            root = try JSONTape(parsing: bytes, limits: limits).root
        } catch {
            throw TrustError(.metadataMalformed, element, error.message)
        }
        guard case .object(let fields)? = root["signed"]?.value, let list = root["signatures"], list.isArray else {
            throw TrustError(.metadataMalformed, element, "no \"signed\" object with a \"signatures\" array")
        }
        signed = fields
        signatures = []
        for item in list.elements {
            guard let keyID = item["keyid"]?.string, let bytes = item["sig"]?.string.flatMap({ Hex.decode($0) }) else {
                throw TrustError(.metadataMalformed, element, "a signature without \"keyid\" and hexadecimal \"sig\"")
            }
            signatures.append(Signature(keyID: keyID, bytes: bytes))
        }
    }

    var version: Int64 { signed["version"]?.integer ?? 0 }
    var expires: Timestamp? { signed["expires"]?.string.flatMap(Timestamp.init(rfc3339:)) }

    /// A new version, good for `days` from `now`, with every signature gone.
    mutating func renew(version: Int64, now: Timestamp, days: Int) {
        signed["version"] = .integer(version)
        signed["expires"] = .string((now + Int64(days) * 86_400).description)
        signed[RepositoryFields.issued] = .string(now.description)
        signatures = []
    }

    func canonical(_ element: String) throws(TrustError) -> [UInt8] {
        do throws(JSONError) {
            return try JSONValue.object(signed).serialized(.canonical)
        } catch {
            throw TrustError(.metadataMalformed, element, error.message)
        }
    }

    /// The file's bytes.
    func bytes(_ element: String) throws(TrustError) -> [UInt8] {
        let list = signatures.map { signature -> JSONValue in
            ["keyid": .string(signature.keyID), "sig": .string(Hex.encode(signature.bytes))]
        }
        let document: JSONValue = ["signatures": .array(list), "signed": .object(signed)]
        do throws(JSONError) {
            return try document.serialized(.pretty)
        } catch {
            throw TrustError(.metadataMalformed, element, error.message)
        }
    }

    /// The same on one line, what is signed in the form that is signed: for files that no person reads.
    func compactBytes(_ element: String) throws(TrustError) -> [UInt8] {
        var output = Array("{\"signatures\":[".utf8)
        for (place, signature) in signatures.enumerated() {
            if place > 0 { output.append(0x2C) }
            output += "{\"keyid\":\"\(signature.keyID)\",\"sig\":\"\(Hex.encode(signature.bytes))\"}".utf8
        }
        output += "],\"signed\":".utf8
        output += try canonical(element)
        output += "}\n".utf8
        return output
    }

    /// Adds or renews the signatures of those `signers` whose keys `allowed` lists; answers their keyids.
    mutating func sign(_ element: String, by signers: [any Signer], allowed: Set<String>) throws(TrustError) -> [String]
    {
        let message = try canonical(element)
        var signed: [String] = []
        for signer in signers where allowed.contains(signer.keyID) && !signed.contains(signer.keyID) {
            let keyID = signer.keyID
            let signature = try signer.sign(message)
            signatures.removeAll { $0.keyID == keyID }
            signatures.append(Signature(keyID: keyID, bytes: signature))
            signed.append(keyID)
        }
        return signed
    }
}
