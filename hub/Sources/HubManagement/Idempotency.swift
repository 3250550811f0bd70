import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import Model
import NIOHTTP1

/// Runs a request once however often it is sent under its Idempotency-Key.
struct Idempotency: Sendable {
    /// What the record of a request is committed with: written after the work, in the same commit where that is
    /// possible, so that both are there or neither.
    typealias Companion = @Sendable (_ document: JSONValue, _ status: HTTPResponseStatus) throws -> [Commit.Write]

    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    /// - Parameter body: does the work; commits the writes that `companion` makes of its answer along with its own.
    func perform(
        _ request: ManagementRequest,
        _ body: @Sendable (_ companion: @escaping Companion) async throws -> (JSONValue, HTTPResponseStatus)
    ) async throws -> HTTPAnswer {
        guard let key = try request.idempotencyKey else {
            let (document, status) = try await body { _, _ in [] }
            return .json(document, status: status)
        }
        let caller = request.actor
        let id = IdempotencyRecord.recordID(caller: caller, key: key)
        let fingerprint = IdempotencyRecord.fingerprint(
            method: request.request.method.rawValue, path: request.request.target, body: request.body)
        let stored = try await services.store.record(IdempotencyRecord.self, id)
        let now = services.clock.now()
        switch IdempotencyRecord.judge(stored?.value, fingerprint: fingerprint, now: now) {
        case .replay(let status, let answer):
            // Sealed, since an answer may hold a token.
            let bytes = try services.sealing.open(answer, context: "answer \(id)")
            var replay = HTTPAnswer(HTTPResponseStatus(statusCode: status), type: DeviceHeader.json, bytes)
            replay.headers.add(name: "Idempotency-Replayed", value: "true")
            return replay
        case .mismatch:
            throw Problem(
                "idempotency-key", status: 422, title: "The Idempotency-Key was used for another request")
        case .perform: break
        }
        let (document, status) = try await body { document, status in
            let sealed = try services.sealing.seal(document.serialized(.compact), context: "answer \(id)")
            let record = try IdempotencyRecord(
                caller: caller, key: key, fingerprint: fingerprint, status: Int(status.code), answer: sealed, now: now)
            return [try .put(record, expecting: stored.map { .version($0.version) } ?? .absent)]
        }
        return .json(document, status: status)
    }
}
