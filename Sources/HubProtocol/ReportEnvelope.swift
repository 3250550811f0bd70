import Base
import Model
import Trust

/// A piece of a device's report stream: a DSSE envelope by the device's signing key over numbered entries.
///
/// `sequence` counts from 1 in each epoch, without gaps. What the device had to drop for want of room it drops
/// before it numbers, and says how much: the numbers stay whole, so that an acknowledgement of one covers all before.
public struct ReportEnvelope: Sendable, Equatable {
    public static let payloadType = "application/vnd.holdfast.report.v1+json"
    /// Bytes of an envelope, entries of a segment, and JSON values in it.
    public static let envelopeLimit = 192 << 10
    public static let entries = 1_000
    static let values = 20_000
    /// JSON nesting of an entry.
    static let depth = 12
    fileprivate static let element = "report"
    fileprivate static let malformed = HubProtocolError(
        .documentMalformed, element, "a field is missing or malformed")

    public var device: String
    /// Grows when the device has lost its state and starts to count anew.
    public var epoch: Int64
    public var sequence: Int64
    /// Entries of lower priority that were dropped since the segment before.
    public var dropped: Int64
    public var content: [JSONValue]

    public init(device: String, epoch: Int64, sequence: Int64, dropped: Int64 = 0, content: [JSONValue]) {
        self.device = device
        self.epoch = epoch
        self.sequence = sequence
        self.dropped = dropped
        self.content = content
    }

    /// The bytes that go to the hub, or on a stick.
    /// - Throws: `hub-protocol.document-too-large`, and what the signer throws.
    public func signed(by signer: some Signer) throws -> [UInt8] {
        let value: JSONValue = [
            "schema": 1, "device": .string(device), "epoch": .integer(epoch), "sequence": .integer(sequence),
            "dropped": .integer(dropped), "entries": .array(content),
        ]
        let bytes = try SignedDocument.sign(
            try value.serialized(.compact), type: Self.payloadType, by: signer)
        guard bytes.count <= Self.envelopeLimit, content.count <= Self.entries else {
            throw HubProtocolError(.documentTooLarge, "report", "more than \(Self.envelopeLimit) bytes")
        }
        return bytes
    }

    /// Reads an envelope that `key` signed. The signature is checked before the payload is read.
    public init(verifying bytes: [UInt8], by key: Trust.PublicKey) throws(HubProtocolError) {
        try self.init(payload: Self.payload(of: bytes, by: EnvelopeKey(key)))
    }

    fileprivate static func payload(of bytes: [UInt8], by key: EnvelopeKey) throws(HubProtocolError) -> [UInt8] {
        let envelope = try SignedDocument.envelope(bytes, limit: envelopeLimit, element: element)
        return try SignedDocument.payload(of: envelope, type: payloadType, by: key, element: element)
    }

    fileprivate init(payload: [UInt8]) throws(HubProtocolError) {
        let value = try ProtocolDocument.parse(
            payload, limits: JSONLimits(size: Self.envelopeLimit, depth: Self.depth, count: Self.values),
            element: Self.element)
        guard
            let device = value["device"]?.string, let epoch = value["epoch"]?.integer, epoch >= 0,
            let sequence = value["sequence"]?.integer, sequence >= 1, let dropped = value["dropped"]?.integer,
            dropped >= 0, let content = value["entries"]?.array, content.count <= Self.entries
        else { throw Self.malformed }
        self.init(device: device, epoch: epoch, sequence: sequence, dropped: dropped, content: content)
    }
}

/// What a hub has to know of a report to keep it: whose it is, and its number. The entries are looked at, not read.
public struct ReportHead: Sendable, Equatable {
    public var device: String
    public var epoch: Int64
    public var sequence: Int64
    /// How many entries it brings.
    public var entries: Int

    /// Reads an envelope that `key` signed; takes and refuses what ``ReportEnvelope/init(verifying:by:)`` does.
    public init(verifying bytes: [UInt8], by key: EnvelopeKey) throws(HubProtocolError) {
        let payload = try ReportEnvelope.payload(of: bytes, by: key)
        guard let root = try Self.plain(payload) else {
            let report = try ReportEnvelope(payload: payload)
            (device, epoch, sequence, entries) = (
                report.device, report.epoch, report.sequence, report.content.count
            )
            return
        }
        guard
            root["schema"]?.integer == ProtocolDocument.schema, let device = root["device"]?.string,
            let epoch = root["epoch"]?.integer, epoch >= 0, let sequence = root["sequence"]?.integer, sequence >= 1,
            let dropped = root["dropped"]?.integer, dropped >= 0, let content = root["entries"], content.isArray,
            content.count <= ReportEnvelope.entries
        else { throw ReportEnvelope.malformed }
        (self.device, self.epoch, self.sequence, entries) = (device, epoch, sequence, content.count)
    }

    /// The text without a tree of values; nil where the reader of trees might judge it otherwise: that one counts keys
    /// not as values, and refuses literal control characters and keys that differ in normalisation only.
    private static func plain(_ payload: [UInt8]) throws(HubProtocolError) -> JSONNode? {
        var last: UInt8 = 0
        for byte in payload {
            guard (0x20..<0x80).contains(byte), !(last == 0x5C && byte == 0x75) else { return nil }
            last = byte
        }
        var limits = TrustLimits()
        limits.jsonDepth = ReportEnvelope.depth
        limits.jsonNodes = ReportEnvelope.values
        do {
            return try JSONTape(parsing: payload, limits: limits).root
        } catch {
            if error.reason == .count { return nil }
            throw ReportEnvelope.malformed
        }
    }
}
