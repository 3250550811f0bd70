import HubProtocol
import NIOCore
import NIOHTTP1

/// What a listener sends back.
public struct HTTPAnswer: Sendable {
    public enum Body: Sendable {
        case none
        case bytes(ByteBuffer)
        /// A part of a file, by sendfile where the connection is plain. `pace` holds it to a rate.
        case file(OpenedFile, range: Range<Int64>, pace: Pace?)
        /// Pieces as they come; the connection closes with their end.
        case stream(AsyncStream<[UInt8]>)
    }

    public var status: HTTPResponseStatus
    public var headers: HTTPHeaders
    public var body: Body

    public init(_ status: HTTPResponseStatus, headers: HTTPHeaders = [:], body: Body = .none) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    public init(_ status: HTTPResponseStatus = .ok, type: String, _ bytes: [UInt8], headers: HTTPHeaders = [:]) {
        var headers = headers
        headers.replaceOrAdd(name: "Content-Type", value: type)
        self.init(status, headers: headers, body: .bytes(ByteBuffer(bytes: bytes)))
    }

    /// A problem under its own status, with `Retry-After` where it has one.
    public init(_ problem: Problem) {
        self.init(HTTPResponseStatus(statusCode: problem.status), type: DeviceHeader.problem, problem.bytes)
        if let seconds = problem.retryAfter { headers.add(name: "Retry-After", value: String(seconds)) }
    }

    /// Bytes of the body; nil where only its end tells.
    var length: Int64? {
        switch body {
        case .none: 0
        case .bytes(let buffer): Int64(buffer.readableBytes)
        case .file(_, let range, _): range.upperBound - range.lowerBound
        case .stream: nil
        }
    }
}

/// How fast a body may go out: asked before each piece, answers the seconds to wait first.
public struct Pace: Sendable {
    public let delay: @Sendable (_ bytes: Int) -> Double
    public init(delay: @escaping @Sendable (_ bytes: Int) -> Double) { self.delay = delay }
}
