import NIOHTTP1

/// What is asked. `Host`, `Connection` and the framing headers are added when it is sent.
public struct HTTPRequest: Sendable {
    public enum Body: Sendable {
        case none
        case bytes([UInt8])
        /// Pulled piece by piece; nil ends it. Called one at a time, never before the piece before was taken by the
        /// socket. `length` in bytes, or nil to send in chunks.
        case stream(length: Int64?, next: @Sendable () async throws -> [UInt8]?)

        /// Bytes in all; nil when that is not known.
        var length: Int64? {
            switch self {
            case .none: 0
            case .bytes(let bytes): Int64(bytes.count)
            case .stream(let length, _): length
            }
        }
    }

    public var method: HTTPMethod
    /// Path and query, percent-encoded.
    public var target: String
    public var headers: HTTPHeaders
    public var body: Body

    public init(_ method: HTTPMethod, _ target: String, headers: HTTPHeaders = [:], body: Body = .none) {
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
    }

    func head(for endpoint: HTTPEndpoint) -> HTTPRequestHead {
        var headers = headers
        if !headers.contains(name: "Host") {
            // A unix socket has no authority; HTTP/1.1 asks for the header all the same.
            let host = if case .tcp(let address) = endpoint { address.authority } else { "localhost" }
            headers.add(name: "Host", value: host)
        }
        headers.replaceOrAdd(name: "Connection", value: "close")
        headers.remove(name: "Transfer-Encoding")
        headers.remove(name: "Content-Length")
        if case .none = body, method == .GET || method == .HEAD || method == .DELETE {
        } else if let length = body.length {
            headers.add(name: "Content-Length", value: "\(length)")
        } else {
            headers.add(name: "Transfer-Encoding", value: "chunked")
        }
        return HTTPRequestHead(version: .http1_1, method: method, uri: target, headers: headers)
    }
}
