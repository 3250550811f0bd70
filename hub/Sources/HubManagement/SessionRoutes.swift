import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import Model
import NIOConcurrencyHelpers
import NIOHTTP1
import WireGuard

/// Health, logging in (a name and a password for an access token), and one's own password.
struct SessionRoutes: Sendable {
    /// Seconds that an operator's token lives.
    static let lifetime: Int64 = 3_600

    private let services: ManagementServices
    private let gate = LoginGate()
    private let passwords: PasswordWork

    init(_ services: ManagementServices, passwords: PasswordWork) {
        self.services = services
        self.passwords = passwords
    }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/health", nil) { request in
                try request.allowQuery([])
                return .json(["status": "ok"])
            },
            ManagementRoute(.POST, "/v1/login", nil, limit: 4 << 10, login),
            ManagementRoute(.POST, "/v1/password", nil, limit: 4 << 10, changePassword),
        ]
    }

    private func login(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let document = try request.document(["name", "password", "scopes"])
        let (account, _) = try await prove(document, request)
        let scopes = try scopes(document["scopes"], of: account)
        let issued = services.clock.now()
        let token = try services.tokens.issue(
            OperatorClaims(
                name: account.id, scopes: scopes, generation: account.generation, issued: issued,
                expires: issued + Self.lifetime), signer: services.tokenSigner)
        return .json([
            "access_token": .string(token), "token_type": "Bearer", "expires_in": .integer(Self.lifetime),
            "scope": .string(scopes.sorted().map(\.rawValue).joined(separator: " ")),
        ])
    }

    /// One's own password, by the old one: no token is needed and every token of the account ends.
    private func changePassword(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let document = try request.document(["name", "password", "new_password"])
        guard let new = document["new_password"]?.string else { throw Problem.malformed("new_password is needed") }
        let (account, version) = try await prove(document, request)
        let (changed, event) = OperatorRules.changePassword(
            try await passwords.hash(new), of: account, actor: "operator:\(account.id)", now: services.clock.now())
        try await services.store.commit(Commit([.put(changed, expecting: .version(version))], events: [event]))
        return HTTPAnswer(.noContent)
    }

    /// The account that `name` and `password` of the document prove; slowed down for who guesses.
    private func prove(
        _ document: JSONValue, _ request: ManagementRequest
    ) async throws -> (account: OperatorAccount, version: Int64) {
        guard let name = document["name"]?.string, let password = document["password"]?.string else {
            throw Problem.malformed("name and password are needed")
        }
        let now = Double(services.clock.monotonic()) / 1e9
        if let seconds = gate.wait(request.request.peer, now: now) {
            throw Problem(
                "too-often", status: 429, title: "Too many logins from this address", retryAfter: seconds)
        }
        let found =
            try (try? OperatorID(name)) == nil ? nil : await services.store.record(OperatorAccount.self, name)
        let isRight = await passwords.matches(password, found?.value.password)
        guard let found, isRight, !found.value.isLocked else {
            throw Problem("login-refused", status: 401, title: "Name or password is wrong")
        }
        gate.forget(request.request.peer)
        return (found.value, found.version)
    }

    /// Fewer than the account has, when the caller asks for fewer.
    private func scopes(_ value: JSONValue?, of account: OperatorAccount) throws -> Set<OperatorScope> {
        guard let wanted = try OperatorScope.set(value) else { return account.scopes }
        guard account.scopes.isSuperset(of: wanted) else {
            throw Problem("scope", status: 403, title: "The account does not have these scopes")
        }
        return wanted
    }
}

/// Slows down who guesses passwords: a few tries at once, then one in so many seconds, for each address.
final class LoginGate: Sendable {
    static let tries = 5.0
    static let secondsPerTry = 10.0
    static let addresses = 10_000

    private let due = NIOLockedValueBox<[IPAddress: Double]>([:])

    /// Seconds to wait, or nil when this try may be made.
    func wait(_ peer: IPAddress, now: Double) -> Int64? {
        due.withLockedValue { due in
            if due.count >= Self.addresses { due = due.filter { $0.value > now } }
            let start = max(due[peer] ?? now, now)
            let ahead = start - now
            guard ahead <= Self.secondsPerTry * (Self.tries - 1) else {
                return Int64((ahead - Self.secondsPerTry * (Self.tries - 1)).rounded(.up))
            }
            if due.count < Self.addresses || due[peer] != nil { due[peer] = start + Self.secondsPerTry }
            return nil
        }
    }

    func forget(_ peer: IPAddress) { due.withLockedValue { $0[peer] = nil } }
}
