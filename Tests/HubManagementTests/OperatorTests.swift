import HubCore
import HubManagement
import HubStore
import Model
import NIOHTTP1
import Testing

/// Accounts of people: made, given rights, locked, and never above who made them.
@Suite struct OperatorTests {
    private let bench: ManagementBench

    init() throws { bench = try ManagementBench() }

    private static let password: JSONValue = .string(ManagementBench.password)

    private func make(_ name: String, _ scopes: [String], token: String) async throws -> ManagementBench.Answer {
        try await bench.ask(
            .POST, "/v1/operators",
            body: ["name": .string(name), "password": Self.password, "scopes": .array(scopes.map { .string($0) })],
            token: token)
    }

    private func kinds() async throws -> [String] {
        try await bench.store.events(from: 0, limit: 100).compactMap {
            try JSONValue(parsing: $0.bytes)["kind"]?.string
        }
    }

    @Test func anAccountIsMadeShownAndUsed() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        let made = try await make("ci", ["releases:publish", "releases:read"], token: token)
        #expect(made.status == .created)
        #expect(made.document["scopes"]?.array == ["releases:publish", "releases:read"])
        #expect(made.document["password"] == nil)
        #expect(try await make("ci", ["releases:read"], token: token).problem == "conflict")
        let names = try await bench.ask(.GET, "/v1/operators", token: token).document["items"]?.array
        #expect(names?.compactMap { $0["id"]?.string } == ["ana", "ci"])
        let shown = try await bench.ask(.GET, "/v1/operators/ci", token: token)
        #expect(shown.document["locked"] == false)
        #expect(shown.headers.first(name: "ETag") == made.headers.first(name: "ETag"))
        let theirs = try await bench.login("ci")
        #expect(try await bench.ask(.GET, "/v1/releases", token: theirs).status == .ok)
        // Publishing is not approving.
        #expect(try await bench.ask(.POST, "/v1/assignments", body: [:], token: theirs).problem == "scope")
        #expect(try await bench.ask(.GET, "/v1/operators", token: theirs).problem == "scope")
        #expect(try await kinds() == ["operator.made"])
    }

    @Test func nobodyGivesWhatTheyDoNotHold() async throws {
        try await bench.addOperator()
        try await bench.addOperator("hr", [.operatorsRead, .operatorsWrite, .devicesRead])
        let token = try await bench.login("hr")
        #expect(try await make("eve", ["assignments:approve"], token: token).problem == "not-yours")
        #expect(try await make("eve", ["devices:read"], token: token).status == .created)
        let wider = try await bench.ask(
            .PATCH, "/v1/operators/hr", body: ["scopes": ["operators:write", "devices:admit"]], token: token)
        #expect(wider.problem == "not-yours")
        // A password is all that an account may do.
        let stolen = try await bench.ask(
            .PUT, "/v1/operators/ana/password", body: ["password": Self.password], token: token)
        #expect(stolen.problem == "not-yours")
        // Locking takes something away, and is open to all who may write accounts.
        #expect(try await bench.ask(.PATCH, "/v1/operators/ana", body: ["locked": true], token: token).status == .ok)
        let unlocked = try await bench.ask(.PATCH, "/v1/operators/ana", body: ["locked": false], token: token)
        #expect(unlocked.problem == "not-yours")
    }

    @Test func aTokenOfFewerScopesGivesFewer() async throws {
        try await bench.addOperator()
        let login = try await bench.ask(
            .POST, "/v1/login",
            body: ["name": "ana", "password": Self.password, "scopes": ["operators:write"]], token: nil)
        let token = try #require(login.document["access_token"]?.string)
        #expect(try await make("eve", ["audit:read"], token: token).problem == "not-yours")
    }

    @Test func aLockEndsSessionsAndLogins() async throws {
        try await bench.addOperator()
        try await bench.addOperator("bo", [.devicesRead])
        let (token, theirs) = (try await bench.login(), try await bench.login("bo"))
        #expect(try await bench.ask(.PATCH, "/v1/operators/bo", body: ["locked": true], token: token).status == .ok)
        #expect(try await bench.ask(.GET, "/v1/devices", token: theirs).status == .unauthorized)
        let login = try await bench.ask(
            .POST, "/v1/login", body: ["name": "bo", "password": Self.password], token: nil)
        #expect(login.status == .unauthorized)
        #expect(try await bench.ask(.PATCH, "/v1/operators/bo", body: ["locked": false], token: token).status == .ok)
        // The session from before the lock stays ended.
        #expect(try await bench.ask(.GET, "/v1/devices", token: theirs).status == .unauthorized)
        _ = try await bench.login("bo")
        #expect(try await kinds() == ["operator.locked", "operator.unlocked"])
    }

    @Test func theLastAdministratorStays() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        for change: JSONValue in [["locked": true], ["scopes": ["devices:read"]]] {
            let answer = try await bench.ask(.PATCH, "/v1/operators/ana", body: change, token: token)
            #expect(answer.problem == "conflict")
        }
        _ = try await make("bo", ["operators:write"], token: token)
        #expect(try await bench.ask(.PATCH, "/v1/operators/ana", body: ["locked": true], token: token).status == .ok)
    }

    @Test func onesOwnPasswordIsChangedByTheOldOne() async throws {
        try await bench.addOperator("bo", [.devicesRead])
        let token = try await bench.login("bo")
        func change(_ old: String, _ new: String) async throws -> ManagementBench.Answer {
            try await bench.ask(
                .POST, "/v1/password",
                body: ["name": "bo", "password": .string(old), "new_password": .string(new)], token: nil)
        }
        #expect(try await change("not the password", "another long one").status == .unauthorized)
        #expect(try await change(ManagementBench.password, "short").status == .unprocessableEntity)
        #expect(try await change(ManagementBench.password, "another long one").status == .noContent)
        #expect(try await bench.ask(.GET, "/v1/devices", token: token).status == .unauthorized)
        _ = try await bench.login("bo", password: "another long one")
        #expect(try await kinds() == ["operator.password-changed"])
    }

    @Test(
        arguments: [
            ["name": "x", "password": "twelve or more", "scopes": ["devices:fly"]],
            ["name": "x", "password": "twelve or more", "scopes": "devices:read"],
            ["name": "x", "password": "twelve or more"], ["name": "x", "scopes": []],
            ["name": "x", "password": "twelve or more", "scopes": [], "admin": true],
        ] as [JSONValue])
    func aBrokenAccountIsRefused(body: JSONValue) async throws {
        try await bench.addOperator()
        let answer = try await bench.ask(.POST, "/v1/operators", body: body, token: try await bench.login())
        #expect(answer.status == .badRequest)
    }
}
