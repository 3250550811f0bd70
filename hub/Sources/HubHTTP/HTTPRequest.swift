import HubProtocol
import NIOCore
import NIOHTTP1
import WireGuard

/// A request's head, as far as it was read: enough to refuse it.
public struct HTTPRequest: Sendable {
    public var method: HTTPMethod
    /// As it was sent: path and query.
    public var target: String
    public var headers: HTTPHeaders
    /// Where the connection comes from.
    public var peer: IPAddress
    /// Names the request in log and answer.
    public var id: String

    public init(
        method: HTTPMethod, target: String, headers: HTTPHeaders = [:], peer: IPAddress, id: String = ""
    ) {
        self.method = method
        self.target = target
        self.headers = headers
        self.peer = peer
        self.id = id
    }

    /// What follows `Bearer `; nil without exactly one such field.
    public var bearer: String? {
        let fields = headers["Authorization"]
        guard fields.count == 1, let field = fields.first, field.utf8.count > 7,
            field.prefix(7).lowercased() == "bearer "
        else { return nil }
        return String(field.dropFirst(7))
    }
}

/// What a responder wants done with a request whose head it has seen.
public enum HTTPAcceptance: Sendable {
    /// This answer, at once. A body that follows is not read: the connection ends after the answer.
    case answer(HTTPAnswer)
    /// The whole body, at most `limit` bytes, then this work.
    case collect(limit: Int, @Sendable ([UInt8]) async -> HTTPAnswer)
    /// The body piece by piece while the work goes on.
    case stream(@Sendable (HTTPBody) async -> HTTPAnswer)
}

/// Decides about requests; called on an event loop, so that what is in memory is answered without a thread's change.
public protocol HTTPResponder: Sendable {
    func accept(_ request: HTTPRequest) -> HTTPAcceptance
}
