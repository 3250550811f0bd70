import Base
import HubProtocol
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import PlainHTTP
import WireGuard

/// One listening socket of HTTP/1.1, plain or with TLS: bounded in all that a stranger can make grow.
public final class HTTPListener: Sendable {
    /// Connections that wait to be accepted.
    static let backlog: Int32 = 4_096
    /// Seconds that a stop waits for answers that are under way.
    static let stopSeconds = 10

    private let channel: any Channel
    private let registry: ConnectionRegistry
    public let address: IPAddress
    public let port: UInt16

    private init(channel: any Channel, registry: ConnectionRegistry, address: IPAddress, port: UInt16) {
        self.channel = channel
        self.registry = registry
        self.address = address
        self.port = port
    }

    /// Listens and serves until ``stop()``.
    ///
    /// - Parameters:
    ///   - address: the one address to listen on.
    ///   - port: 0 for any that is free.
    ///   - interface: the one that connections come and are answered by; nil for any.
    ///   - tls: nil for plain HTTP.
    public static func start(
        on address: IPAddress, port: UInt16, interface: String? = nil, tls: NIOSSLContext? = nil,
        bounds: HTTPBounds = HTTPBounds(),
        group: any EventLoopGroup, clock: SystemClock = .live, logger: Logger, responder: some HTTPResponder
    ) async throws -> HTTPListener {
        let registry = ConnectionRegistry(bounds: bounds)
        let date = HTTPDate(clock: clock)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                guard let interface else { return channel.eventLoop.makeSucceededVoidFuture() }
                do {
                    return try InterfaceBinding.tie(channel, to: interface)
                } catch {
                    return channel.eventLoop.makeFailedFuture(error)
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 4)
            .childChannelInitializer { channel in
                guard let peer = channel.remoteAddress.flatMap(IPAddress.init(socket:)),
                    registry.add(channel, from: peer)
                else { return channel.close() }
                channel.closeFuture.whenComplete { _ in registry.remove(channel, from: peer) }
                return channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
                    try pipeline.addHandler(HTTPResponseEncoder())
                    try pipeline.addHandler(
                        ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: bounds.decoder)))
                    try pipeline.addHandler(HTTPServerPipelineHandler())
                    try pipeline.addHandler(
                        HTTPConnection(
                            responder: responder, peer: peer, bounds: bounds, date: date, canSendFile: tls == nil,
                            logger: logger))
                }
            }
        let socket = try SocketAddress(ipAddress: address.description, port: Int(port))
        let channel = try await bootstrap.bind(to: socket).get()
        let bound = UInt16(channel.localAddress?.port ?? Int(port))
        return HTTPListener(channel: channel, registry: registry, address: address, port: bound)
    }

    /// Connections now.
    public var connections: Int { registry.count }

    /// Accepts no more, lets answers that are under way end, and closes what is left.
    public func stop() async {
        try? await channel.close()
        registry.quiesce()
        for _ in 0..<(Self.stopSeconds * 10) where registry.count > 0 {
            try? await Task.sleep(for: .milliseconds(100))
        }
        registry.closeAll()
    }
}

extension IPAddress {
    init?(socket: SocketAddress) {
        guard let text = socket.ipAddress else { return nil }
        self.init(text)
    }
}
