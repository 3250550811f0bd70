import Base
import Model
import WireGuard

/// What the hub answers to an enrolment request that it did not refuse.
public enum EnrolmentAnswer: Sendable, Equatable {
    public static let sizeLimit = 4 << 10
    /// Seconds a device waits before it asks again for an approval.
    public static let retryRange: ClosedRange<Int64> = 1...86_400

    /// The device is part of the fleet under this id and tunnel address.
    case enrolled(device: String, address: IPAddress, hub: IPAddress)
    /// A person has to approve; ask again with the same bytes after so many seconds.
    case waiting(device: String, retryAfter: Int64)

    public var bytes: [UInt8] {
        let value: JSONValue =
            switch self {
            case .enrolled(let device, let address, let hub):
                [
                    "schema": 1, "status": "enrolled", "device": .string(device),
                    "address": .string(address.description), "hub": .string(hub.description),
                ]
            case .waiting(let device, let seconds):
                ["schema": 1, "status": "waiting", "device": .string(device), "retry_after_s": .integer(seconds)]
            }
        // Strings and integers: the canonical form cannot fail.
        return (try? value.serialized(.canonical)) ?? []
    }

    public init(parsing bytes: [UInt8]) throws(HubProtocolError) {
        let malformed = HubProtocolError(.documentMalformed, "enrolment answer", "a field is missing or malformed")
        let limits = JSONLimits(size: Self.sizeLimit, depth: 4, count: 64, literalControls: false)
        guard let value = try? JSONValue(parsing: bytes, limits: limits), value["schema"]?.integer == 1,
            let device = value["device"]?.string, !device.isEmpty
        else { throw malformed }
        switch value["status"]?.string {
        case "enrolled":
            guard let address = value["address"]?.string.flatMap({ IPAddress($0) }),
                let hub = value["hub"]?.string.flatMap({ IPAddress($0) })
            else { throw malformed }
            self = .enrolled(device: device, address: address, hub: hub)
        case "waiting":
            guard let seconds = value["retry_after_s"]?.integer, Self.retryRange.contains(seconds) else {
                throw malformed
            }
            self = .waiting(device: device, retryAfter: seconds)
        default: throw malformed
        }
    }
}
