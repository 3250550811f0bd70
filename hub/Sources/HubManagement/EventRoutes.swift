import Base
import HubCore
import HubDevices
import HubHTTP
import HubProtocol
import HubStore
import Logging
import Model
import NIOConcurrencyHelpers
import NIOHTTP1

/// What happens, as it happens: server-sent events whose ids are the audit log's indexes.
struct EventRoutes: Sendable {
    /// Seconds after which a silent stream says that it lives.
    static let heartbeat: Int64 = 15
    /// Streams at once.
    static let streams = 100

    private let services: ManagementServices
    private let open = NIOLockedValueBox(0)

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [ManagementRoute(.GET, "/v1/events", .eventsRead, stream)]
    }

    private func stream(_ request: ManagementRequest) async throws -> HTTPAnswer {
        try request.allowQuery(["from"])
        let start = try start(request)
        let isFree = open.withLockedValue { count in
            guard count < Self.streams else { return false }
            count += 1
            return true
        }
        guard isFree else {
            throw Problem("busy", status: 503, title: "Too many event streams", retryAfter: Self.heartbeat)
        }
        let (pieces, continuation) = AsyncStream<[UInt8]>.makeStream(bufferingPolicy: .bufferingNewest(64))
        let task = Task { await follow(from: start, into: continuation) }
        continuation.onTermination = { [open] _ in
            task.cancel()
            open.withLockedValue { $0 -= 1 }
        }
        return HTTPAnswer(
            .ok, headers: ["Content-Type": "text/event-stream", "Cache-Control": "no-store"], body: .stream(pieces))
    }

    /// After the event that the reader saw last; from now on when it does not say.
    private func start(_ request: ManagementRequest) throws(Problem) -> Int64? {
        if let text = request.request.headers.first(name: "Last-Event-ID") {
            guard let last = Int64(text), last >= 0, last < .max else { throw .malformed("Last-Event-ID is a number") }
            return last + 1
        }
        guard request.query["from"] != nil else { return nil }
        return try request.number("from", in: 0...Int64.max, standard: 0)
    }

    private func follow(from start: Int64?, into stream: AsyncStream<[UInt8]>.Continuation) async {
        defer { stream.finish() }
        do {
            var next = try await position(start)
            stream.yield(Array(": connected\n\n".utf8))
            while !Task.isCancelled {
                let seen = services.commits.count
                let events = try await services.store.events(from: next, limit: 32)
                for event in events {
                    // A reader that is too slow is cut off and comes back with the id it has.
                    if case .dropped = stream.yield(try Self.piece(event)) { return }
                    next = event.index + 1
                }
                guard events.isEmpty else { continue }
                await services.commits.wait(beyond: seen, limit: .seconds(Self.heartbeat))
                if services.commits.count == seen { stream.yield(Array(": alive\n\n".utf8)) }
            }
        } catch {
            services.logger.error("an event stream ended", metadata: ["error": "\(error)"])
        }
    }

    /// The end of the log, found by an empty commit's receipt.
    private func position(_ start: Int64?) async throws -> Int64 {
        if let start { return start }
        return try await services.store.commit(Commit([])).events
    }

    private static func piece(_ event: StoredEvent) throws -> [UInt8] {
        let kind = try AuditEvent(decoding: event.bytes).kind.rawValue
        return Array("id: \(event.index)\nevent: \(kind)\ndata: ".utf8) + event.bytes + [0x0A, 0x0A]
    }
}
