import Base
import Logging
import Model

/// The local API's calls about locks and about updates that need not wait.
extension AgentService {
    func locks() async throws -> JSONValue {
        ["locks": .array(try await journal.locks(at: reconciler.bootClock).map(\.json))]
    }

    func takeLock(_ request: LocalRequest) async throws -> JSONValue {
        let body = try body(request)
        let app = body["app"]?.string ?? ""
        if !app.isEmpty { _ = try await self.app(named: app) }
        return try await take(
            try UpdateLock.Request(
                app: app, holder: body["holder"]?.string ?? "", reason: body["reason"]?.string ?? "",
                lifetime: body["ttlSeconds"]?.integer ?? 0))
    }

    private func take(_ request: UpdateLock.Request) async throws -> JSONValue {
        let lock = try await journal.takeLock(
            request, at: reconciler.bootClock, wall: reconciler.environment.clock.now())
        logger.notice("lock taken", metadata: ["holder": "\(lock.holder)", "reason": "\(lock.reason)"])
        await reconciler.wake()
        return lock.json
    }

    func releaseLock(_ request: LocalRequest) async throws -> JSONValue {
        let body = try body(request)
        guard let holder = body["holder"]?.string else { throw AgentError(.invalidRequest, "whose lock?") }
        let app = body["app"]?.string
        let count = try await reconciler.withReserve { [journal] in
            try await journal.releaseLocks(holder: holder, app: app, why: "released")
        }
        guard count > 0 else {
            throw AgentError(.unknownLock, "\(holder) holds no lock", hint: "holdfast-agent lock list")
        }
        await reconciler.wake()
        return ["released": .integer(Int64(count))]
    }

    func overrideLocks(_ request: LocalRequest) async throws -> JSONValue {
        let body = try body(request)
        let ids = body["id"]?.integer.map { Set([$0]) }
        let why = "overridden by user \(request.peer.uid)"
        let count = try await reconciler.withReserve { [journal] in try await journal.overrideLocks(ids, why: why) }
        guard count > 0 || ids == nil else {
            throw AgentError(.unknownLock, "there is no such lock", hint: "holdfast-agent lock list")
        }
        logger.notice("locks overridden", metadata: ["count": "\(count)", "uid": "\(request.peer.uid)"])
        await reconciler.wake()
        return ["overridden": .integer(Int64(count))]
    }

    func updateNow(_ request: LocalRequest) async throws -> JSONValue {
        let name = try await app(named: try body(request)["app"]?.string)
        guard let app = try await journal.desired().first(where: { $0.app == name }), app.phase == .candidate else {
            throw AgentError(.nothingToUpdate, "\(name) has no release that waits", hint: "holdfast-agent status")
        }
        try await journal.updateNow(name, app.target.digest)
        await reconciler.wake()
        return [
            "app": .string(name), "version": .string(app.target.release.version.description),
            "digest": .string(app.target.digest.description),
        ]
    }

    /// What a container's lock socket answers: only its own locks, held as the service, on its own app.
    public func handleLock(_ service: LockingService, _ request: LocalRequest) async throws -> LocalResponse {
        let holder = "service \(service.service)"
        switch (request.method, request.path) {
        case ("GET", "/v1/locks"):
            let own = try await journal.locks(at: reconciler.bootClock).filter {
                $0.app == service.app && $0.holder == holder
            }
            return .document(["locks": .array(own.map(\.json))])
        case ("POST", "/v1/locks"):
            let body = try body(request)
            return .document(
                try await take(
                    try UpdateLock.Request(
                        app: service.app, holder: holder, service: service.service,
                        reason: body["reason"]?.string ?? "", lifetime: body["ttlSeconds"]?.integer ?? 0)))
        case ("POST", "/v1/locks/release"):
            let count = try await journal.releaseLocks(holder: holder, app: service.app, why: "released")
            await reconciler.wake()
            return .document(["released": .integer(Int64(count))])
        default:
            throw AgentError(.notFound, "this socket has no \(request.method) \(request.path)")
        }
    }
}
