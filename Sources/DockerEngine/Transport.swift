import Base
import Glibc
import Model
import NIOCore
import NIOHTTP1
import PlainHTTP
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
struct Transport: Sendable {
    let client: PlainHTTPClient
    let socketPath: String

    /// Largest error answer read for its message, in bytes.
    static let errorBodyLimit = 64 << 10

    init(socketPath: String, group: any EventLoopGroup) {
        self.socketPath = socketPath
        client = PlainHTTPClient(group: group)
    }

    // MARK: Answers

    /// The whole answer, at most `limit` bytes. Throws for every status but 2xx and 304.
    func collect(_ request: EngineRequest, maximum: Int) async throws(EngineError) -> Answer {
        do {
            return try await perform(request, ExchangeLimits(total: request.limit)) { response in
                Answer(
                    operation: request.operation, status: response.status, headers: response.headers,
                    body: try await response.collect(maximum: maximum))
            }
        } catch {
            throw translate(error, request)
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
        do {
            try await perform(request, ExchangeLimits(silence: request.limit)) { response in
                while let piece = try await response.next() {
                    do { try await consume(piece) } catch {
                        consumerError.set(error)
                        throw error
                    }
                }
            }
        } catch {
            throw consumerError.value ?? translate(error, request)
        }
    }

    private func perform<Value: Sendable>(
        _ request: EngineRequest, _ limits: ExchangeLimits,
        _ consume: @escaping @Sendable (HTTPResponse) async throws -> Value
    ) async throws -> Value {
        let message = try message(request)
        return try await client.perform(message, at: .unixSocket(path: socketPath), limits: limits) { response in
            guard (200..<300).contains(response.status) || response.status == 304 else {
                let body = try? await response.collect(maximum: Self.errorBodyLimit)
                throw self.refusal(response.status, body ?? ByteBuffer(), request)
            }
            return try await consume(response)
        }
    }

    private func message(_ request: EngineRequest) throws -> HTTPRequest {
        var message = HTTPRequest(
            HTTPMethod(rawValue: request.method.rawValue), target(request),
            headers: ["Host": "docker", "User-Agent": "holdfast"])
        switch request.body {
        case .none: break
        case .json(let value):
            message.headers.add(name: "Content-Type", value: "application/json")
            message.body = .bytes(try value.serialized())
        case .stream(let producer):
            message.headers.add(name: "Content-Type", value: "application/x-tar")
            message.body = .stream(length: producer.length) {
                do { return try await producer.next() } catch { throw ProducerFailed(underlying: error) }
            }
        }
        return message
    }

    // MARK: URLs

    private func target(_ request: EngineRequest) -> String {
        var text = (request.version.map { "/v\($0)" } ?? "") + request.path
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
        case is CancellationError: return made(.cancelled, "the call was cancelled")
        case let error as ProducerFailed:
            return made(.producer, EngineError.clean("\(error.underlying)"))
        case let error as HTTPError: return translate(error, request)
        case let error as JSONError: return made(.malformed, error.message)
        default: return made(.unreachable, EngineError.clean("\(error)"))
        }
    }

    private func translate(_ error: HTTPError, _ request: EngineRequest) -> EngineError {
        let (reason, detail): (EngineError.Reason, String) =
            switch error.reason {
            case .connection where error.errorNumber == EACCES || error.errorNumber == EPERM:
                (.permission, "no permission to open \(socketPath)")
            case .connection: (.unreachable, "the engine at \(socketPath) is not reachable: \(error.detail)")
            case .connectTimeout: (.timeout, "the engine at \(socketPath) does not answer")
            case .timeout, .tooSlow:
                (.timeout, "the engine made no progress for \(request.limit.map { "\($0)" } ?? "its limit")")
            case .truncated: (.truncated, "the engine closed the connection before the end of its answer")
            case .malformed: (.malformed, EngineError.clean(error.detail))
            case .tooLarge: (.tooLarge, "the engine's answer: \(error.detail)")
            case .busy: (.unavailable, error.detail)
            case .argument: (.unreachable, "\(socketPath) cannot be a socket: \(EngineError.clean(error.detail))")
            case .producer: (.producer, error.detail)
            }
        return EngineError(reason, operation: request.operation, detail: detail)
    }
}

/// An answer held in memory.
struct Answer: Sendable {
    var operation: String
    var status: Int
    var headers: HTTPHeaders
    var body: ByteBuffer
}

/// Keeps a body producer's own error apart from the connection's.
private struct ProducerFailed: Error { var underlying: any Error }
