import Base
import FoundationEssentials
import WireGuard

/// The sorts of record that a hub keeps. The raw value is part of the store's format.
public enum RecordKind: String, Sendable, Codable, CaseIterable {
    case device, fleet, release, assignment, token, binding, site, idempotency, checkpoint
    case auditTile = "audit-tile"
    case operatorAccount = "operator"
    case hubEnds = "hub-ends"
}

/// A value that a hub keeps under its kind and id.
public protocol HubRecord: Codable, Sendable, Equatable {
    static var kind: RecordKind { get }
    /// Unique in its kind; at most 255 bytes.
    var recordID: String { get }
    /// What selectors see.
    var recordLabels: Labels { get }

    /// The stored form; JSON unless a record has a form of its own.
    func encoded() throws(HubError) -> [UInt8]
    /// - Throws: `hub.record-schema` for a form that a later hub wrote, `hub.record-malformed`.
    init(decoding bytes: [UInt8]) throws(HubError)
}

extension HubRecord {
    public var recordLabels: Labels { Labels() }

    public func encoded() throws(HubError) -> [UInt8] { try encodedJSON() }

    public init(decoding bytes: [UInt8]) throws(HubError) { try self.init(decodingJSON: bytes) }

    /// JSON, keys sorted, under the number of its schema.
    func encodedJSON() throws(HubError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes: [UInt8]
        do {
            bytes = Array(try encoder.encode(StoredForm(schema: recordSchema, record: self)))
        } catch {
            throw HubError(.recordMalformed, "\(Self.kind.rawValue) \(recordID)", "cannot be encoded: \(error)")
        }
        guard bytes.count <= HubLimits.recordSize else {
            throw HubError(
                .limit, "\(Self.kind.rawValue) \(recordID)", "\(bytes.count) bytes, at most \(HubLimits.recordSize)")
        }
        return bytes
    }

    init(decodingJSON bytes: [UInt8]) throws(HubError) {
        let element = "stored \(Self.kind.rawValue)"
        guard bytes.count <= HubLimits.recordSize else {
            throw HubError(.limit, element, "\(bytes.count) bytes, at most \(HubLimits.recordSize)")
        }
        let decoder = JSONDecoder()
        do {
            let schema = try decoder.decode(SchemaOnly.self, from: Data(bytes)).schema
            guard schema == recordSchema else {
                throw HubError(.recordSchema, element, "schema \(schema), this program knows \(recordSchema)")
            }
            self = try decoder.decode(StoredForm<Self>.self, from: Data(bytes)).record
        } catch let error as HubError {
            throw error
        } catch {
            throw HubError(.recordMalformed, element, "\(error)")
        }
    }
}

/// Raised when a stored form changes in a way that an older hub would misread.
private let recordSchema = 1

private struct StoredForm<Record: HubRecord>: Codable {
    var schema: Int
    var record: Record
}

private struct SchemaOnly: Codable { var schema: Int }

/// A WireGuard public key in a record: 44 characters of base64.
public struct TunnelKey: Hashable, Sendable, Codable, CustomStringConvertible {
    public let key: WireGuard.PublicKey

    public init(_ key: WireGuard.PublicKey) { self.key = key }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let key = WireGuard.PublicKey(base64: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "expected a WireGuard key")
        }
        self.key = key
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(key.base64)
    }
    public var description: String { key.base64 }
}
