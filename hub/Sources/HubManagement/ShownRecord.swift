import HubCore
import HubHTTP
import HubProtocol
import HubStore
import Model

/// A record that operators see, under the name that it has in a path.
protocol ShownRecord: HubRecord {
    func json(version: Int64) -> JSONValue
}

extension ManagementServices {
    /// One page of a kind's records.
    func list<Record: ShownRecord>(_ type: Record.Type, _ request: ManagementRequest) async throws -> HTTPAnswer {
        let page = try request.page()
        let found = try await store.list(
            Record.kind, selector: page.selector, after: page.cursor, limit: page.limit)
        return .page(
            try found.records.map { try Record(decoding: $0.body).json(version: $0.version) }, next: found.next)
    }

    /// The record that the path names.
    func show<Record: ShownRecord>(_ type: Record.Type, _ request: ManagementRequest) async throws -> HTTPAnswer {
        try request.allowQuery([])
        let (record, version) = try await find(type, request)
        return .json(record.json(version: version), version: version)
    }

    /// - Throws: 404 when there is none, and for what is no name at all.
    func find<Record: ShownRecord>(
        _ type: Record.Type, _ request: ManagementRequest
    ) async throws -> (value: Record, version: Int64) {
        let id = try request.parameter("id")
        guard (try? Identifier<Record>(id)) != nil, let found = try await store.record(type, id) else {
            throw Problem.notFound("\(Record.kind.rawValue) \(id.prefix(64))")
        }
        return found
    }
}
