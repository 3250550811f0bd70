import CMnl
import Glibc

/// Puts the messages of a WG_CMD_GET_DEVICE dump together.
///
/// A peer with many allowed IPs goes on in the next message under its public key alone, so adjacent
/// peers of one key are one peer (linux/wireguard.h, "coalesce adjacent peers").
struct DeviceAssembler {
    private let fallback: InterfaceName
    private var state: DeviceState
    private var allowedIPCount = 0

    init(name: InterfaceName) {
        fallback = name
        state = DeviceState(name: name)
    }

    /// Back to the start, when the dump is taken again.
    mutating func restart() { self = DeviceAssembler(name: fallback) }

    consuming func finish() -> DeviceState { state }

    /// Takes one message, from its `genlmsghdr` on.
    mutating func consume(_ body: UnsafeRawBufferPointer) throws(WireGuardError) {
        var attributes = try GenericNetlink.attributes(of: body)
        while let attribute = try attributes.next() {
            switch wgdevice_attribute(UInt32(attribute.type)) {
            case WGDEVICE_A_IFNAME:
                state.name = try InterfaceName(parsing: try attribute.string("WGDEVICE_A_IFNAME"))
            case WGDEVICE_A_PRIVATE_KEY:
                guard let key = SecretKey(buffer: attribute.payload) else {
                    throw .malformed(what: "WGDEVICE_A_PRIVATE_KEY", why: "\(attribute.payload.count) bytes")
                }
                state.privateKey = key.isZero ? nil : key
            case WGDEVICE_A_PUBLIC_KEY:
                let key = try Self.publicKey(attribute, "WGDEVICE_A_PUBLIC_KEY")
                state.publicKey = key.isZero ? nil : key
            case WGDEVICE_A_LISTEN_PORT:
                state.listenPort = try attribute.integer(as: UInt16.self, "WGDEVICE_A_LISTEN_PORT")
            case WGDEVICE_A_FWMARK:
                state.firewallMark = try attribute.integer(as: UInt32.self, "WGDEVICE_A_FWMARK")
            case WGDEVICE_A_PEERS:
                var peers = attribute.attributes
                while let peer = try peers.next() { try consume(peer: peer.attributes) }
            default: continue
            }
        }
        // The kernel leaves the public key out where there is no private key.
        if state.privateKey == nil { state.publicKey = nil }
    }

    private mutating func consume(peer attributes: NetlinkAttributes) throws(WireGuardError) {
        var scan = attributes
        var key: PublicKey?
        while let attribute = try scan.next() {
            if wgpeer_attribute(UInt32(attribute.type)) == WGPEER_A_PUBLIC_KEY {
                key = try Self.publicKey(attribute, "WGPEER_A_PUBLIC_KEY")
            }
        }
        guard let key else { throw .malformed(what: "peer", why: "no public key") }
        if state.peers.last?.publicKey != key {
            guard state.peers.count < DeviceLimits.maxPeers else {
                throw .limit(what: "peers on one interface", limit: DeviceLimits.maxPeers)
            }
            state.peers.append(Peer(publicKey: key))
        }
        let index = state.peers.count - 1
        var rest = attributes
        while let attribute = try rest.next() { try apply(attribute, to: index) }
    }

    private mutating func apply(_ attribute: NetlinkAttribute, to index: Int) throws(WireGuardError) {
        switch wgpeer_attribute(UInt32(attribute.type)) {
        case WGPEER_A_PRESHARED_KEY:
            guard let key = SecretKey(buffer: attribute.payload) else {
                throw .malformed(what: "WGPEER_A_PRESHARED_KEY", why: "\(attribute.payload.count) bytes")
            }
            state.peers[index].presharedKey = key.isZero ? nil : key
        case WGPEER_A_ENDPOINT:
            state.peers[index].endpoint = try SocketAddress.decode(attribute.payload)
        case WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
            state.peers[index].persistentKeepalive = try attribute.integer(
                as: UInt16.self, "WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL")
        case WGPEER_A_LAST_HANDSHAKE_TIME:
            guard attribute.payload.count == 16 else {
                throw .malformed(what: "WGPEER_A_LAST_HANDSHAKE_TIME", why: "\(attribute.payload.count) bytes")
            }
            let seconds = attribute.payload.loadUnaligned(as: Int64.self)
            let nanoseconds = attribute.payload.loadUnaligned(fromByteOffset: 8, as: Int64.self)
            state.peers[index].lastHandshake = HandshakeTime(seconds: seconds, nanoseconds: nanoseconds)
        case WGPEER_A_RX_BYTES:
            state.peers[index].receivedBytes = try attribute.integer(as: UInt64.self, "WGPEER_A_RX_BYTES")
        case WGPEER_A_TX_BYTES:
            state.peers[index].sentBytes = try attribute.integer(as: UInt64.self, "WGPEER_A_TX_BYTES")
        case WGPEER_A_ALLOWEDIPS:
            var entries = attribute.attributes
            while let entry = try entries.next() {
                allowedIPCount += 1
                guard allowedIPCount <= DeviceLimits.maxAllowedIPs else {
                    throw .limit(what: "allowed IPs on one interface", limit: DeviceLimits.maxAllowedIPs)
                }
                state.peers[index].allowedIPs.append(try Self.allowedIP(entry.attributes))
            }
        default: return
        }
    }

    private static func publicKey(_ attribute: NetlinkAttribute, _ name: String) throws(WireGuardError) -> PublicKey {
        guard let key = PublicKey(buffer: attribute.payload) else {
            throw .malformed(what: name, why: "\(attribute.payload.count) bytes")
        }
        return key
    }

    private static func allowedIP(_ attributes: NetlinkAttributes) throws(WireGuardError) -> IPPrefix {
        var rest = attributes
        var family: UInt16?
        var address: IPAddress?
        var length: UInt8?
        while let attribute = try rest.next() {
            switch wgallowedip_attribute(UInt32(attribute.type)) {
            case WGALLOWEDIP_A_FAMILY: family = try attribute.integer(as: UInt16.self, "WGALLOWEDIP_A_FAMILY")
            case WGALLOWEDIP_A_IPADDR: address = IPAddress(bytes: attribute.payload)
            case WGALLOWEDIP_A_CIDR_MASK: length = try attribute.integer(as: UInt8.self, "WGALLOWEDIP_A_CIDR_MASK")
            default: continue
            }
        }
        guard let family, let address, let length, let prefix = IPPrefix(address, length: length),
            Int32(family) == (address.family == .v4 ? AF_INET : AF_INET6)
        else { throw .malformed(what: "allowed IP", why: "family, address and mask do not fit") }
        return prefix
    }
}

extension HandshakeTime {
    /// Nil for the zero that stands for "never", and for times no clock has.
    init?(seconds: Int64, nanoseconds: Int64) {
        guard seconds != 0 || nanoseconds != 0, seconds >= 0, (0..<1_000_000_000).contains(nanoseconds) else {
            return nil
        }
        self.init(seconds: seconds, nanoseconds: UInt32(nanoseconds))
    }
}
