import Base
import Model

/// Report envelopes as one request body: each on its line, as ``ReportEnvelope/signed(by:)`` writes them.
public enum ReportBatch {
    /// Envelopes, and bytes of the body.
    public static let envelopes = 100
    public static let sizeLimit = 4 << 20

    public static func bytes(_ envelopes: [[UInt8]]) -> [UInt8] { Array(envelopes.joined(separator: [0x0A])) }

    /// - Throws: `hub-protocol.document-too-large`. What each line is, the receiver finds out.
    public static func envelopes(in body: [UInt8]) throws(HubProtocolError) -> [[UInt8]] {
        guard body.count <= sizeLimit else {
            throw HubProtocolError(.documentTooLarge, "reports", "more than \(sizeLimit) bytes")
        }
        let lines = body.split(separator: 0x0A, maxSplits: envelopes + 1)
        guard lines.count <= envelopes else {
            throw HubProtocolError(.documentTooLarge, "reports", "more than \(envelopes) envelopes")
        }
        return lines.map(Array.init)
    }
}

/// What became of a batch: per epoch the number up to which everything is durable, and what was refused.
public struct ReportAnswer: Sendable, Equatable {
    public static let sizeLimit = 32 << 10

    /// Why a hub did not take an envelope. All but `ahead` are final: send it no more, and count it as lost.
    public enum Refusal: String, Sendable, CaseIterable {
        case malformed
        /// Not by the device's signing key, or says it is another device's.
        case untrusted
        /// Too far ahead of what was acknowledged; send what is missing first.
        case ahead
        /// Other bytes came under this number before: this device, or its key, exists twice.
        case conflict
    }

    /// By epoch; the device may forget that much.
    public var acknowledged: [Int64: Int64]
    /// By place in the batch, from 0.
    public var refused: [Int: Refusal]

    public init(acknowledged: [Int64: Int64] = [:], refused: [Int: Refusal] = [:]) {
        self.acknowledged = acknowledged
        self.refused = refused
    }

    public var bytes: [UInt8] {
        ProtocolDocument.bytes([
            "acknowledged": .array(
                acknowledged.sorted { $0.key < $1.key }.map { ["epoch": .integer($0), "sequence": .integer($1)] }),
            "refused": .array(
                refused.sorted { $0.key < $1.key }.map {
                    ["place": .integer(Int64($0)), "reason": .string($1.rawValue)]
                }),
        ])
    }

    public init(parsing bytes: [UInt8]) throws(HubProtocolError) {
        let element = "report answer"
        let value = try ProtocolDocument.parse(
            bytes, limits: ProtocolDocument.limits(Self.sizeLimit, count: 2_000), element: element)
        guard let acknowledged = value["acknowledged"]?.array, let refused = value["refused"]?.array else {
            throw ProtocolDocument.malformed(element, "acknowledged or refused")
        }
        self.init()
        for entry in acknowledged {
            guard let epoch = entry["epoch"]?.integer, let sequence = entry["sequence"]?.integer, epoch >= 0,
                sequence >= 0
            else { throw ProtocolDocument.malformed(element, "acknowledged") }
            self.acknowledged[epoch] = sequence
        }
        for entry in refused {
            guard let place = entry["place"]?.integer, (0..<Int64(ReportBatch.envelopes)).contains(place),
                let reason = entry["reason"]?.string.flatMap(Refusal.init(rawValue:))
            else { throw ProtocolDocument.malformed(element, "refused") }
            self.refused[Int(place)] = reason
        }
    }
}
