import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import Model
import NIOHTTP1

/// Fleets: named choices of devices.
struct FleetRoutes: Sendable {
    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/fleets", .fleetsRead) { try await services.list(Fleet.self, $0) },
            ManagementRoute(.GET, "/v1/fleets/{id}", .fleetsRead) { try await services.show(Fleet.self, $0) },
            ManagementRoute(.PUT, "/v1/fleets/{id}", .fleetsWrite, put),
            ManagementRoute(.DELETE, "/v1/fleets/{id}", .fleetsWrite, delete),
            ManagementRoute(.GET, "/v1/fleets/{id}/devices", .devicesRead, devices),
        ]
    }

    private func put(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let document = try request.document(["selector", "description"])
        let id = try FleetID(request.parameter("id"))
        for name in ["selector", "description"] where document[name] != nil && document[name]?.string == nil {
            throw Problem.malformed("\(name) is a string")
        }
        let fleet = try Fleet(
            id: id, selector: try document["selector"]?.string.map { try Selector($0) },
            description: document["description"]?.string ?? "")
        let old = try await services.store.record(Fleet.self, id.text)
        if let old {
            try request.requireMatch(old.version)
        } else {
            try request.requireNoMatch()
        }
        let receipt = try await services.store.commit(
            Commit(
                [.put(fleet, expecting: old.map { .version($0.version) } ?? .absent)],
                events: [event(request, id, ["selector": fleet.selector.description])]))
        return .json(
            fleet.json(version: receipt.sequence), status: old == nil ? .created : .ok, version: receipt.sequence)
    }

    private func delete(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let (fleet, version) = try await services.find(Fleet.self, request)
        try request.requireMatch(version)
        try await services.store.commit(
            Commit(
                [.delete(fleet.key, expecting: .version(version))],
                events: [event(request, fleet.id, ["deleted": "true"])]))
        return HTTPAnswer(.noContent)
    }

    private func devices(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let page = try request.page()
        guard page.selector == .everything else { throw Problem.malformed("a fleet has its own selector") }
        let (fleet, _) = try await services.find(Fleet.self, request)
        let found = try await services.store.list(
            .device, selector: fleet.selector, after: page.cursor, limit: page.limit)
        let members = try found.records.map { (try Device(decoding: $0.body), $0.version) }
        return .page(members.filter { fleet.contains($0.0) }.map { $0.0.json(version: $0.1) }, next: found.next)
    }

    private func event(_ request: ManagementRequest, _ id: FleetID, _ fields: [String: String]) -> AuditEvent {
        AuditEvent(
            .fleetChanged, at: services.clock.now(), actor: request.actor, subject: "fleet:\(id)", fields: fields)
    }
}

extension Fleet: ShownRecord {
    func json(version: Int64) -> JSONValue {
        [
            "id": .string(id.text), "version": .integer(version), "selector": .string(selector.description),
            "description": .string(description),
        ]
    }
}
