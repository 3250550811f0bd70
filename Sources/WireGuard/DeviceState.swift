import Base

/// All that a WireGuard interface says of itself.
public struct DeviceState: Hashable, Sendable {
    public var name: InterfaceName
    /// Nil when none is set.
    public var privateKey: SecretKey?
    public var publicKey: PublicKey?
    /// UDP port; 0 when none is bound yet.
    public var listenPort: UInt16
    /// 0 for none.
    public var firewallMark: UInt32
    public var peers: [Peer]

    public init(
        name: InterfaceName, privateKey: SecretKey? = nil, publicKey: PublicKey? = nil, listenPort: UInt16 = 0,
        firewallMark: UInt32 = 0, peers: [Peer] = []
    ) {
        self.name = name
        self.privateKey = privateKey
        self.publicKey = publicKey
        self.listenPort = listenPort
        self.firewallMark = firewallMark
        self.peers = peers
    }
}

/// One peer as the interface has it.
public struct Peer: Hashable, Sendable {
    public var publicKey: PublicKey
    public var presharedKey: SecretKey?
    /// Where the peer was last heard from, or was configured to be.
    public var endpoint: Endpoint?
    /// Seconds; 0 when off.
    public var persistentKeepalive: UInt16
    public var allowedIPs: [IPPrefix]
    /// Wall time; nil before the first handshake.
    public var lastHandshake: HandshakeTime?
    public var receivedBytes: UInt64
    public var sentBytes: UInt64

    public init(
        publicKey: PublicKey, presharedKey: SecretKey? = nil, endpoint: Endpoint? = nil,
        persistentKeepalive: UInt16 = 0, allowedIPs: [IPPrefix] = [], lastHandshake: HandshakeTime? = nil,
        receivedBytes: UInt64 = 0, sentBytes: UInt64 = 0
    ) {
        self.publicKey = publicKey
        self.presharedKey = presharedKey
        self.endpoint = endpoint
        self.persistentKeepalive = persistentKeepalive
        self.allowedIPs = allowedIPs
        self.lastHandshake = lastHandshake
        self.receivedBytes = receivedBytes
        self.sentBytes = sentBytes
    }
}

/// When a handshake ended, on this machine's wall clock.
public struct HandshakeTime: Hashable, Sendable, Comparable {
    public var seconds: Int64
    public var nanoseconds: UInt32

    public init(seconds: Int64, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    public var timestamp: Timestamp { Timestamp(seconds: seconds) }

    public static func < (lhs: HandshakeTime, rhs: HandshakeTime) -> Bool {
        (lhs.seconds, lhs.nanoseconds) < (rhs.seconds, rhs.nanoseconds)
    }
}

/// Bounds of what is read from a backend, so that a hostile or broken one cannot exhaust memory.
public enum DeviceLimits {
    /// The kernel refuses more than 2^20 peers on an interface.
    public static let maxPeers = 1 << 20
    /// Allowed IPs of all peers together.
    public static let maxAllowedIPs = 1 << 22
}
