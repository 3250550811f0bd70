import CMnl
import Glibc

/// Turns a difference into WG_CMD_SET_DEVICE messages, one at a time, none above a limit in bytes.
///
/// The interface's own values and WGDEVICE_F_REPLACE_PEERS go into the first message only, a peer's values and
/// WGPEER_F_REPLACE_ALLOWEDIPS into the peer's first fragment only: repeated, they would undo what came before.
/// Later fragments say WGPEER_F_UPDATE_ONLY: a peer that somebody removed meanwhile must not come back
/// without its preshared key.
struct SetDeviceEncoder {
    /// Well below the default socket buffer of 208 KiB and the 64 KiB that a nest can hold.
    static let defaultMaxBytes = 32 << 10
    /// A header, the interface's values, a whole peer without its allowed IPs, and one allowed IP.
    static let minMaxBytes = 512
    /// Nest header, family, IPv6 address and mask.
    private static let allowedIPBytes = 4 + 8 + 20 + 8
    /// Nest header, public key, preshared key, flags, endpoint, keepalive, and the header of the allowed IPs.
    private static let peerBytes = 4 + 36 + 36 + 8 + 32 + 8 + 4

    private let name: InterfaceName
    private let family: UInt16
    private let difference: DeviceDifference
    private let maxBytes: Int
    private var started = false
    private var peer = 0
    /// Allowed IPs of the current peer already sent; nil before its first fragment.
    private var sent: Int?

    init(
        name: InterfaceName, family: UInt16, difference: DeviceDifference, maxBytes: Int = Self.defaultMaxBytes
    ) {
        self.name = name
        self.family = family
        self.difference = difference
        self.maxBytes = max(Self.minMaxBytes, min(maxBytes, NetlinkWriter.maxAttributePayload))
    }

    /// The next message, nil when all is said.
    mutating func next(sequence: UInt32) -> [UInt8]? {
        guard !started || peer < difference.peers.count else { return nil }
        var writer = GenericNetlink.message(
            family: family, command: UInt8(WG_CMD_SET_DEVICE.rawValue), version: UInt8(WG_GENL_VERSION),
            flags: NLM_F_REQUEST | NLM_F_ACK, sequence: sequence, capacity: maxBytes)
        writer.attribute(UInt16(WGDEVICE_A_IFNAME.rawValue), string: name.text)
        if !started {
            started = true
            writeDevice(into: &writer)
        }
        let nest = writer.open(UInt16(WGDEVICE_A_PEERS.rawValue))
        let empty = writer.count
        while peer < difference.peers.count, writer.count + Self.peerBytes + Self.allowedIPBytes <= maxBytes {
            guard writePeer(into: &writer) else { break }
            peer += 1
            sent = nil
        }
        if writer.count == empty { writer.truncate(to: nest) } else { writer.close(nest) }
        return writer.finish()
    }

    private func writeDevice(into writer: inout NetlinkWriter) {
        if let key = difference.privateKey {
            key.withUnsafeBytes { writer.attribute(UInt16(WGDEVICE_A_PRIVATE_KEY.rawValue), $0) }
        }
        if let port = difference.listenPort {
            writer.attribute(UInt16(WGDEVICE_A_LISTEN_PORT.rawValue), integer: port)
        }
        if let mark = difference.firewallMark {
            writer.attribute(UInt16(WGDEVICE_A_FWMARK.rawValue), integer: mark)
        }
        if difference.replacePeers {
            writer.attribute(UInt16(WGDEVICE_A_FLAGS.rawValue), integer: UInt32(WGDEVICE_F_REPLACE_PEERS.rawValue))
        }
    }

    /// Writes what fits of the current peer; true when it is done.
    private mutating func writePeer(into writer: inout NetlinkWriter) -> Bool {
        let change = difference.peers[peer]
        let nest = writer.open(0)
        defer { writer.close(nest) }
        change.publicKey.withUnsafeBytes { writer.attribute(UInt16(WGPEER_A_PUBLIC_KEY.rawValue), $0) }
        if let flags = flags(of: change) { writer.attribute(UInt16(WGPEER_A_FLAGS.rawValue), integer: flags) }
        if change.action == .remove { return true }
        if sent == nil { writeValues(of: change, into: &writer) }
        let prefixes: [IPPrefix]
        switch change.allowedIPs {
        case .keep: return true
        case .add(let list), .replace(let list): prefixes = list
        }
        var position = sent ?? 0
        let list = writer.open(UInt16(WGPEER_A_ALLOWEDIPS.rawValue))
        while position < prefixes.count, writer.count + Self.allowedIPBytes <= maxBytes {
            Self.write(prefixes[position], into: &writer)
            position += 1
        }
        if position == sent ?? 0 { writer.truncate(to: list) } else { writer.close(list) }
        sent = position
        return position == prefixes.count
    }

    private func flags(of change: PeerChange) -> UInt32? {
        if change.action == .remove { return UInt32(WGPEER_F_REMOVE_ME.rawValue) }
        var flags: UInt32 = 0
        if change.action == .update || sent != nil { flags |= UInt32(WGPEER_F_UPDATE_ONLY.rawValue) }
        if case .replace = change.allowedIPs, sent == nil { flags |= UInt32(WGPEER_F_REPLACE_ALLOWEDIPS.rawValue) }
        return flags == 0 ? nil : flags
    }

    private func writeValues(of change: PeerChange, into writer: inout NetlinkWriter) {
        switch change.presharedKey {
        case .keep: break
        case .clear:
            writer.attribute(
                UInt16(WGPEER_A_PRESHARED_KEY.rawValue), [UInt8](repeating: 0, count: SecretKey.byteCount))
        case .set(let key):
            key.withUnsafeBytes { writer.attribute(UInt16(WGPEER_A_PRESHARED_KEY.rawValue), $0) }
        }
        if let endpoint = change.endpoint {
            writer.attribute(UInt16(WGPEER_A_ENDPOINT.rawValue), SocketAddress.encode(endpoint))
        }
        if let interval = change.persistentKeepalive {
            writer.attribute(UInt16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL.rawValue), integer: interval)
        }
    }

    private static func write(_ prefix: IPPrefix, into writer: inout NetlinkWriter) {
        let nest = writer.open(0)
        let family = UInt16(prefix.address.family == .v4 ? AF_INET : AF_INET6)
        writer.attribute(UInt16(WGALLOWEDIP_A_FAMILY.rawValue), integer: family)
        writer.attribute(UInt16(WGALLOWEDIP_A_IPADDR.rawValue), prefix.address.bytes)
        writer.attribute(UInt16(WGALLOWEDIP_A_CIDR_MASK.rawValue), integer: prefix.length)
        writer.close(nest)
    }
}
