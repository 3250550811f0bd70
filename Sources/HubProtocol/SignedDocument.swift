import Base
import Model
import Trust

/// A document in a DSSE envelope that one key signed: how devices say what has to be theirs beyond doubt.
enum SignedDocument {
    /// The envelope's payload before its signature was checked: for documents that name their own key.
    static func envelope(_ bytes: [UInt8], limit: Int, element: String) throws(HubProtocolError) -> DSSEEnvelope {
        guard bytes.count <= limit else {
            throw HubProtocolError(.documentTooLarge, element, "more than \(limit) bytes")
        }
        do {
            return try DSSEEnvelope(parsing: bytes)
        } catch {
            throw HubProtocolError(.documentMalformed, element, error.detail)
        }
    }

    /// The payload, once `key` signed it as one of `type`.
    static func payload(
        of envelope: DSSEEnvelope, type: String, by key: Trust.PublicKey, element: String
    ) throws(HubProtocolError) -> [UInt8] {
        try payload(of: envelope, type: type, by: EnvelopeKey(key), element: element)
    }

    static func payload(
        of envelope: DSSEEnvelope, type: String, by key: EnvelopeKey, element: String
    ) throws(HubProtocolError) -> [UInt8] {
        do {
            return try key.payload(of: envelope, type: type)
        } catch {
            throw HubProtocolError(.signatureInvalid, element, error.detail)
        }
    }

    /// The JSON of an envelope that `key` signed.
    static func read(
        _ bytes: [UInt8], type: String, by key: Trust.PublicKey, limits: JSONLimits, element: String
    ) throws(HubProtocolError) -> JSONValue {
        let envelope = try envelope(bytes, limit: limits.size, element: element)
        let payload = try payload(of: envelope, type: type, by: key, element: element)
        return try ProtocolDocument.parse(payload, limits: limits, element: element)
    }

    static func sign(_ payload: [UInt8], type: String, by signer: some Signer) throws(TrustError) -> [UInt8] {
        var envelope = DSSEEnvelope(payloadType: type, payload: payload)
        try envelope.sign(with: signer)
        return envelope.bytes
    }
}

/// The JSON documents of the device API: one object with `schema` 1, canonical when we write it.
enum ProtocolDocument {
    static let schema: Int64 = 1

    static func limits(_ size: Int, depth: Int = 6, count: Int = 256) -> JSONLimits {
        JSONLimits(size: size, depth: depth, count: count, literalControls: false)
    }

    static func parse(_ bytes: [UInt8], limits: JSONLimits, element: String) throws(HubProtocolError) -> JSONValue {
        guard bytes.count <= limits.size else {
            throw HubProtocolError(.documentTooLarge, element, "more than \(limits.size) bytes")
        }
        guard let value = try? JSONValue(parsing: bytes, limits: limits), value["schema"]?.integer == schema else {
            throw HubProtocolError(.documentMalformed, element, "no JSON object of schema \(schema)")
        }
        return value
    }

    static func malformed(_ element: String, _ field: String) -> HubProtocolError {
        HubProtocolError(.documentMalformed, element, "\(field) is missing or malformed")
    }

    /// Canonical bytes. Members are strings, integers and flags: the form cannot fail.
    static func bytes(_ members: [String: JSONValue]) -> [UInt8] {
        var members = members
        members["schema"] = .integer(schema)
        return (try? JSONValue.object(members).serialized(.canonical)) ?? []
    }
}
