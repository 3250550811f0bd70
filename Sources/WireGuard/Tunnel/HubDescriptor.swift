import Base
import Model

/// What a hub says of its tunnel ends, signed, so that a device follows it to a new key and nobody else can lead it away.
///
/// Carried as a DSSE envelope. Checking the signatures is the caller's (`Trust` knows the keys); this type parses only
/// what that check returned, and refuses a descriptor that is not newer than the one in force.
public struct HubDescriptor: Hashable, Sendable {
    public static let payloadType = "application/vnd.holdfast.hub-descriptor+json"
    public static let schema: Int64 = 1
    /// Bytes of an envelope.
    public static let maxBytes = 64 << 10
    public static let maxEnds = 16

    /// One interface of the hub: two while its key is rotated.
    public struct End: Hashable, Sendable {
        /// Bytes of a host name.
        public static let maxHostBytes = 253

        public var publicKey: PublicKey
        /// A numeric address, or a name for the device to look up.
        public var host: String
        /// UDP.
        public var port: UInt16

        public init(publicKey: PublicKey, host: String, port: UInt16) {
            self.publicKey = publicKey
            self.host = host
            self.port = port
        }

        public init(publicKey: PublicKey, endpoint: Endpoint) {
            self.init(publicKey: publicKey, host: endpoint.address.description, port: endpoint.port)
        }

        /// Nil for a host name.
        public var endpoint: Endpoint? { IPAddress(host).map { Endpoint(address: $0, port: port) } }

        /// `host:port`, an IPv6 address in brackets.
        public var address: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

        /// The inverse of ``address``; nil for what no device could use.
        init?(publicKey: PublicKey, address: String) {
            guard let colon = address.lastIndex(of: ":"),
                let port = UInt16(address[address.index(after: colon)...]), port > 0
            else { return nil }
            var host = address[..<colon]
            if host.first == "[" {
                guard host.last == "]" else { return nil }
                host = host.dropFirst().dropLast()
                guard IPAddress(String(host))?.family == .v6 else { return nil }
            } else {
                guard (1...Self.maxHostBytes).contains(host.utf8.count),
                    host.utf8.allSatisfy({ $0 == 0x2D || $0 == 0x2E || Self.isLetterOrDigit($0) })
                else { return nil }
            }
            self.init(publicKey: publicKey, host: String(host), port: port)
        }

        private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20)
        }
    }

    /// The hub's name, as enrolment pinned it.
    public var hub: String
    /// Only grows.
    public var sequence: Int64
    public var issued: Timestamp
    /// The end to use first; the others are being retired.
    public var ends: [End]

    public init(hub: String, sequence: Int64, issued: Timestamp, ends: [End]) {
        self.hub = hub
        self.sequence = sequence
        self.issued = issued
        self.ends = ends
    }

    /// What is signed: canonical JSON.
    public func payload() throws(WireGuardError) -> [UInt8] {
        let value: JSONValue = [
            "schema": .integer(Self.schema), "hub": .string(hub), "sequence": .integer(sequence),
            "issued": .string(issued.description),
            "ends": .array(
                ends.map {
                    ["public-key": .string($0.publicKey.base64), "endpoint": .string($0.address)]
                }),
        ]
        do { return try value.serialized(.canonical) } catch { throw .descriptor(why: error.message) }
    }

    /// Reads a descriptor for this device: signed, of its own hub, and newer than `current`.
    ///
    /// `verify` checks an envelope of a payload type against the keys that may sign and returns its payload.
    public static func accept(
        envelope: [UInt8], hub: String, current: HubDescriptor?,
        verify: (_ envelope: [UInt8], _ payloadType: String) throws -> [UInt8]
    ) throws(WireGuardError) -> HubDescriptor {
        guard envelope.count <= maxBytes else { throw .limit(what: "bytes in a hub descriptor", limit: maxBytes) }
        let payload: [UInt8]
        do { payload = try verify(envelope, payloadType) } catch {
            throw .descriptor(why: (error as? any CodedError)?.message ?? "\(error)")
        }
        let descriptor = try HubDescriptor(payload: payload)
        guard descriptor.hub == hub else { throw .descriptor(why: "it is of hub \(descriptor.hub), not of \(hub)") }
        if let current {
            if descriptor == current { return current }
            guard descriptor.sequence > current.sequence else {
                throw .descriptor(why: "sequence \(descriptor.sequence) is not above \(current.sequence)")
            }
        }
        return descriptor
    }

    /// Reads a payload that was accepted before and kept by the caller.
    public init(stored payload: [UInt8]) throws(WireGuardError) { try self.init(payload: payload) }

    init(payload: [UInt8]) throws(WireGuardError) {
        let value: JSONValue
        do {
            value = try JSONValue(parsing: payload, limits: JSONLimits(size: Self.maxBytes, depth: 8, count: 1000))
        } catch { throw .descriptor(why: error.message) }
        guard value["schema"]?.integer == Self.schema else {
            throw .descriptor(why: "schema \(value["schema"]?.integer ?? 0) is not \(Self.schema)")
        }
        guard let hub = value["hub"]?.string, !hub.isEmpty, let sequence = value["sequence"]?.integer, sequence > 0,
            let issued = value["issued"]?.string.flatMap(Timestamp.init(rfc3339:)),
            let list = value["ends"]?.array, (1...Self.maxEnds).contains(list.count)
        else { throw .descriptor(why: "hub, sequence, issued or ends is missing or malformed") }
        var ends: [End] = []
        for entry in list {
            guard let key = entry["public-key"]?.string.flatMap({ PublicKey(base64: $0) }),
                let end = entry["endpoint"]?.string.flatMap({ End(publicKey: key, address: $0) })
            else { throw .descriptor(why: "an end has no public key or no endpoint") }
            ends.append(end)
        }
        self.init(hub: hub, sequence: sequence, issued: issued, ends: ends)
    }
}
