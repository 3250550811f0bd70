import Base
import HubAudit
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import Model
import NIOHTTP1
import TransparencyLog

/// The audit log: its events, its signed checkpoint, and proofs.
struct AuditRoutes: Sendable {
    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/audit/events", .auditRead, events),
            ManagementRoute(.GET, "/v1/audit/checkpoint", .auditRead) { request in
                try request.allowQuery([])
                return HTTPAnswer(type: DeviceHeader.note, try await services.audit.advance())
            },
            ManagementRoute(.GET, "/v1/audit/key", .auditRead) { request in
                try request.allowQuery([])
                return .json(["key": .string(services.audit.key.text)])
            },
            ManagementRoute(.GET, "/v1/audit/inclusion", .auditRead, inclusion),
            ManagementRoute(.GET, "/v1/audit/consistency", .auditRead, consistency),
        ]
    }

    private func events(_ request: ManagementRequest) async throws -> HTTPAnswer {
        try request.allowQuery(["from", "limit"])
        let from = try request.number("from", in: 0...Int64.max, standard: 0)
        let limit = try request.number("limit", in: 1...500, standard: 100)
        let found = try await services.store.events(from: from, limit: Int(limit))
        let items = try found.map { event -> JSONValue in
            ["index": .integer(event.index), "event": try JSONValue(parsing: event.bytes)]
        }
        return .json([
            "items": .array(items),
            "next": found.count == Int(limit) ? .integer((found.last?.index ?? from) + 1) : .null,
        ])
    }

    private func inclusion(_ request: ManagementRequest) async throws -> HTTPAnswer {
        try request.allowQuery(["index", "size"])
        let index = try request.number("index", in: 0...Int64.max, standard: 0)
        let size = try request.number("size", in: 1...Int64.max, standard: index &+ 1)
        let proof = try await services.audit.inclusionProof(of: index, at: size)
        return .json([
            "index": .integer(index), "size": .integer(size), "proof": .array(proof.map { .string($0.hex) }),
        ])
    }

    private func consistency(_ request: ManagementRequest) async throws -> HTTPAnswer {
        try request.allowQuery(["from", "to"])
        let from = try request.number("from", in: 0...Int64.max, standard: 0)
        let to = try request.number("to", in: 0...Int64.max, standard: from)
        let proof = try await services.audit.consistencyProof(from: from, to: to)
        return .json([
            "from": .integer(from), "to": .integer(to), "proof": .array(proof.map { .string($0.hex) }),
        ])
    }
}
