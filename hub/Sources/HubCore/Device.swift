import Base
import HubProtocol
import Trust
import WireGuard

/// A device that asked to be enrolled, and what became of it.
public struct Device: HubRecord {
    public enum State: String, Sendable, Codable, CaseIterable {
        /// Asked with a batch token; a person has to approve.
        case waiting
        case active
        /// Asked, and a person said no.
        case rejected
        /// Was active, and its keys count no longer.
        case revoked
    }

    public static let kind = RecordKind.device

    public var id: DeviceID
    public var state: State
    /// Given by the token and by people, never by the device.
    public var labels: Labels
    public var architecture: String
    public var hostName: String
    /// 32 bytes of ed25519 in hex; signs the device's reports.
    public var signingKey: String
    /// The WireGuard key in use, and while keys are changed the next one in the other slot.
    public var keys: [TunnelNetwork.KeySlot: TunnelKey]
    public var slot: TunnelNetwork.KeySlot
    public var site: UInt16
    /// The device's number in its site; with the slot it makes the tunnel address.
    public var index: UInt64
    /// Access tokens of a lower generation count no longer.
    public var credentialGeneration: Int64
    public var token: EnrolmentTokenID
    public var enrolledAt: Timestamp
    /// When the WireGuard key in use came into use; nil in records older than the field: at enrolment.
    public var keySince: Timestamp?
    /// Whether the device shall change its WireGuard key now.
    public var rotateKey: Bool?
    /// The hub's key that its tunnel in use leads to; nil in records older than the field.
    public var hubKey: TunnelKey?

    /// A device under its first key.
    public init(
        id: DeviceID, state: State, labels: Labels, architecture: String, hostName: String, signingKey: String,
        key: WireGuard.PublicKey, site: UInt16, index: UInt64, token: EnrolmentTokenID, enrolledAt: Timestamp
    ) {
        self.id = id
        self.state = state
        self.labels = labels
        self.architecture = architecture
        self.hostName = hostName
        self.signingKey = signingKey
        keys = [.even: TunnelKey(key)]
        slot = .even
        self.site = site
        self.index = index
        credentialGeneration = 1
        self.token = token
        self.enrolledAt = enrolledAt
    }

    public var recordID: String { id.text }
    /// The labels, and `arch` and `state`, which no label can hide.
    public var recordLabels: Labels {
        labels.overridden(by: ["arch": architecture, "state": state.rawValue])
    }

    public var reportKey: Trust.PublicKey? {
        Hex.decode(signingKey).flatMap { $0.count == 32 ? Trust.PublicKey(ed25519: $0) : nil }
    }

    /// The peers that this device's interface has to have: none unless it is active, two while keys change.
    public func peers(in network: TunnelNetwork) -> [TunnelPeer] {
        guard state == .active else { return [] }
        return keys.sorted { $0.key.rawValue < $1.key.rawValue }.compactMap { slot, key in
            network.device(site: site, index: index, slot: slot).map {
                TunnelPeer(publicKey: key.key, address: $0, presharedKey: nil)
            }
        }
    }
}

/// A peer of the hub's WireGuard interface. Its one allowed address is what identifies a request by its source.
public struct TunnelPeer: Hashable, Sendable {
    public var publicKey: WireGuard.PublicKey
    public var address: IPAddress
    public var presharedKey: SecretKey?

    public init(publicKey: WireGuard.PublicKey, address: IPAddress, presharedKey: SecretKey?) {
        self.publicKey = publicKey
        self.address = address
        self.presharedKey = presharedKey
    }
}

/// The next free device number of one site.
public struct SiteRecord: HubRecord {
    public static let kind = RecordKind.site
    public var site: UInt16
    public var nextIndex: UInt64

    public init(site: UInt16, nextIndex: UInt64 = 1) {
        self.site = site
        self.nextIndex = nextIndex
    }
    public var recordID: String { Self.recordID(site) }
    public static func recordID(_ site: UInt16) -> String { String(site) }
}

/// A public key that was once given to a device. Never removed: no key is ever bound a second time.
public struct KeyBinding: HubRecord {
    public static let kind = RecordKind.binding
    public enum Use: String, Sendable, Codable { case wireGuard = "wg", signing = "sign" }

    public var use: Use
    /// 32 bytes in hex.
    public var key: String
    public var device: DeviceID
    public var token: EnrolmentTokenID
    public var boundAt: Timestamp

    public var recordID: String { Self.recordID(use, key) }
    public static func recordID(_ use: Use, _ key: String) -> String { "\(use.rawValue).\(key)" }
}
