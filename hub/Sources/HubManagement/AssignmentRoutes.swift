import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import Model
import NIOHTTP1

/// Who gets which release.
struct AssignmentRoutes: Sendable {
    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/assignments", .assignmentsRead) { try await services.list(Assignment.self, $0) },
            ManagementRoute(.POST, "/v1/assignments", .assignmentsApprove, make),
            ManagementRoute(.GET, "/v1/assignments/{id}", .assignmentsRead) {
                try await services.show(Assignment.self, $0)
            },
            ManagementRoute(.DELETE, "/v1/assignments/{id}", .assignmentsApprove, delete),
        ]
    }

    private func make(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let document = try request.document(["app", "version", "device", "fleet", "priority"])
        guard let app = try document["app"]?.string.map({ try AppID($0) }),
            let version = document["version"]?.string.flatMap({ SemanticVersion($0) })
        else { throw Problem.malformed("app and version are needed") }
        let target: Assignment.Target
        switch (document["device"]?.string, document["fleet"]?.string) {
        case (let device?, nil): target = .device(try DeviceID(device))
        case (nil, let fleet?): target = .fleet(try FleetID(fleet))
        default: throw Problem.malformed("one of device and fleet is needed")
        }
        guard let priority = document["priority"]?.integer ?? (document["priority"] == nil ? 0 : nil),
            (-1_000...1_000).contains(priority)
        else { throw Problem.malformed("priority is -1000 to 1000") }
        guard
            let release = try await services.store.record(
                ReleaseRecord.self, ReleaseRecord.recordID(app, version))?.value
        else { throw Problem.notFound("release \(app) \(version)") }
        try await requireTarget(target)
        return try await Idempotency(services).perform(request) { companion in
            try await commit(request, release, target, priority: Int(priority), companion)
        }
    }

    private func requireTarget(_ target: Assignment.Target) async throws {
        switch target {
        case .device(let id):
            guard try await services.store.record(Device.self, id.text) != nil else {
                throw Problem.notFound("device \(id)")
            }
        case .fleet(let id):
            guard try await services.store.record(Fleet.self, id.text) != nil else {
                throw Problem.notFound("fleet \(id)")
            }
        }
    }

    private func commit(
        _ request: ManagementRequest, _ release: ReleaseRecord, _ target: Assignment.Target, priority: Int,
        _ companion: Idempotency.Companion
    ) async throws -> (JSONValue, HTTPResponseStatus) {
        let now = services.clock.now()
        let assignment = Assignment(
            id: try Self.id(target, release.app), target: target, app: release.app, version: release.version,
            digest: release.digest, priority: priority, madeAt: now)
        let old = try await services.store.record(Assignment.self, assignment.id.text)
        let event = AuditEvent(
            .assignmentMade, at: now, actor: request.actor, subject: assignment.subject,
            fields: [
                "app": release.app.text, "version": release.version.description, "digest": release.digest.description,
            ])
        let status: HTTPResponseStatus = old == nil ? .created : .ok
        var writes = try companion(assignment.json(version: 0), status)
        writes.append(try .put(assignment, expecting: old.map { .version($0.version) } ?? .absent))
        let receipt = try await services.store.commit(Commit(writes, events: [event]))
        return (assignment.json(version: receipt.sequence), status)
    }

    /// One assignment of an app for one target: a new release takes the place of the one before.
    static func id(_ target: Assignment.Target, _ app: AppID) throws(HubError) -> AssignmentID {
        let text =
            switch target {
            case .device(let id): "device \(id) \(app)"
            case .fleet(let id): "fleet \(id) \(app)"
            }
        return try AssignmentID("a-\(Digest.sha256(Array(text.utf8)).hex.prefix(20))")
    }

    private func delete(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let (assignment, version) = try await services.find(Assignment.self, request)
        try request.requireMatch(version)
        let event = AuditEvent(
            .assignmentRemoved, at: services.clock.now(), actor: request.actor, subject: assignment.subject,
            fields: ["app": assignment.app.text, "version": assignment.version.description])
        try await services.store.commit(
            Commit([.delete(assignment.key, expecting: .version(version))], events: [event]))
        return HTTPAnswer(.noContent)
    }
}

extension Assignment: ShownRecord {
    var subject: String {
        switch target {
        case .device(let id): "device:\(id)"
        case .fleet(let id): "fleet:\(id)"
        }
    }

    func json(version recordVersion: Int64) -> JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.text), "app": .string(app.text),
            "version": .string(version.description), "digest": .string(digest.description),
            "priority": .integer(Int64(priority)), "made_at": .string(madeAt.description),
        ]
        switch target {
        case .device(let id): members["device"] = .string(id.text)
        case .fleet(let id): members["fleet"] = .string(id.text)
        }
        return .object(members)
    }
}
