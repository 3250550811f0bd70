import CMnl
import Glibc

/// The fixed headers of rtnetlink messages (rtnetlink(7)) and the attributes we read.
enum RouteStructures {
    private static let linkBytes = MemoryLayout<ifinfomsg>.size
    private static let addressBytes = MemoryLayout<ifaddrmsg>.size
    private static let routeBytes = MemoryLayout<rtmsg>.size

    /// `ifinfomsg`, for one interface that an attribute names or for all; nil leaves up and down alone.
    static func link(up: Bool? = nil) -> [UInt8] {
        var header = ifinfomsg()
        if let up {
            header.ifi_change = UInt32(IFF_UP)
            header.ifi_flags = up ? UInt32(IFF_UP) : 0
        }
        return withUnsafeBytes(of: header) { Array($0) }
    }

    /// `ifaddrmsg`; without a family, for a dump of all.
    static func address(index: UInt32, family: IPAddress.Family? = nil, prefixLength: UInt8 = 0) -> [UInt8] {
        var header = ifaddrmsg()
        header.ifa_family = family.map(number) ?? UInt8(AF_UNSPEC)
        header.ifa_prefixlen = prefixLength
        header.ifa_flags = family == .v6 ? UInt8(IFA_F_NODAD) : 0
        header.ifa_index = index
        return withUnsafeBytes(of: header) { Array($0) }
    }

    /// `rtmsg` of a unicast route in the main table; nil for a dump of all.
    static func route(_ destination: IPPrefix?) -> [UInt8] {
        var header = rtmsg()
        if let destination {
            header.rtm_family = number(destination.address.family)
            header.rtm_dst_len = destination.length
            header.rtm_table = UInt8(RT_TABLE_MAIN.rawValue)
            header.rtm_protocol = UInt8(RTPROT_STATIC)
            header.rtm_scope = UInt8(destination.address.family == .v4 ? RT_SCOPE_LINK.rawValue : 0)
            header.rtm_type = UInt8(RTN_UNICAST)
        }
        return withUnsafeBytes(of: header) { Array($0) }
    }

    private static func number(_ family: IPAddress.Family) -> UInt8 { UInt8(family == .v4 ? AF_INET : AF_INET6) }

    // MARK: Reading

    /// Nil for an interface whose name is outside ``InterfaceName``'s form.
    static func parseLink(_ body: UnsafeRawBufferPointer) throws(WireGuardError) -> NetworkLink? {
        var attributes = try self.attributes(of: body, after: linkBytes, "ifinfomsg")
        let header = body.loadUnaligned(as: ifinfomsg.self)
        var link: NetworkLink?
        var mtu: UInt32 = 0
        var kind: String?
        while let attribute = try attributes.next() {
            switch Int(attribute.type) {
            case Int(IFLA_IFNAME):
                guard let name = InterfaceName(try attribute.string("IFLA_IFNAME")) else { return nil }
                link = NetworkLink(
                    name: name, index: UInt32(bitPattern: header.ifi_index), mtu: 0,
                    isUp: header.ifi_flags & UInt32(IFF_UP) != 0)
            case Int(IFLA_MTU): mtu = try attribute.integer(as: UInt32.self, "IFLA_MTU")
            case Int(IFLA_LINKINFO):
                var info = attribute.attributes
                while let entry = try info.next() {
                    if Int(entry.type) == Int(IFLA_INFO_KIND) { kind = try entry.string("IFLA_INFO_KIND") }
                }
            default: continue
            }
        }
        link?.mtu = mtu
        link?.kind = kind
        return link
    }

    static func parseAddress(
        _ body: UnsafeRawBufferPointer, index: UInt32
    ) throws(WireGuardError) -> InterfaceAddress? {
        var attributes = try self.attributes(of: body, after: addressBytes, "ifaddrmsg")
        let header = body.loadUnaligned(as: ifaddrmsg.self)
        guard header.ifa_index == index else { return nil }
        var local: IPAddress?
        var address: IPAddress?
        while let attribute = try attributes.next() {
            if attribute.type == UInt16(IFA_LOCAL) { local = IPAddress(bytes: attribute.payload) }
            if attribute.type == UInt16(IFA_ADDRESS) { address = IPAddress(bytes: attribute.payload) }
        }
        // IPv6 has IFA_ADDRESS alone; on IPv4 that is the far end of a point-to-point link.
        guard let found = local ?? address else { return nil }
        return InterfaceAddress(found, prefixLength: header.ifa_prefixlen)
    }

    static func parseRoute(
        _ body: UnsafeRawBufferPointer, index: UInt32
    ) throws(WireGuardError) -> (destination: IPPrefix, metric: UInt32)? {
        var attributes = try self.attributes(of: body, after: routeBytes, "rtmsg")
        let header = body.loadUnaligned(as: rtmsg.self)
        guard header.rtm_table == UInt8(RT_TABLE_MAIN.rawValue), header.rtm_type == UInt8(RTN_UNICAST),
            header.rtm_protocol != UInt8(RTPROT_KERNEL)
        else { return nil }
        var address: IPAddress?
        var interface: UInt32?
        var metric: UInt32 = 0
        while let attribute = try attributes.next() {
            if attribute.type == UInt16(RTA_PRIORITY.rawValue) {
                metric = try attribute.integer(as: UInt32.self, "RTA_PRIORITY")
            }
            if attribute.type == UInt16(RTA_DST.rawValue) { address = IPAddress(bytes: attribute.payload) }
            if attribute.type == UInt16(RTA_OIF.rawValue) {
                interface = try attribute.integer(as: UInt32.self, "RTA_OIF")
            }
        }
        guard interface == index else { return nil }
        // A default route has no destination.
        let any = header.rtm_family == UInt8(AF_INET) ? IPAddress(v4: 0) : IPAddress(high: 0, low: 0)
        guard let destination = IPPrefix(address ?? any, length: header.rtm_dst_len) else { return nil }
        return (destination, metric)
    }

    private static func attributes(
        of body: UnsafeRawBufferPointer, after count: Int, _ name: String
    ) throws(WireGuardError) -> NetlinkAttributes {
        guard body.count >= count else { throw .malformed(what: name, why: "\(body.count) bytes") }
        return NetlinkAttributes(UnsafeRawBufferPointer(rebasing: body[min(body.count, (count + 3) & ~3)...]))
    }
}
