import CMnl
import Glibc

/// A network interface as rtnetlink shows it.
public struct NetworkLink: Hashable, Sendable {
    public var name: InterfaceName
    public var index: UInt32
    /// Bytes.
    public var mtu: UInt32
    public var isUp: Bool
    /// `wireguard`, `tun`, `veth` …; nil for plain hardware and loopback.
    public var kind: String?
}

/// An address on an interface: host bits kept.
public struct InterfaceAddress: Hashable, Sendable, CustomStringConvertible {
    public var address: IPAddress
    public var prefixLength: UInt8

    /// Nil when the length exceeds the family's bits.
    public init?(_ address: IPAddress, prefixLength: UInt8) {
        guard prefixLength <= address.family.bitCount else { return nil }
        self.address = address
        self.prefixLength = prefixLength
    }

    /// The address alone: /32 or /128.
    public init(host address: IPAddress) {
        self.address = address
        prefixLength = address.family.bitCount
    }

    public var description: String { "\(address)/\(prefixLength)" }
}

/// Interfaces, their addresses and routes in the network namespace of the calling thread, by rtnetlink.
public struct NetworkLinks: Sendable {
    private let open: @Sendable () throws(WireGuardError) -> any NetlinkTransport

    public init() {
        self.init { () throws(WireGuardError) in try NetlinkSocket(protocol: NETLINK_ROUTE) }
    }

    init(open: @escaping @Sendable () throws(WireGuardError) -> any NetlinkTransport) { self.open = open }

    // MARK: Links

    /// Makes an interface of kind `wireguard`, down. ``WireGuardError/kernelUnsupported`` where the kernel has none.
    public func createWireGuard(_ name: InterfaceName, mtu: UInt32? = nil) throws(WireGuardError) {
        do {
            try request(
                RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "create", name.text
            ) { writer in
                RouteStructures.link().withUnsafeBytes { writer.append(structure: $0) }
                writer.attribute(UInt16(IFLA_IFNAME), string: name.text)
                if let mtu { writer.attribute(UInt16(IFLA_MTU), integer: mtu) }
                let info = writer.open(UInt16(IFLA_LINKINFO))
                writer.attribute(UInt16(IFLA_INFO_KIND), string: "wireguard")
                writer.close(info)
            }
        } catch .system(_, _, EOPNOTSUPP, _) {
            throw .kernelUnsupported
        }
    }

    /// Deletes an interface of any kind; one that is not there is no error.
    public func delete(_ name: InterfaceName) throws(WireGuardError) {
        do {
            try request(RTM_DELLINK, 0, "delete", name.text) { writer in
                RouteStructures.link().withUnsafeBytes { writer.append(structure: $0) }
                writer.attribute(UInt16(IFLA_IFNAME), string: name.text)
            }
        } catch .noSuchDevice {
            return
        }
    }

    /// Brings an interface up or down, and sets its MTU in bytes if given.
    public func set(_ name: InterfaceName, up: Bool? = nil, mtu: UInt32? = nil) throws(WireGuardError) {
        try request(RTM_NEWLINK, 0, "change", name.text) { writer in
            RouteStructures.link(up: up).withUnsafeBytes { writer.append(structure: $0) }
            writer.attribute(UInt16(IFLA_IFNAME), string: name.text)
            if let mtu { writer.attribute(UInt16(IFLA_MTU), integer: mtu) }
        }
    }

    /// Nil when there is no such interface.
    public func link(_ name: InterfaceName) throws(WireGuardError) -> NetworkLink? {
        var found: NetworkLink?
        do {
            try request(RTM_GETLINK, 0, "look up", name.text) { writer in
                RouteStructures.link().withUnsafeBytes { writer.append(structure: $0) }
                writer.attribute(UInt16(IFLA_IFNAME), string: name.text)
            } answer: { (_, body) throws(WireGuardError) in
                found = try RouteStructures.parseLink(body)
            }
        } catch .noSuchDevice {
            return nil
        }
        return found
    }

    /// All interfaces of this namespace.
    public func list() throws(WireGuardError) -> [NetworkLink] {
        var links: [NetworkLink] = []
        try dump(RTM_GETLINK, "list", "interfaces", RouteStructures.link()) {
            links = []
        } answer: { (body) throws(WireGuardError) in
            if let link = try RouteStructures.parseLink(body) { links.append(link) }
        }
        return links
    }

    // MARK: Addresses

    public func addresses(of name: InterfaceName) throws(WireGuardError) -> [InterfaceAddress] {
        let index = try self.index(of: name)
        var addresses: [InterfaceAddress] = []
        try dump(RTM_GETADDR, "list addresses of", name.text, RouteStructures.address(index: index)) {
            addresses = []
        } answer: { (body) throws(WireGuardError) in
            if let address = try RouteStructures.parseAddress(body, index: index) { addresses.append(address) }
        }
        return addresses
    }

    /// Adds an address, without duplicate address detection; one that is there already is no error.
    public func add(_ address: InterfaceAddress, to name: InterfaceName) throws(WireGuardError) {
        try change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, "add address \(address) to", address, name)
    }

    /// Removes an address; one that is not there is no error.
    public func remove(_ address: InterfaceAddress, from name: InterfaceName) throws(WireGuardError) {
        do {
            try change(RTM_DELADDR, 0, "remove address \(address) from", address, name)
        } catch .system(_, _, EADDRNOTAVAIL, _) {
            return
        }
    }

    private func change(
        _ type: Int, _ flags: Int32, _ operation: String, _ address: InterfaceAddress, _ name: InterfaceName
    ) throws(WireGuardError) {
        let header = RouteStructures.address(
            index: try index(of: name), family: address.address.family, prefixLength: address.prefixLength)
        try request(type, flags, operation, name.text) { writer in
            header.withUnsafeBytes { writer.append(structure: $0) }
            writer.attribute(UInt16(IFA_LOCAL), address.address.bytes)
            writer.attribute(UInt16(IFA_ADDRESS), address.address.bytes)
        }
    }

    /// Adds what is missing and removes what is too much; link-local addresses are the kernel's own and stay.
    public func setAddresses(_ wanted: [InterfaceAddress], of name: InterfaceName) throws(WireGuardError) {
        let current = try addresses(of: name)
        for address in wanted where !current.contains(address) { try add(address, to: name) }
        for address in current where !wanted.contains(address) && !address.address.isLinkLocal {
            try remove(address, from: name)
        }
    }

    // MARK: Routes

    /// Unicast routes of the main table through an interface, the kernel's own left out.
    public func routes(through name: InterfaceName) throws(WireGuardError) -> [IPPrefix] {
        try routesWithMetrics(through: name).map(\.destination)
    }

    private func routesWithMetrics(
        through name: InterfaceName
    ) throws(WireGuardError) -> [(destination: IPPrefix, metric: UInt32)] {
        let index = try self.index(of: name)
        var routes: [(destination: IPPrefix, metric: UInt32)] = []
        try dump(RTM_GETROUTE, "list routes through", name.text, RouteStructures.route(nil)) {
            routes = []
        } answer: { (body) throws(WireGuardError) in
            if let route = try RouteStructures.parseRoute(body, index: index) { routes.append(route) }
        }
        return routes
    }

    /// Adds a route or turns the one there is to this interface.
    ///
    /// - Parameter metric: routes to one destination with different metrics stand side by side, the lowest first; nil
    ///   leaves it to the kernel.
    public func addRoute(
        _ destination: IPPrefix, through name: InterfaceName, metric: UInt32? = nil
    ) throws(WireGuardError) {
        try change(
            RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "add route \(destination) through", destination, name,
            metric: metric)
    }

    /// Removes a route; one that is not there is no error.
    public func removeRoute(_ destination: IPPrefix, through name: InterfaceName) throws(WireGuardError) {
        try remove(destination, through: name, metric: nil)
    }

    /// - Parameter metric: of the route that is meant; nil for any.
    private func remove(
        _ destination: IPPrefix, through name: InterfaceName, metric: UInt32?
    ) throws(WireGuardError) {
        do {
            try change(RTM_DELROUTE, 0, "remove route \(destination) through", destination, name, metric: metric)
        } catch .system(_, _, ESRCH, _) {
            return
        }
    }

    private func change(
        _ type: Int, _ flags: Int32, _ operation: String, _ destination: IPPrefix, _ name: InterfaceName,
        metric: UInt32? = nil
    ) throws(WireGuardError) {
        let index = try self.index(of: name)
        try request(type, flags, operation, name.text) { writer in
            RouteStructures.route(destination).withUnsafeBytes { writer.append(structure: $0) }
            if destination.length > 0 { writer.attribute(UInt16(RTA_DST.rawValue), destination.address.bytes) }
            writer.attribute(UInt16(RTA_OIF.rawValue), integer: index)
            if let metric { writer.attribute(UInt16(RTA_PRIORITY.rawValue), integer: metric) }
        }
    }

    /// Makes a route the only one through an interface, with this metric. It is there all the time when it was before.
    public func setRoute(
        _ destination: IPPrefix, through name: InterfaceName, metric: UInt32
    ) throws(WireGuardError) {
        let present = try routesWithMetrics(through: name)
        if !present.contains(where: { $0 == (destination, metric) }) {
            try addRoute(destination, through: name, metric: metric)
        }
        for route in present where route != (destination, metric) {
            try remove(route.destination, through: name, metric: route.metric)
        }
    }

    /// Adds what is missing and removes what is too much.
    public func setRoutes(_ wanted: [IPPrefix], through name: InterfaceName) throws(WireGuardError) {
        let current = Set(try routes(through: name))
        let want = Set(wanted)
        for route in want.subtracting(current).sorted() { try addRoute(route, through: name) }
        for route in current.subtracting(want).sorted() { try removeRoute(route, through: name) }
    }

    // MARK: Requests

    private func index(of name: InterfaceName) throws(WireGuardError) -> UInt32 {
        let index = if_nametoindex(name.text)
        guard index != 0 else { throw .noSuchDevice(name: name.text) }
        return index
    }

    private func request(
        _ type: Int, _ flags: Int32, _ operation: String, _ element: String,
        build: (inout NetlinkWriter) -> Void,
        answer: (NetlinkHeader, UnsafeRawBufferPointer) throws(WireGuardError) -> Void = { (_, _) in }
    ) throws(WireGuardError) {
        var exchange = NetlinkExchange(transport: try open())
        var writer = NetlinkWriter(
            type: UInt16(type), flags: UInt16(NLM_F_REQUEST | NLM_F_ACK | flags), sequence: exchange.nextSequence())
        build(&writer)
        try exchange.request(writer.finish(), operation: operation, element: element, answer)
    }

    private func dump(
        _ type: Int, _ operation: String, _ element: String, _ header: [UInt8], restart: () -> Void,
        answer: (UnsafeRawBufferPointer) throws(WireGuardError) -> Void
    ) throws(WireGuardError) {
        var exchange = NetlinkExchange(transport: try open())
        try exchange.dump(operation: operation, element: element) { sequence in
            restart()
            var writer = NetlinkWriter(
                type: UInt16(type), flags: UInt16(NLM_F_REQUEST | Int32(NLM_F_DUMP)), sequence: sequence)
            header.withUnsafeBytes { writer.append(structure: $0) }
            return writer.finish()
        } _: { (_, body) throws(WireGuardError) in
            try answer(body)
        }
    }
}
