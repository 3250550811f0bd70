import Base
import Model
import Trust

/// What a poll brings: enough to see whether there is anything to do, nothing that has to be believed.
///
/// Every version here is a hint; what counts is the signed metadata behind it. The hub's answer has an `ETag` over
/// all of it but the ticket and the audit log's size, which grows with everything that anybody does.
public struct DeviceStateAnswer: Sendable, Equatable {
    public static let sizeLimit = 128 << 10

    /// Versions of one repository's published metadata; 0 where there is none yet.
    public struct Versions: Sendable, Equatable {
        public static let none = Versions(root: 0, timestamp: 0)
        public var root: Int64
        public var timestamp: Int64

        public init(root: Int64, timestamp: Int64) {
            self.root = root
            self.timestamp = timestamp
        }
    }

    public var device: String
    /// As the hub gives them to the device; releases are chosen by them.
    public var labels: [String: String]
    public var release: Versions
    public var director: Versions
    /// Sequence of the hub's descriptor; 0 without one.
    public var descriptor: Int64
    /// Whether the hub wants the device to change its WireGuard key now.
    public var rotateKey: Bool
    /// The audit log's key (C2SP verifier key), which a device keeps from the first answer on, and size.
    public var auditKey: String
    public var auditSize: Int64
    /// A DSSE envelope for the nonce that was asked with; nil without.
    public var freshnessTicket: [UInt8]?

    public init(
        device: String, labels: [String: String], release: Versions, director: Versions, descriptor: Int64 = 0,
        rotateKey: Bool = false, auditKey: String, auditSize: Int64, freshnessTicket: [UInt8]? = nil
    ) {
        self.device = device
        self.labels = labels
        self.release = release
        self.director = director
        self.descriptor = descriptor
        self.rotateKey = rotateKey
        self.auditKey = auditKey
        self.auditSize = auditSize
        self.freshnessTicket = freshnessTicket
    }

    public var bytes: [UInt8] {
        var members: [String: JSONValue] = [
            "device": .string(device), "labels": .object(labels.mapValues { .string($0) }),
            "release": Self.json(release), "director": Self.json(director), "descriptor": .integer(descriptor),
            "rotate_key": .bool(rotateKey), "audit": ["key": .string(auditKey), "size": .integer(auditSize)],
        ]
        if let freshnessTicket {
            members["freshness_ticket"] = .string(Base.Base64.encode(freshnessTicket))
        }
        return ProtocolDocument.bytes(members)
    }

    public init(parsing bytes: [UInt8]) throws(HubProtocolError) {
        let element = "state"
        let value = try ProtocolDocument.parse(
            bytes, limits: ProtocolDocument.limits(Self.sizeLimit), element: element)
        guard let device = value["device"]?.string, let labels = value["labels"]?.object,
            labels.values.allSatisfy({ $0.string != nil }), let release = Self.versions(value["release"]),
            let director = Self.versions(value["director"]), let descriptor = value["descriptor"]?.integer,
            descriptor >= 0, let rotateKey = value["rotate_key"]?.bool, let auditKey = value["audit"]?["key"]?.string,
            let auditSize = value["audit"]?["size"]?.integer, auditSize >= 0
        else { throw ProtocolDocument.malformed(element, "a field") }
        var ticket: [UInt8]?
        if let text = value["freshness_ticket"] {
            guard let bytes = text.string.flatMap({ Base.Base64.decode($0) }) else {
                throw ProtocolDocument.malformed(element, "freshness_ticket")
            }
            ticket = bytes
        }
        self.init(
            device: device, labels: labels.compactMapValues(\.string), release: release, director: director,
            descriptor: descriptor, rotateKey: rotateKey, auditKey: auditKey, auditSize: auditSize,
            freshnessTicket: ticket)
    }

    private static func json(_ versions: Versions) -> JSONValue {
        ["root": .integer(versions.root), "timestamp": .integer(versions.timestamp)]
    }

    private static func versions(_ value: JSONValue?) -> Versions? {
        guard let root = value?["root"]?.integer, let timestamp = value?["timestamp"]?.integer, root >= 0,
            timestamp >= 0
        else { return nil }
        return Versions(root: root, timestamp: timestamp)
    }
}
