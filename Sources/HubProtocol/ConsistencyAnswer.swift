import Base
import Model

/// The proof that the audit log of `to` events begins with the log of `from` (RFC 6962 section 2.1.2).
public struct ConsistencyAnswer: Sendable, Equatable {
    public static let sizeLimit = 32 << 10
    /// Hashes of a proof: two a level of a tree of 2^63 leaves.
    public static let hashLimit = 128

    public var from: Int64
    public var to: Int64
    public var proof: [Digest]

    public init(from: Int64, to: Int64, proof: [Digest]) {
        self.from = from
        self.to = to
        self.proof = proof
    }

    public var bytes: [UInt8] {
        ProtocolDocument.bytes([
            "from": .integer(from), "to": .integer(to), "proof": .array(proof.map { .string($0.hex) }),
        ])
    }

    public init(parsing bytes: [UInt8]) throws(HubProtocolError) {
        let element = "consistency answer"
        let value = try ProtocolDocument.parse(
            bytes, limits: ProtocolDocument.limits(Self.sizeLimit), element: element)
        guard let from = value["from"]?.integer, let to = value["to"]?.integer, from >= 0, to >= from,
            let list = value["proof"]?.array, list.count <= Self.hashLimit
        else { throw ProtocolDocument.malformed(element, "from, to or proof") }
        let proof = list.compactMap { $0.string.flatMap { Digest(hex: $0) } }
        guard proof.count == list.count else { throw ProtocolDocument.malformed(element, "proof") }
        self.init(from: from, to: to, proof: proof)
    }
}
