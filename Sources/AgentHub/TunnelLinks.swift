import Base
import Glibc
import HubProtocol
import NIOPosix
import WireGuard

/// One tunnel as it should stand.
public struct TunnelPlan: Sendable {
    public var interface: InterfaceName
    public var privateKey: SecretKey
    public var presharedKey: SecretKey?
    public var address: IPAddress
    public var hub: IPAddress
    public var hubKey: WireGuard.PublicKey
    /// Host name or numeric address.
    public var host: String
    public var port: UInt16
    /// Of the route to the hub: the lower wins where two tunnels lead to it.
    public var metric: UInt32
    /// Seconds; 0 for none.
    public var keepalive: UInt16
    /// The hub was heard and is not any more: it may have moved, and its name is looked up again.
    public var isLost = false

    var path: TunnelPath { TunnelPath(interface: interface, source: address, hub: hub) }
}

/// What a tunnel says of itself.
public struct TunnelCondition: Sendable, Equatable {
    public var interface: String
    public var isUp: Bool
    public var isKernel: Bool
    public var lastHandshake: Timestamp?
    public var receivedBytes: UInt64
    public var sentBytes: UInt64
    public var endpoint: String?

    public init(
        interface: String, isUp: Bool, isKernel: Bool, lastHandshake: Timestamp?, receivedBytes: UInt64,
        sentBytes: UInt64, endpoint: String?
    ) {
        self.interface = interface
        self.isUp = isUp
        self.isKernel = isKernel
        self.lastHandshake = lastHandshake
        self.receivedBytes = receivedBytes
        self.sentBytes = sentBytes
        self.endpoint = endpoint
    }
}

/// Makes and looks after interfaces. The calls block on the kernel, the daemon or a name server; they are made off
/// the cooperative threads.
public struct TunnelLinks: Sendable {
    /// Makes the interface what the plan says and changes nothing that is so already.
    public var bringUp: @Sendable (TunnelPlan) async throws -> Void
    public var takeDown: @Sendable (InterfaceName) async throws -> Void
    /// Nil when there is no such interface, or nothing serves it.
    public var condition: @Sendable (InterfaceName) async throws -> TunnelCondition?

    public init(
        bringUp: @escaping @Sendable (TunnelPlan) async throws -> Void,
        takeDown: @escaping @Sendable (InterfaceName) async throws -> Void,
        condition: @escaping @Sendable (InterfaceName) async throws -> TunnelCondition?
    ) {
        self.bringUp = bringUp
        self.takeDown = takeDown
        self.condition = condition
    }
}

extension TunnelLinks {
    /// Bytes: 1500 less IPv6, UDP and WireGuard's own.
    static let mtu: UInt32 = 1420

    /// This machine's own.
    ///
    /// - Parameter threads: where the calls block; not the pool that copies blobs, for a download must not keep the
    ///   tunnel that carries it from being mended.
    public static func live(host: WireGuardHost = WireGuardHost(), threads: NIOThreadPool) -> TunnelLinks {
        TunnelLinks(
            bringUp: { plan in try await threads.runIfActive { try Self.bringUp(plan, host) } },
            takeDown: { name in
                try await threads.runIfActive {
                    if try host.links.link(name) != nil { try host.delete(name) }
                }
            },
            condition: { name in try await threads.runIfActive { try Self.condition(name, host) } })
    }

    private static func bringUp(_ plan: TunnelPlan, _ host: WireGuardHost) throws {
        let device = try host.recover(plan.interface, mtu: mtu) { $0 == plan.privateKey }
        let target = IPPrefix(host: plan.hub)
        let state = try device.read()
        let endpoint = try endpoint(plan, state)
        try device.synchronize(
            to: DeviceConfiguration(
                privateKey: plan.privateKey,
                peers: [
                    PeerConfiguration(
                        publicKey: plan.hubKey, presharedKey: plan.presharedKey, endpoint: endpoint,
                        persistentKeepalive: plan.keepalive, allowedIPs: [target])
                ]))
        try host.links.setAddresses([InterfaceAddress(host: plan.address)], of: plan.interface)
        try host.links.set(plan.interface, up: true, mtu: mtu)
        try host.links.setRoute(target, through: plan.interface, metric: plan.metric)
    }

    /// A peer that is there keeps the endpoint it roamed to; one without handshakes, or lost since, is looked up anew. A
    /// lost one keeps its endpoint when no name server answers: maybe it is the network that is away.
    private static func endpoint(_ plan: TunnelPlan, _ state: DeviceState) throws -> Endpoint? {
        let isHeard = state.peers.contains { $0.publicKey == plan.hubKey && $0.lastHandshake != nil }
        guard isHeard else { return try resolve(plan.host, port: plan.port) }
        return plan.isLost ? try? resolve(plan.host, port: plan.port) : nil
    }

    private static func condition(_ name: InterfaceName, _ host: WireGuardHost) throws -> TunnelCondition? {
        guard let link = try host.links.link(name) else { return nil }
        guard let state = try state(of: name, host) else { return nil }
        let peer = state.peers.first
        return TunnelCondition(
            interface: name.text, isUp: link.isUp, isKernel: link.kind == "wireguard",
            lastHandshake: peer?.lastHandshake?.timestamp, receivedBytes: peer?.receivedBytes ?? 0,
            sentBytes: peer?.sentBytes ?? 0, endpoint: peer?.endpoint?.description)
    }

    private static func state(of name: InterfaceName, _ host: WireGuardHost) throws -> DeviceState? {
        do {
            return try host.device(name).read()
        } catch WireGuardError.noSuchDevice {
            return nil
        }
    }

    /// A numeric address as it is, a name by the system's resolver: the first answer.
    static func resolve(_ host: String, port: UInt16) throws -> Endpoint {
        if let address = IPAddress(host) { return Endpoint(address: address, port: port) }
        if let endpoint = Endpoint("\(host):\(port)") ?? Endpoint("[\(host)]:\(port)") { return endpoint }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        guard status == 0, let found = list?.pointee, let raw = found.ai_addr else {
            throw HubLinkError(
                .unreachable, "the hub's name \(host) is not known: \(String(cString: gai_strerror(status)))",
                hint: "check the device's name server")
        }
        let address: IPAddress? =
            switch found.ai_family {
            case AF_INET:
                raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { pointer in
                    withUnsafeBytes(of: pointer.pointee.sin_addr) { IPAddress(bytes: Array($0)) }
                }
            case AF_INET6:
                raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { pointer in
                    withUnsafeBytes(of: pointer.pointee.sin6_addr) { IPAddress(bytes: Array($0)) }
                }
            default: nil
            }
        guard let address else {
            throw HubLinkError(.unreachable, "the hub's name \(host) has no address of IPv4 or IPv6")
        }
        return Endpoint(address: address, port: port)
    }
}
