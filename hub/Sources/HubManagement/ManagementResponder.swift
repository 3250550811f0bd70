import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import Logging
import NIOHTTP1

/// Answers the management API: finds the route, knows the caller, checks the scope, and turns errors into problems.
public struct ManagementResponder: HTTPResponder {
    /// Bytes of a path with its query.
    public static let targetLimit = 8 << 10

    public let routes: [ManagementRoute]
    private let tokens: OperatorTokens
    private let store: any MetadataStore
    private let clock: SystemClock
    private let logger: Logger

    public init(
        routes: [ManagementRoute], tokens: OperatorTokens, store: any MetadataStore, clock: SystemClock = .live,
        logger: Logger
    ) {
        self.routes = routes
        self.tokens = tokens
        self.store = store
        self.clock = clock
        self.logger = logger
    }

    public func accept(_ request: HTTPRequest) -> HTTPAcceptance {
        do throws(Problem) {
            let (route, managed) = try resolve(request)
            switch route.work {
            case .collect(let limit, let handler):
                return .collect(limit: limit) { body in
                    var managed = managed
                    managed.body = body
                    let whole = managed
                    return await answer(whole) {
                        try await confirm(whole.claims)
                        return try await handler(whole)
                    }
                }
            case .stream(let handler):
                return .stream { body in
                    await answer(managed) {
                        try await confirm(managed.claims)
                        return try await handler(managed, body)
                    }
                }
            }
        } catch {
            var problem = error
            problem.instance = request.id
            var answer = HTTPAnswer(problem)
            if problem.status == 401 { answer.headers.add(name: "WWW-Authenticate", value: "Bearer") }
            if problem.status == 405 { answer.headers.add(name: "Allow", value: problem.detail) }
            return .answer(answer)
        }
    }

    private func resolve(_ request: HTTPRequest) throws(Problem) -> (ManagementRoute, ManagementRequest) {
        guard request.target.utf8.count <= Self.targetLimit else {
            throw Problem("uri-too-long", status: 414, title: "The path is too long")
        }
        let parts = request.target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts[0].split(separator: "/", omittingEmptySubsequences: false)
        let candidates = routes.filter { $0.match(path) != nil }
        guard !candidates.isEmpty else { throw .notFound("no route has this path") }
        guard let route = candidates.first(where: { $0.method == request.method }),
            let parameters = route.match(path)
        else {
            throw Problem(
                "method", status: 405, title: "The route has other methods",
                detail: candidates.map(\.method.rawValue).joined(separator: ", "))
        }
        var caller: OperatorClaims?
        if let scope = route.scope { caller = try claims(request, scope) }
        guard let query = PercentText.query(parts.count > 1 ? parts[1] : "") else {
            throw .malformed("the query is broken or names something twice")
        }
        return (
            route, ManagementRequest(request: request, parameters: parameters, query: query, claims: caller)
        )
    }

    private func claims(_ request: HTTPRequest, _ scope: OperatorScope) throws(Problem) -> OperatorClaims {
        guard let token = request.bearer else { throw .unauthorised }
        let claims: OperatorClaims
        do throws(TokenError) {
            claims = try tokens.verify(token, now: clock.now())
        } catch {
            logger.info("operator token refused", metadata: ["id": "\(request.id)", "why": "\(error.code)"])
            throw .unauthorised
        }
        guard claims.scopes.contains(scope) else {
            throw Problem(
                "scope", status: 403, title: "The token does not allow this", detail: "\(scope.rawValue) is needed")
        }
        return claims
    }

    /// The account may have changed since the token was issued.
    private func confirm(_ claims: OperatorClaims?) async throws {
        guard let claims else { return }
        guard let account = try await store.record(OperatorAccount.self, claims.name.text)?.value, !account.isLocked,
            account.generation == claims.generation
        else { throw Problem.unauthorised }
    }

    private func answer(
        _ request: ManagementRequest, _ body: @Sendable () async throws -> HTTPAnswer
    ) async -> HTTPAnswer {
        do {
            return try await body()
        } catch {
            let problem = Problem.of(error, id: request.id)
            if problem.status >= 500 {
                logger.error("a request failed", metadata: ["id": "\(request.id)", "error": "\(error)"])
            }
            return HTTPAnswer(problem)
        }
    }
}
