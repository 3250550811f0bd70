import Base
import HubCore
import HubEnrolment
import HubHTTP
import HubProtocol
import HubStore
import Model
import NIOHTTP1

/// Enrolment tokens.
struct TokenRoutes: Sendable {
    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/tokens", .tokensRead, list),
            ManagementRoute(.POST, "/v1/tokens", .tokensWrite, make),
            ManagementRoute(.GET, "/v1/tokens/{id}", .tokensRead, show),
            ManagementRoute(.DELETE, "/v1/tokens/{id}", .tokensWrite, revoke),
        ]
    }

    private func list(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let page = try request.page()
        let found = try await services.store.list(
            .token, selector: page.selector, after: page.cursor, limit: page.limit)
        let now = services.clock.now()
        return .page(try found.records.map { try TokenRecord(decoding: $0.body).json(now: now) }, next: found.next)
    }

    private func show(_ request: ManagementRequest) async throws -> HTTPAnswer {
        try request.allowQuery([])
        let id = try id(request)
        guard let (record, version) = try await services.store.record(TokenRecord.self, id.description) else {
            throw Problem.notFound("token \(id)")
        }
        return .json(record.json(now: services.clock.now()), version: version)
    }

    private func make(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let options = try options(request)
        return try await Idempotency(services).perform(request) { companion in
            let (token, record) = try await services.enrolment.makeToken(options, by: request.actor) {
                try companion(document($0, $1), .created)
            }
            return (document(token, record), .created)
        }
    }

    /// The one document that holds the token itself.
    private func document(_ token: EnrolmentToken, _ record: TokenRecord) -> JSONValue {
        var members = record.json(now: record.madeAt).object ?? [:]
        members["token"] = .string(token.text)
        return .object(members)
    }

    private func options(_ request: ManagementRequest) throws -> TokenOptions {
        let document = try request.document(["fleet", "labels", "site", "ttl_s", "uses", "approval"])
        func number(_ name: String, _ standard: Int64) throws(Problem) -> Int64 {
            guard let value = document[name] else { return standard }
            guard let number = value.integer else { throw .malformed("\(name) is a whole number") }
            return number
        }
        var approval: Bool?
        if let value = document["approval"] {
            guard let flag = value.bool else { throw Problem.malformed("approval is true or false") }
            approval = flag
        }
        var fleet: FleetID?
        if let value = document["fleet"] {
            guard let name = value.string else { throw Problem.malformed("fleet is a string") }
            fleet = try FleetID(name)
        }
        guard let site = UInt16(exactly: try number("site", 1)) else { throw Problem.malformed("site is 1 to 65534") }
        return TokenOptions(
            fleet: fleet, labels: try request.labels(document["labels"]) ?? Labels(), site: site,
            lifetime: try number("ttl_s", HubLimits.defaultTokenLifetime),
            uses: Int(clamping: try number("uses", 1)), needsApproval: approval)
    }

    private func revoke(_ request: ManagementRequest) async throws -> HTTPAnswer {
        try await services.enrolment.revokeToken(id(request), by: request.actor)
        return HTTPAnswer(.noContent)
    }

    private func id(_ request: ManagementRequest) throws -> EnrolmentTokenID {
        let text = try request.parameter("id")
        guard let id = EnrolmentTokenID(hex: text) else { throw Problem.notFound("token \(text.prefix(64))") }
        return id
    }
}

extension TokenRecord {
    /// Everything but the preshared key.
    func json(now: Timestamp) -> JSONValue {
        [
            "id": .string(id.description), "state": .string(state(at: now).rawValue),
            "labels": .object(labels.values.mapValues { .string($0) }), "site": .integer(Int64(site)),
            "uses": .integer(Int64(uses)), "used": .integer(Int64(used)), "approval": .bool(needsApproval),
            "made_at": .string(madeAt.description), "expires": .string(expires.description),
        ]
    }
}
