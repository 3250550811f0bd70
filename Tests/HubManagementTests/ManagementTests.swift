import Base
import HubCore
import HubManagement
import HubProtocol
import HubStore
import Model
import NIOHTTP1
import Testing
import WireGuard

@Suite struct ManagementTests {
    let bench: ManagementBench

    init() throws { bench = try ManagementBench() }

    @Test func aLoginGivesATokenThatCounts() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        let answer = try await bench.ask(.GET, "/v1/devices", token: token)
        #expect(answer.status == .ok)
        #expect(answer.document == ["items": [], "next": nil])
    }

    @Test func aWrongPasswordAndAnUnknownNameAreRefusedAlike() async throws {
        try await bench.addOperator()
        for (name, password) in [("ana", "not the password"), ("bob", ManagementBench.password), ("../x", "y")] {
            let answer = try await bench.ask(
                .POST, "/v1/login", body: ["name": .string(name), "password": .string(password)], token: nil)
            #expect(answer.status == .unauthorized)
            #expect(answer.problem == "login-refused")
        }
    }

    @Test func guessingIsSlowedDown() async throws {
        var last: ManagementBench.Answer?
        for _ in 0..<8 {
            last = try await bench.ask(
                .POST, "/v1/login", body: ["name": "ana", "password": "x"], token: nil)
        }
        #expect(last?.status == .tooManyRequests)
        #expect(last?.headers.first(name: "Retry-After") != nil)
    }

    @Test func withoutATokenOrItsScopeNothingIsAnswered() async throws {
        try await bench.addOperator("pia", [.releasesPublish])
        let token = try await bench.login("pia")
        for route in bench.services.routes() where route.scope != nil {
            let path = route.pattern.replacing("{id}", with: "x").replacing("{app}", with: "x")
                .replacing("{version}", with: "1.0.0").replacing("{digest}", with: "x")
                .replacing("{repository}", with: "release")
            let bare = try await bench.ask(route.method, path, token: nil)
            #expect(bare.status == .unauthorized, "\(route.method) \(path)")
            guard route.scope != .releasesPublish else { continue }
            let other = try await bench.ask(route.method, path, token: token)
            #expect(other.status == .forbidden, "\(route.method) \(path)")
        }
    }

    @Test func aLockedOrChangedAccountEndsItsTokens() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        let (account, version) = try #require(try await bench.store.record(OperatorAccount.self, "ana"))
        var changed = account
        changed.generation += 1
        try await bench.store.commit(.init([.put(changed, expecting: .version(version))]))
        #expect(try await bench.ask(.GET, "/v1/devices", token: token).status == .unauthorized)
    }

    @Test func aTokenIsMadeOnceUnderOneKey() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        let headers: HTTPHeaders = ["Idempotency-Key": "k-1"]
        let body: JSONValue = ["labels": ["site": "berlin"]]
        let first = try await bench.ask(.POST, "/v1/tokens", body: body, token: token, headers: headers)
        let again = try await bench.ask(.POST, "/v1/tokens", body: body, token: token, headers: headers)
        #expect(first.status == .created)
        #expect(again.status == .created)
        #expect(first.document == again.document)
        #expect(again.headers.first(name: "Idempotency-Replayed") == "true")
        let other = try await bench.ask(.POST, "/v1/tokens", body: ["uses": 2], token: token, headers: headers)
        #expect(other.problem == "idempotency-key")
        #expect(try await bench.ask(.GET, "/v1/tokens", token: token).document["items"]?.array?.count == 1)
    }

    @Test func anOldVersionIsNotOverwritten() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        let made = try await bench.ask(.PUT, "/v1/fleets/edge", body: [:], token: token)
        #expect(made.status == .created)
        let tag = try #require(made.headers.first(name: "ETag"))
        let changed = try await bench.ask(
            .PUT, "/v1/fleets/edge", body: ["selector": "site=berlin"], token: token, headers: ["If-Match": tag])
        #expect(changed.status == .ok)
        let late = try await bench.ask(
            .PUT, "/v1/fleets/edge", body: ["selector": "site=rome"], token: token, headers: ["If-Match": tag])
        #expect(late.status == .preconditionFailed)
        // Whatever version it has, as long as there is one (RFC 9110, 13.1.1).
        let any: HTTPHeaders = ["If-Match": "*"]
        let present = try await bench.ask(.PUT, "/v1/fleets/edge", body: [:], token: token, headers: any)
        #expect(present.status == .ok)
        let absent = try await bench.ask(.PUT, "/v1/fleets/none", body: [:], token: token, headers: any)
        #expect(absent.status == .preconditionFailed)
    }

    @Test func ofManyChangesOfOneVersionOneIsMade() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        let key = WireGuard.PublicKey(bytes: Digest.sha256([9]).bytes)
        let device = Device(
            id: try DeviceID("d-1"), state: .active, labels: [:], architecture: "arm64", hostName: "pump",
            signingKey: Digest.sha256([1]).hex, key: try #require(key), site: 1, index: 1,
            token: try #require(EnrolmentTokenID(bytes: Array(repeating: 1, count: 16))),
            enrolledAt: Timestamp(seconds: 0))
        try await bench.store.commit(Commit([.put(device, expecting: .absent)]))
        let shown = try await bench.ask(.GET, "/v1/devices/d-1", token: token)
        let headers: HTTPHeaders = ["If-Match": try #require(shown.headers.first(name: "ETag"))]
        let answers = try await withThrowingTaskGroup(of: HTTPResponseStatus.self) { group in
            for number in 0..<16 {
                group.addTask {
                    let labels: JSONValue = ["labels": ["rack": .string("\(number)")]]
                    return try await bench.ask(.PATCH, "/v1/devices/d-1", body: labels, token: token, headers: headers)
                        .status
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.filter { $0 == .ok }.count == 1)
        #expect(answers.filter { $0 == .preconditionFailed }.count == 15)
        let late = try await bench.ask(.DELETE, "/v1/devices/d-1", token: token, headers: headers)
        #expect(late.status == .preconditionFailed)
    }

    @Test func aListGoesOnWhereItsCursorSays() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        for index in 0..<5 {
            _ = try await bench.ask(.PUT, "/v1/fleets/f\(index)", body: [:], token: token)
        }
        var seen: [String] = []
        var target = "/v1/fleets?limit=2"
        while true {
            let page = try await bench.ask(.GET, target, token: token).document
            seen += page["items"]?.array?.compactMap { $0["id"]?.string } ?? []
            guard let next = page["next"]?.string else { break }
            target = "/v1/fleets?limit=2&cursor=\(next)"
        }
        #expect(seen == ["f0", "f1", "f2", "f3", "f4"])
    }

    @Test(arguments: [
        "/v1/devices?limit=0", "/v1/devices?limit=x", "/v1/devices?cursor=!", "/v1/devices?lim=1",
        "/v1/devices?limit=1&limit=2", "/v1/devices?selector=%zz", "/v1/devices?selector=%ff",
    ])
    func brokenQueriesAreRefused(target: String) async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        let answer = try await bench.ask(.GET, target, token: token)
        #expect(answer.status == .badRequest, "\(target) gave \(answer.status)")
    }

    @Test func whatIsNotThereIsNotFound() async throws {
        try await bench.addOperator()
        let token = try await bench.login()
        for target in ["/v1/devices/d-1", "/v1/tokens/00", "/v1/fleets/none", "/v1/assignments/a", "/v1/nothing", "/"] {
            #expect(try await bench.ask(.GET, target, token: token).status == .notFound, "\(target)")
        }
        let method = try await bench.ask(.PUT, "/v1/devices", token: token)
        #expect(method.status == .methodNotAllowed)
        #expect(method.headers.first(name: "Allow") == "GET")
    }
}
