import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import Model
import NIOHTTP1

/// The accounts of people and their scripts.
struct OperatorRoutes: Sendable {
    private let services: ManagementServices
    private let passwords: PasswordWork

    init(_ services: ManagementServices, passwords: PasswordWork) {
        self.services = services
        self.passwords = passwords
    }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/operators", .operatorsRead) {
                try await services.list(OperatorAccount.self, $0)
            },
            ManagementRoute(.POST, "/v1/operators", .operatorsWrite, limit: 4 << 10, make),
            ManagementRoute(.GET, "/v1/operators/{id}", .operatorsRead) {
                try await services.show(OperatorAccount.self, $0)
            },
            ManagementRoute(.PATCH, "/v1/operators/{id}", .operatorsWrite, change),
            ManagementRoute(.PUT, "/v1/operators/{id}/password", .operatorsWrite, limit: 4 << 10, setPassword),
        ]
    }

    private func make(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let document = try request.document(["name", "password", "scopes"])
        guard let name = document["name"]?.string, let password = document["password"]?.string,
            let scopes = try OperatorScope.set(document["scopes"])
        else { throw Problem.malformed("name, password and scopes are needed") }
        let id = try OperatorID(name)
        guard try await services.store.record(OperatorAccount.self, id.text) == nil else {
            throw Problem.conflict("there is an operator \(id)")
        }
        let (account, event) = try OperatorRules.make(
            id, scopes: scopes, password: await passwords.hash(password), by: request.caller, now: services.clock.now())
        let receipt = try await services.store.commit(Commit([.put(account, expecting: .absent)], events: [event]))
        return .json(account.json(version: receipt.sequence), status: .created, version: receipt.sequence)
    }

    private func change(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let document = try request.document(["scopes", "locked"])
        let (found, version) = try await services.find(OperatorAccount.self, request)
        try request.requireMatch(version)
        if document["locked"] != nil, document["locked"]?.bool == nil {
            throw Problem.malformed("locked is true or false")
        }
        var account = found
        var events: [AuditEvent] = []
        let (caller, now) = (request.caller, services.clock.now())
        func take(_ change: OperatorRules.Change?) {
            guard let change else { return }
            account = change.account
            events.append(change.event)
        }
        if let scopes = try OperatorScope.set(document["scopes"]) {
            take(try OperatorRules.give(scopes, to: account, by: caller, now: now))
        }
        if let isLocked = document["locked"]?.bool {
            take(try OperatorRules.setLock(isLocked, of: account, by: caller, now: now))
        }
        guard !events.isEmpty else { return .json(found.json(version: version), version: version) }
        guard OperatorRules.leavesAnAdministrator(try await accounts(), after: account) else {
            throw Problem.conflict("nobody would be left who may change accounts")
        }
        return try await commit(account, version, events)
    }

    private func setPassword(_ request: ManagementRequest) async throws -> HTTPAnswer {
        guard let password = try request.document(["password"])["password"]?.string else {
            throw Problem.malformed("a password is needed")
        }
        let (account, version) = try await services.find(OperatorAccount.self, request)
        try request.requireMatch(version)
        let (changed, event) = try OperatorRules.setPassword(
            await passwords.hash(password), of: account, by: request.caller, now: services.clock.now())
        return try await commit(changed, version, [event])
    }

    private func commit(
        _ account: OperatorAccount, _ version: Int64, _ events: [AuditEvent]
    ) async throws -> HTTPAnswer {
        let receipt = try await services.store.commit(
            Commit([.put(account, expecting: .version(version))], events: events))
        return .json(account.json(version: receipt.sequence), version: receipt.sequence)
    }

    private func accounts() async throws -> [OperatorAccount] {
        var found: [OperatorAccount] = []
        try await services.store.each(OperatorAccount.self) { found.append($0) }
        return found
    }
}

extension OperatorAccount: ShownRecord {
    /// Everything but the password.
    func json(version: Int64) -> JSONValue {
        [
            "id": .string(id.text), "version": .integer(version), "locked": .bool(isLocked),
            "scopes": .array(scopes.sorted().map { .string($0.rawValue) }), "made_at": .string(madeAt.description),
        ]
    }
}

extension OperatorScope {
    /// Nil without a value.
    static func set(_ value: JSONValue?) throws(Problem) -> Set<OperatorScope>? {
        guard let value else { return nil }
        guard let list = value.array else { throw .malformed("scopes are a list of strings") }
        let known = list.compactMap { $0.string.flatMap(OperatorScope.init(rawValue:)) }
        guard known.count == list.count else { throw .malformed("a scope is not known") }
        return Set(known)
    }
}
