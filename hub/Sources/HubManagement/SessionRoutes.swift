import Base
import Dispatch
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import Model
import NIOConcurrencyHelpers
import NIOHTTP1
import WireGuard

/// Health, and logging in: a name and a password for an access token.
struct SessionRoutes: Sendable {
    /// Seconds that an operator's token lives.
    static let lifetime: Int64 = 3_600

    private let services: ManagementServices
    private let gate = LoginGate()
    /// scrypt takes memory and time: one password at a time, off the cooperative threads.
    private let queue = DispatchQueue(label: "holdfast-hub.passwords")

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/health", nil) { request in
                try request.allowQuery([])
                return .json(["status": "ok"])
            },
            ManagementRoute(.POST, "/v1/login", nil, limit: 4 << 10, login),
        ]
    }

    private func login(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let document = try request.document(["name", "password", "scopes"])
        guard let name = document["name"]?.string, let password = document["password"]?.string else {
            throw Problem.malformed("name and password are needed")
        }
        let now = Double(services.clock.monotonic()) / 1e9
        if let seconds = gate.wait(request.request.peer, now: now) {
            throw Problem(
                "too-often", status: 429, title: "Too many logins from this address", retryAfter: seconds)
        }
        let refused = Problem("login-refused", status: 401, title: "Name or password is wrong")
        let account =
            try (try? OperatorID(name)) == nil
            ? nil : await services.store.record(OperatorAccount.self, name)?.value
        // The work is done for unknown names too, so that time does not tell which names exist.
        let isRight = await check(password, account?.password)
        guard let account, isRight, !account.isLocked else { throw refused }
        gate.forget(request.request.peer)
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

    /// Fewer than the account has, when the caller asks for fewer.
    private func scopes(_ value: JSONValue?, of account: OperatorAccount) throws -> Set<OperatorScope> {
        guard let value else { return account.scopes }
        guard let list = value.array else { throw Problem.malformed("scopes are a list of strings") }
        let wanted = list.compactMap { $0.string.flatMap(OperatorScope.init(rawValue:)) }
        guard wanted.count == list.count else { throw Problem.malformed("a scope is not known") }
        guard account.scopes.isSuperset(of: wanted) else {
            throw Problem("scope", status: 403, title: "The account does not have these scopes")
        }
        return Set(wanted)
    }

    private func check(_ password: String, _ hash: PasswordHash?) async -> Bool {
        await withCheckedContinuation { continuation in
            queue.async {
                if let hash { return continuation.resume(returning: hash.matches(password)) }
                _ = try? PasswordHash("twelve characters at least")
                continuation.resume(returning: false)
            }
        }
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
