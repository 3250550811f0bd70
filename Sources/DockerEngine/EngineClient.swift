import Base
import Model
import NIOCore
import PlainHTTP
import Synchronization

/// A client of the Docker Engine API (1.41 and later) over the engine's unix socket.
///
/// Every call is bounded in time and in bytes; `EngineError` tells what happened and whether trying
/// again can help. The API version is negotiated at the first call and again after the engine went away.
public final class EngineClient: Sendable {
    /// Largest answer held in memory, in bytes. The largest honest ones are lists of containers and
    /// images, some 2 KiB an element.
    public static let answerLimit = 8 << 20
    /// Most JSON values in one answer.
    public static let answerValueLimit = 400_000

    public struct Timeouts: Sendable {
        /// Whole duration of calls that only read the engine's state.
        public var query: Duration
        /// Whole duration of calls that change something: create, start, remove, tag.
        public var change: Duration
        /// Longest pause within a streamed transfer, in which neither side sent anything.
        public var transfer: Duration
        /// What is added to a stop's own grace period before the call counts as hung.
        public var stopMargin: Duration

        public init(
            query: Duration = .seconds(15), change: Duration = .seconds(60),
            transfer: Duration = .seconds(300),
            stopMargin: Duration = .seconds(20)
        ) {
            self.query = query
            self.change = change
            self.transfer = transfer
            self.stopMargin = stopMargin
        }
    }

    public let socketPath: String
    public let timeouts: Timeouts
    let transport: Transport
    private let negotiated = Mutex<APIVersion?>(nil)

    /// - Parameters:
    ///   - socketPath: at most 107 bytes, the limit of `sockaddr_un`.
    ///   - group: one thread is enough.
    public init(socketPath: String, timeouts: Timeouts = Timeouts(), group: any EventLoopGroup) {
        self.socketPath = socketPath
        self.timeouts = timeouts
        transport = Transport(socketPath: socketPath, group: group)
    }

    /// Ends the calls that are still under way.
    public func shutdown() async { transport.client.closeAll() }

    // MARK: Version

    /// The API version that calls use, found out when needed.
    public func apiVersion() async throws(EngineError) -> APIVersion {
        if let known = negotiated.withLock({ $0 }) { return known }
        let version = try await self.version()
        guard let chosen = APIVersion.negotiate(oldest: version.oldestAPI, newest: version.newestAPI)
        else {
            throw EngineError(
                .version, operation: "agree on an API version",
                detail: "the engine \(version.engine) speaks \(version.oldestAPI.map { "\($0) to " } ?? "")"
                    + "\(version.newestAPI), this client \(APIVersion.oldestSupported) to \(APIVersion.newestSupported)"
            )
        }
        negotiated.withLock { $0 = chosen }
        return chosen
    }

    // MARK: Calls

    /// Which limit of ``Timeouts`` a call is under.
    enum Pace: Sendable {
        case query, change, transfer
        case unlimited
        case exactly(Duration)
    }

    private func limit(_ pace: Pace) -> Duration? {
        switch pace {
        case .query: timeouts.query
        case .change: timeouts.change
        case .transfer: timeouts.transfer
        case .unlimited: nil
        case .exactly(let limit): limit
        }
    }

    func request(
        _ method: EngineRequest.Method, _ path: String, query: [(name: String, value: String)] = [],
        body: EngineRequest.Body = .none, pace: Pace, _ operation: String
    ) async throws(EngineError) -> EngineRequest {
        EngineRequest(
            method: method, path: path, query: query, body: body, operation: operation,
            limit: limit(pace),
            version: try await apiVersion())
    }

    /// One call whose answer is held in memory.
    @discardableResult
    func call(
        _ method: EngineRequest.Method, _ path: String, query: [(name: String, value: String)] = [],
        body: EngineRequest.Body = .none, pace: Pace = .query, _ operation: String
    ) async throws(EngineError) -> Answer {
        let request = try await request(method, path, query: query, body: body, pace: pace, operation)
        do {
            return try await transport.collect(request, maximum: Self.answerLimit)
        } catch {
            forgetVersion(after: error)
            throw error
        }
    }

    /// One call whose answer is consumed piece by piece.
    func stream(
        _ method: EngineRequest.Method, _ path: String, query: [(name: String, value: String)] = [],
        body: EngineRequest.Body = .none, pace: Pace, _ operation: String,
        consume: @escaping @Sendable (ByteBuffer) async throws -> Void
    ) async throws {
        let request = try await request(method, path, query: query, body: body, pace: pace, operation)
        do {
            try await transport.stream(request, consume: consume)
        } catch {
            if let error = error as? EngineError { forgetVersion(after: error) }
            throw error
        }
    }

    /// A call without a version in its path.
    func unversioned(_ path: String, _ operation: String) async throws(EngineError) -> Answer {
        let request = EngineRequest(
            method: .get, path: path, operation: operation, limit: timeouts.query, version: nil)
        return try await transport.collect(request, maximum: Self.answerLimit)
    }

    /// An engine that went away may come back as another version.
    private func forgetVersion(after error: EngineError) {
        switch error.reason {
        case .unreachable, .truncated, .unavailable: negotiated.withLock { $0 = nil }
        default: return
        }
    }

    /// One path component: a name or an ID. Refuses what would change the route.
    static func component(_ text: String, _ operation: String) throws(EngineError) -> String {
        guard !text.isEmpty, text != ".", text != "..", !text.utf8.contains(0x2F) else {
            throw EngineError(.argument, operation: operation, detail: "\"\(text)\" is no name or ID")
        }
        return Transport.percentEncode(text)
    }

    /// The `filters` query value: `{"label":["a=b"]}`.
    static func filters(_ filters: [String: [String]], _ operation: String) throws(EngineError)
        -> String
    {
        do {
            let document = JSONValue.object(filters.mapValues { .array($0.map { .string($0) }) })
            return String(decoding: try document.serialized(), as: UTF8.self)
        } catch {
            throw EngineError(.argument, operation: operation, detail: error.message)
        }
    }
}
