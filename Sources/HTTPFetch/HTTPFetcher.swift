import AsyncHTTPClient
import Base
import NIOCore
import NIOHTTP1

/// Bounds of one fetch. Whoever answers may be hostile: it may send without end, or hardly at all.
public struct FetchPolicy: Sendable {
    /// Until a connection stands.
    public var connectTimeout: Duration = .seconds(10)
    /// Longest silence between two pieces of a body, and until the response's head.
    public var idleTimeout: Duration = .seconds(20)
    /// The whole fetch of a small document.
    public var deadline: Duration = .seconds(120)
    /// Bytes per second that a body must keep up once ``grace`` is over: slower is refused (slow retrieval).
    public var minimumRate: Int64 = 1024
    /// Time in which no rate is asked.
    public var grace: Duration = .seconds(20)
    public var userAgent = "holdfast/1"

    public init() {}
}

/// A fetch that failed, with the URL.
public struct FetchError: CodedError, Equatable {
    public enum Reason: String, Sendable {
        case url, connect, status, tooLarge = "too-large", tooSlow = "too-slow", deadline
    }
    public var reason: Reason
    public var url: String
    public var detail: String

    public var code: String { "fetch.\(reason.rawValue)" }
    public var message: String { "\(url): \(detail)" }
    public var hint: String? {
        switch reason {
        case .connect, .deadline: "check the address and that the server can be reached"
        case .tooSlow: "try another mirror or another link"
        default: nil
        }
    }
    public var exitStatus: ExitStatus { reason == .url ? .usage : .unavailable }
}

/// Gets documents over HTTP, each bounded in bytes, in time and from below in rate.
///
/// Redirects are not followed: a fetch goes where its caller said. Bodies are taken as they come, without
/// decompression, so that a bound on bytes is a bound on memory.
public struct HTTPFetcher: Sendable {
    private let client: HTTPClient
    private let clock: SystemClock
    public let policy: FetchPolicy

    /// The caller shuts the fetcher down when done with it.
    public init(policy: FetchPolicy = FetchPolicy(), clock: SystemClock = .live) {
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout.connect = .init(policy.connectTimeout)
        configuration.timeout.read = .init(policy.idleTimeout)
        configuration.decompression = .disabled
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 2
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        self.clock = clock
        self.policy = policy
    }

    public func shutdown() async throws { try await client.shutdown() }

    /// The body at `url`; nil when the server says there is none (404, 403, 410).
    ///
    /// - Throws: `fetch.too-large` past `maxLength` bytes, `fetch.too-slow`, `fetch.deadline`, `fetch.status`,
    ///   `fetch.connect`, `fetch.url`.
    public func get(_ url: String, maxLength: Int) async throws -> [UInt8]? {
        var body: [UInt8] = []
        let found = try await stream(url, maxLength: Int64(maxLength), deadline: policy.deadline) { piece in
            body += piece
        }
        return found ? body : nil
    }

    /// Hands the body at `url` to `take` piece by piece; false when there is none.
    ///
    /// Without a deadline of its own: a long body is bounded by `maxLength` and by the minimum rate.
    public func stream(
        _ url: String, maxLength: Int64, deadline: Duration? = nil, take: (_ piece: [UInt8]) async throws -> Void
    ) async throws -> Bool {
        guard url.hasPrefix("http://") || url.hasPrefix("https://") else {
            throw FetchError(reason: .url, url: url, detail: "is no http or https URL")
        }
        var request = HTTPClientRequest(url: url)
        request.headers.add(name: "User-Agent", value: policy.userAgent)
        let start = clock.monotonic()
        let response: HTTPClientResponse
        do {
            response = try await client.execute(request, timeout: .init(policy.connectTimeout + policy.idleTimeout))
        } catch let error as CancellationError {
            throw error
        } catch {
            throw FetchError(reason: .connect, url: url, detail: "no answer: \(error)")
        }
        switch response.status {
        case .ok: break
        case .notFound, .forbidden, .gone: return false
        default:
            throw FetchError(reason: .status, url: url, detail: "the server answers \(response.status)")
        }
        if let announced = response.headers.first(name: "content-length").flatMap(Int64.init), announced > maxLength {
            throw tooLarge(url, maxLength)
        }
        try await receive(response.body, url, maxLength, start, deadline, take)
        return true
    }

    private func receive(
        _ body: HTTPClientResponse.Body, _ url: String, _ maxLength: Int64, _ start: UInt64, _ deadline: Duration?,
        _ take: (_ piece: [UInt8]) async throws -> Void
    ) async throws {
        var received: Int64 = 0
        var pieces = body.makeAsyncIterator()
        while true {
            let next: ByteBuffer?
            do {
                next = try await pieces.next()
            } catch let error as CancellationError {
                throw error
            } catch {
                throw FetchError(reason: .connect, url: url, detail: "the body broke off: \(error)")
            }
            guard let next else { return }
            received += Int64(next.readableBytes)
            guard received <= maxLength else { throw tooLarge(url, maxLength) }
            try checkPace(received, since: start, deadline, url)
            try await take(Array(next.readableBytesView))
        }
    }

    private func checkPace(
        _ received: Int64, since start: UInt64, _ deadline: Duration?, _ url: String
    ) throws(FetchError) {
        let elapsed = Duration.nanoseconds(Int64(clamping: clock.monotonic() &- start))
        if let deadline, elapsed > deadline {
            throw FetchError(reason: .deadline, url: url, detail: "not done after \(deadline)")
        }
        guard elapsed > policy.grace else { return }
        let seconds = elapsed.components.seconds
        guard received >= seconds * policy.minimumRate else {
            throw FetchError(
                reason: .tooSlow, url: url,
                detail: "\(received) bytes in \(seconds) s, at least \(policy.minimumRate) a second are asked")
        }
    }

    private func tooLarge(_ url: String, _ limit: Int64) -> FetchError {
        FetchError(reason: .tooLarge, url: url, detail: "more than the \(limit) bytes that are allowed")
    }
}
