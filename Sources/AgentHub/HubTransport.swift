import Base
import HubProtocol
import WireGuard

/// Where a request leaves this device and where it goes: one tunnel's own interface and address.
///
/// The interface is named beside the address, for while keys change two tunnels lead to one hub address.
public struct TunnelPath: Hashable, Sendable {
    public var interface: InterfaceName
    public var source: IPAddress
    public var hub: IPAddress
    public var port: UInt16

    public init(interface: InterfaceName, source: IPAddress, hub: IPAddress, port: UInt16 = DeviceRoute.port) {
        self.interface = interface
        self.source = source
        self.hub = hub
        self.port = port
    }
}

/// One request of the device API.
public struct HubRequest: Sendable {
    public var method: DeviceRoute.Method
    public var route: DeviceRoute
    public var headers: [(name: String, value: String)] = []
    public var body: [UInt8] = []
    /// Bytes of the answer's body that are read; a longer one is refused.
    public var answerLimit: Int
    /// For the whole exchange.
    public var limit: Duration

    public init(
        _ method: DeviceRoute.Method, _ route: DeviceRoute, body: [UInt8] = [], answerLimit: Int,
        limit: Duration = .seconds(30)
    ) {
        self.method = method
        self.route = route
        self.body = body
        self.answerLimit = answerLimit
        self.limit = limit
    }
}

/// What came back.
public struct HubAnswer: Sendable {
    public var status: Int
    /// By lower-case name.
    public var headers: [String: String]
    public var body: [UInt8]

    public init(status: Int, headers: [String: String] = [:], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// Retry-After in seconds; the form with a date is not used by a hub and ignored.
    var retryAfter: Int64? { headers["retry-after"].flatMap { Int64($0) }.flatMap { $0 >= 0 ? $0 : nil } }
}

/// Pulls a body piece by piece; nil after the last.
public typealias BodyPuller = @Sendable () async throws -> [UInt8]?

/// Carries requests through a tunnel.
///
/// - Throws: `hub-link.unreachable` for whatever kept an answer from coming whole, `hub-link.bad-answer` for one
///   that is too long or no HTTP.
public struct HubTransport: Sendable {
    /// A whole exchange of bounded size.
    public var send: @Sendable (_ request: HubRequest, _ path: TunnelPath) async throws -> HubAnswer
    /// An exchange whose answer may be long: `consume` gets the head, and the body as it comes. The request's
    /// `limit` is then for silence.
    public var stream:
        @Sendable (
            _ request: HubRequest, _ path: TunnelPath,
            _ consume: @escaping @Sendable (_ head: HubAnswer, _ next: @escaping BodyPuller) async throws -> Void
        ) async throws -> Void

    public init(
        send: @escaping @Sendable (_ request: HubRequest, _ path: TunnelPath) async throws -> HubAnswer,
        stream:
            @escaping @Sendable (
                _ request: HubRequest, _ path: TunnelPath,
                _ consume: @escaping @Sendable (_ head: HubAnswer, _ next: @escaping BodyPuller) async throws -> Void
            ) async throws -> Void
    ) {
        self.send = send
        self.stream = stream
    }
}
