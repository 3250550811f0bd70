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
        let element = "report"
        let limits = JSONLimits(size: Self.envelopeLimit, depth: Self.depth, count: Self.values)
        let value = try SignedDocument.read(
            bytes, type: Self.payloadType, by: key, limits: limits, element: element)
        guard
            let device = value["device"]?.string, let epoch = value["epoch"]?.integer, epoch >= 0,
            let sequence = value["sequence"]?.integer, sequence >= 1, let dropped = value["dropped"]?.integer,
            dropped >= 0, let content = value["entries"]?.array, content.count <= Self.entries
        else { throw HubProtocolError(.documentMalformed, element, "a field is missing or malformed") }
        self.init(device: device, epoch: epoch, sequence: sequence, dropped: dropped, content: content)
    }
}
