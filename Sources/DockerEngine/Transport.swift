import AsyncHTTPClient
import Base
import Glibc
import Model
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A request as the client's methods write it: no version, no host.
struct EngineRequest: Sendable {
    enum Body: Sendable {
        case none
        case json(JSONValue)
        case stream(BodyProducer)
    }
    enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
        case delete = "DELETE"
    }
    var method: Method
    /// Path below the version, already percent-encoded: `/containers/web/json`.
    var path: String
    var query: [(name: String, value: String)] = []
    var body = Body.none
    /// For errors: `inspect container web`.
    var operation: String
    /// Longest time without progress; for answers that are not streamed, of the whole call.
    var limit: Duration?
    /// Prefixed to the path; nil only for the calls that find the version out.
    var version: APIVersion?
}

/// Pulls a request body; nil ends it. Called one at a time, never before the piece before was taken,
/// so that a producer of pieces of n bytes costs a small multiple of n in memory.
public struct BodyProducer: Sendable {
    /// Bytes in all, or nil to send in chunks.
    public var length: Int64?
    public var next: @Sendable () async throws -> [UInt8]?

    public init(length: Int64?, next: @escaping @Sendable () async throws -> [UInt8]?) {
        self.length = length
        self.next = next
    }

    /// A body that is in memory already.
    public init(_ bytes: [UInt8]) {
        let rest = Slot<[UInt8]>(bytes)
        self.init(length: Int64(bytes.count)) { rest.take() }
    }
}

/// A value behind a lock, there or not.
final class Slot<Value: Sendable>: Sendable {
    private let storage: Mutex<Value?>
    init(_ value: Value? = nil) { storage = Mutex(value) }
    var value: Value? { storage.withLock { $0 } }
    func set(_ value: Value) { storage.withLock { $0 = value } }
    /// The value, which is then gone.
    func take() -> Value? {
        storage.withLock { stored in
            defer { stored = nil }
            return stored
        }
    }
}

/// HTTP over the engine's unix socket: one connection per call, bounded answers, no redirects.
///
/// Connections are not reused: a new one costs some 50 µs on a unix socket, and a call can then never
/// land on a connection that the engine's restart has just broken.
struct Transport: Sendable {
    let client: HTTPClient
    let socketPath: String
    let group: any EventLoopGroup

    /// Concurrent calls before further ones queue; long-lived ones (events, followed logs, waits) count.
    static let connectionLimit = 128
    static let connectTimeout = TimeAmount.seconds(5)
    /// Largest error answer read for its message, in bytes.
    static let errorBodyLimit = 64 << 10

    init(socketPath: String, group: any EventLoopGroup) {
        self.socketPath = socketPath
        self.group = group
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.decompression = .disabled
        configuration.httpVersion = .http1Only
        configuration.maximumUsesPerConnection = 1
        configuration.timeout = .init(connect: Self.connectTimeout)
        configuration.connectionPool = .init(
            idleTimeout: .seconds(1), concurrentHTTP1ConnectionsPerHostSoftLimit: Self.connectionLimit)
        // A missing socket is an answer, not a flaky network: fail at once and let the caller back off.
        configuration.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .shared(group), configuration: configuration)
    }

    // MARK: Answers

    /// The whole answer, at most `limit` bytes. Throws for every status but 2xx and 304.
    func collect(_ request: EngineRequest, maximum: Int) async throws(EngineError) -> Answer {
        try await run(request) { _ in
            let failure = Slot<ProducerFailed>()
            let response = try await self.send(request, progress: nil, failure: failure)
            let body = try await self.collectBody(response, request, maximum: maximum)
            return Answer(
                operation: request.operation, status: Int(response.status.code), headers: response.headers,
                body: body)
        }
    }

    /// Streams the answer's body; `consume` is called with one piece at a time and exerts back-pressure.
    ///
    /// Errors that `consume` throws pass through unchanged.
    func stream(
        _ request: EngineRequest, consume: @escaping @Sendable (ByteBuffer) async throws -> Void
    ) async throws {
        // The consumer's own error is kept apart from the transport's.
        let consumerError = Slot<any Error>()
        do throws(EngineError) {
            try await run(request) { progress in
                let failure = Slot<ProducerFailed>()
                let response = try await self.send(request, progress: progress, failure: failure)
                do {
                    for try await piece in response.body {
                        progress.mark()
                        do { try await consume(piece) } catch {
                            consumerError.set(error)
                            throw error
                        }
                        progress.mark()
                    }
                } catch {
                    throw failure.value ?? error
                }
                if let error = failure.value { throw error }
            }
        } catch {
            throw consumerError.value ?? error
        }
    }

    private func run<Value: Sendable>(
        _ request: EngineRequest, _ work: @escaping @Sendable (Progress) async throws -> Value
    ) async throws(EngineError) -> Value {
        do {
            return try await withWatchdog(request.limit, work)
        } catch {
            throw translate(error, request)
        }
    }

    private func send(
        _ request: EngineRequest, progress: Progress?, failure: Slot<ProducerFailed>
    ) async throws -> HTTPClientResponse {
        var message = HTTPClientRequest(url: url(request))
        message.method = HTTPMethod(rawValue: request.method.rawValue)
        message.headers.add(name: "Host", value: "docker")
        message.headers.add(name: "User-Agent", value: "holdfast")
        switch request.body {
        case .none: break
        case .json(let value):
            message.headers.add(name: "Content-Type", value: "application/json")
            message.body = .bytes(ByteBuffer(bytes: try value.serialized()))
        case .stream(let producer):
            message.headers.add(name: "Content-Type", value: "application/x-tar")
            let body = ProducedBody(producer: producer, loop: group.next(), progress: progress, failure: failure)
            message.body = .stream(body, length: producer.length.map { .known($0) } ?? .unknown)
        }
        let response: HTTPClientResponse
        do {
            response = try await client.execute(message, deadline: .distantFuture)
        } catch {
            throw failure.value ?? error
        }
        progress?.mark()
        let status = Int(response.status.code)
        guard (200..<300).contains(status) || status == 304 else {
            let body = try? await collectBody(response, request, maximum: Self.errorBodyLimit)
            throw refusal(status, body ?? ByteBuffer(), request)
        }
        return response
    }

    private func collectBody(
        _ response: HTTPClientResponse, _ request: EngineRequest, maximum: Int
    ) async throws -> ByteBuffer {
        var body = ByteBuffer()
        for try await piece in response.body {
            guard body.readableBytes + piece.readableBytes <= maximum else {
                throw EngineError(
                    .tooLarge, operation: request.operation,
                    detail: "the engine's answer is larger than \(ByteCount(maximum))")
            }
            body.writeImmutableBuffer(piece)
        }
        return body
    }

    // MARK: URLs

    private func url(_ request: EngineRequest) -> String {
        var text = "http+unix://" + Self.percentEncode(socketPath)
        if let version = request.version { text += "/v\(version)" }
        text += request.path
        for (index, item) in request.query.enumerated() {
            text += (index == 0 ? "?" : "&") + item.name + "=" + Self.percentEncode(item.value)
        }
        return text
    }

    /// RFC 3986 unreserved characters stay.
    static func percentEncode(_ text: String) -> String {
        var output: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x41...0x5A, 0x61...0x7A, 0x30...0x39, 0x2D, 0x2E, 0x5F, 0x7E: output.append(byte)
            default:
                let digits = Array("0123456789ABCDEF".utf8)
                output += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    // MARK: Errors

    private func refusal(_ status: Int, _ body: ByteBuffer, _ request: EngineRequest) -> EngineError {
        let bytes = Array(body.readableBytesView)
        let document = try? JSONValue(parsing: bytes, limits: JSONLimits(size: Self.errorBodyLimit))
        let words = document == nil ? String(decoding: bytes, as: UTF8.self) : document?["message"]?.string ?? ""
        let detail = EngineError.clean(words)
        let reason: EngineError.Reason =
            switch status {
            case 400: .badRequest
            case 404: .notFound
            case 409: .conflict
            case 503: .unavailable
            case 500...: .failed
            case 400..<500: .refused
            default: .malformed
            }
        return EngineError(
            reason, operation: request.operation,
            detail: detail.isEmpty ? "the engine answered \(status)" : detail,
            status: status)
    }

    private func translate(_ error: any Error, _ request: EngineRequest) -> EngineError {
        func made(_ reason: EngineError.Reason, _ detail: String) -> EngineError {
            EngineError(reason, operation: request.operation, detail: detail)
        }
        switch error {
        case let error as EngineError: return error
        case is NoProgress:
            let limit = request.limit.map { "\($0)" } ?? "its limit"
            return made(.timeout, "the engine made no progress for \(limit)")
        case is CancellationError: return made(.cancelled, "the call was cancelled")
        case let error as ProducerFailed:
            return made(.producer, EngineError.clean("\(error.underlying)"))
        case let error as IOError where error.errnoCode == EACCES || error.errnoCode == EPERM:
            return made(.permission, "no permission to open \(socketPath)")
        case let error as IOError:
            return made(
                .unreachable, "the engine at \(socketPath) is not reachable: \(Self.words(error.errnoCode))"
            )
        case let error as HTTPClientError:
            if error == .cancelled { return made(.cancelled, "the call was cancelled") }
            if error == .connectTimeout || error == .readTimeout || error == .writeTimeout
                || error == .deadlineExceeded
            {
                return made(.timeout, "the engine at \(socketPath) does not answer")
            }
            if error == .remoteConnectionClosed {
                return made(.truncated, "the engine closed the connection before the end of its answer")
            }
            return made(.malformed, error.shortDescription)
        case HTTPParserError.invalidEOFState:
            return made(.truncated, "the engine closed the connection before the end of its answer")
        case is HTTPParserError: return made(.malformed, "the engine's answer is not HTTP")
        case let error as JSONError: return made(.malformed, error.message)
        default: return made(.unreachable, EngineError.clean("\(error)"))
        }
    }

    private static func words(_ code: CInt) -> String {
        String(cString: strerror(code))
    }
}

/// An answer held in memory.
struct Answer: Sendable {
    var operation: String
    var status: Int
    var headers: HTTPHeaders
    var body: ByteBuffer
}

/// Why a body producer failed; the HTTP client would only say that the request did.
private struct ProducerFailed: Error { var underlying: any Error }

private struct ProducedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer
    var producer: BodyProducer
    let loop: any EventLoop
    var progress: Progress?
    var failure: Slot<ProducerFailed>

    struct AsyncIterator: AsyncIteratorProtocol {
        var body: ProducedBody
        mutating func next() async throws -> ByteBuffer? {
            body.progress?.mark()
            do {
                // The client hands writes to its event loop without waiting for them, and pauses only once
                // the loop has found the socket full. Taking a turn on the loop first lets it find out.
                try await body.loop.submit {}.get()
                defer { body.progress?.mark() }
                return try await body.producer.next().map { ByteBuffer(bytes: $0) }
            } catch {
                body.failure.set(ProducerFailed(underlying: error))
                throw error
            }
        }
    }
    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self) }
}
