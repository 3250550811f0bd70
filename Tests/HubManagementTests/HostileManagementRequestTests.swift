import Base
import HTTPTestSupport
import HubHTTP
import Logging
import Model
import NIOCore
import NIOHTTP1
import NIOPosix
import TestSupport
import Testing
import Trust
import WireGuard

/// What a script gone wrong, or someone with a token, can send to the management side: documented problems, never a
/// server error, and bounded memory.
@Suite(.serialized) struct HostileManagementRequestTests {
    /// KiB by which this process may grow over all of them.
    static let growth = 128 << 10

    @Test func noneIsAServerErrorOrMakesTheHubGrow() async throws {
        let bench = try ManagementBench()
        let signer = try Ed25519Signer(seed: Array(repeating: 6, count: 32))
        let key = signer.publicKey
        try Trust.Repository.initialize(
            path: bench.folder.path + "/repository",
            plan: .lab(root: key, targets: key, snapshot: key, timestamp: key), signers: [signer])
        try await bench.addOperator()
        let token = try await bench.login()
        _ = try await bench.ask(.PUT, "/v1/fleets/edge", body: [:], token: token)
        let fields = "Authorization: Bearer \(token)\r\n"
        let requests =
            HostileRequest.common(get: "/v1/devices", post: "/v1/assignments", fields: fields) + Self.queries(fields)
            + Self.paths(fields) + Self.conditions(fields) + Self.uploads(fields) + Self.bodies(fields)
        #expect(requests.count >= 200)
        print("hostile management requests: \(requests.count)")
        var bounds = HTTPBounds()
        bounds.firstHead = 3
        bounds.body = 3
        bounds.stall = 3
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let listener = try await HTTPListener.start(
            on: try #require(IPAddress("127.0.0.1")), port: 0, bounds: bounds, group: group,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, responder: bench.responder)
        let before = HostileRequest.residentMemory()
        let faults = try await HostileRequest.faults(of: requests, port: listener.port)
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
        #expect(HostileRequest.residentMemory() - before < Self.growth)
        let honest = try await RudeClient.converse(
            listener.port,
            Array("GET /v1/devices HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\(fields)\r\n".utf8))
        #expect(String(decoding: honest, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
        await listener.stop()
        try await group.shutdownGracefully()
    }

    private static func queries(_ fields: String) -> [HostileRequest] {
        func text(_ piece: String, _ count: Int) -> String { String(repeating: piece, count: count) }
        let broken = [
            "x=1", "limit=1&limit=2", "limit=%zz", "selector=%ff", "selector=%00", "%00=1", "=", "limit", "limit=0",
            "limit=-1", "limit=501",
            "limit=1e3", "limit=0x10", "limit=99999999999999999999", "limit=%20", "cursor=!", "cursor=%00",
            "cursor=AA==", "cursor=AA", "cursor=_w",
            "cursor=\(text("A", 344))", "cursor=\(text("A", 4_000))",
            (0..<500).map { "a\($0)=1" }.joined(separator: "&"),
        ]
        let selectors = [
            "=", "a=", "a==b=c", "a%20in", "a%20in%20(", "a%20in%20(b", "a%20in%20()", "a%20notin%20b", "!", "!!a",
            "a,,b", ",", "((((((", "a%20in%20((b))",
            "a=%0a", "a=\(text("b", 64))", "\(text("a", 64))=b", "\(text("a", 300))/b=c", text("a,", 100),
            "a%20in%20(\(text("b,", 300))c)",
            text("a", 4_097), "a%3D%3D%3Db", "'%20OR%201=1--", "a%20%00",
        ]
        return broken.map { .head("query \($0.prefix(40))", "GET", "/v1/devices?\($0)", fields, .problem([400, 422])) }
            // An empty value, and a key by itself, are selectors: those are harmless.
            + selectors.map {
                .head("selector \($0.prefix(40))", "GET", "/v1/devices?selector=\($0)", fields, .harmless)
            }
            + [
                .head(
                    "a query of 8,000 bytes", "GET", "/v1/devices?selector=\(text("%41", 2_700))", fields,
                    .problem([414, 422, 431])),
                .head("from below zero", "GET", "/v1/audit/events?from=-1", fields, .problem([400])),
                .head("from beyond all", "GET", "/v1/audit/events?from=9223372036854775807", fields, .harmless),
                .head("from above 2^63", "GET", "/v1/audit/events?from=9223372036854775808", fields, .problem([400])),
                .head(
                    "an index beyond all", "GET", "/v1/audit/inclusion?index=9223372036854775807", fields,
                    .problem([400, 404])),
                .head("a size of nothing", "GET", "/v1/audit/inclusion?index=0&size=0", fields, .problem([400])),
                .head(
                    "a size beyond all", "GET", "/v1/audit/inclusion?index=0&size=9223372036854775807", fields,
                    .problem([400, 404])),
                .head("from after to", "GET", "/v1/audit/consistency?from=5&to=1", fields, .problem([400, 404])),
                .head(
                    "to beyond all", "GET", "/v1/audit/consistency?from=0&to=9223372036854775807", fields,
                    .problem([400, 404])),
                .head("a stream from below zero", "GET", "/v1/events?from=-1", fields, .problem([400])),
                .head(
                    "a selector of a fleet's devices", "GET", "/v1/fleets/edge/devices?selector=a", fields,
                    .problem([400])),
            ]
            + ["x", "-1", "9223372036854775807", "1, 2", "\u{663}"].map {
                .head("Last-Event-ID \($0)", "GET", "/v1/events", "\(fields)Last-Event-ID: \($0)\r\n", .problem([400]))
            }
    }

    private static func paths(_ fields: String) -> [HostileRequest] {
        let long = String(repeating: "a", count: 7_000)
        let gone = [
            "/", "//", "/v1//devices", "/v1/devices/", "/v1/devices/..", "/v1/devices/../../etc/passwd",
            "/v1/devices/%2e%2e%2fpasswd", "/v1/devices/%00",
            "/v1/devices/%", "/v1/devices/%zz", "/v1/devices/%ff", "/v1/devices/\(long)", "/v1/devices/%F0%9F%94%92",
            "/v1/tokens/\(long)", "/v1/tokens/zz",
            "/v1/fleets/EDGE", "/v1/fleets/edge%20", "/v1/fleets/edge/devices/x", "/v1/assignments/a%2fb",
            "/v1/releases/shop/not-a-version",
            "/v1/releases/%2e%2e/1.0.0", "/v1/releases/shop", "/v1/device/state", "/.git/config",
            "/v1/health/../devices", "/V1/DEVICES",
        ]
        return gone.map { .head("path \($0.prefix(50))", "GET", $0, fields, .problem([400, 404])) } + [
            .head("another method", "PUT", "/v1/devices", fields, .problem([405])),
            .head("DELETE of all", "DELETE", "/v1/fleets", fields, .problem([405])),
            .head(
                "a digest in upper case", "HEAD", "/v1/blobs/sha256/\(String(repeating: "A", count: 64))", fields,
                .problem([400])),
        ]
    }

    private static func conditions(_ fields: String) -> [HostileRequest] {
        [
            "v1", "\"v\"", "\"vx\"", "\"v-1\"", "\"v99999999999999999999\"", "**", "W/\"v1\"", "\"",
            String(repeating: "\"v1\",", count: 1_000),
        ].map {
            .body(
                "If-Match \($0.prefix(20))", "PUT", "/v1/fleets/edge", "\(fields)If-Match: \($0)\r\n", Array("{}".utf8),
                .problem([412]))
        }
            + ["", "a b", "\u{FC}", String(repeating: "k", count: 129), "\u{1}"].map {
                .body(
                    "Idempotency-Key \($0.prefix(20))", "POST", "/v1/tokens", "\(fields)Idempotency-Key: \($0)\r\n",
                    Array("{}".utf8), .problem([400, 422]))
            }
    }

    private static func uploads(_ fields: String) -> [HostileRequest] {
        let hex = Digest.sha256(Array("x".utf8)).hex
        let target = "/v1/blobs/sha256/\(hex)"
        func put(
            _ name: String, _ target: String, _ more: String, _ body: String, _ outcome: HostileRequest.Outcome,
            finishes: Bool = false
        )
            -> HostileRequest
        {
            HostileRequest(
                "upload: \(name)",
                "PUT \(target) HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\(fields)\(more)\r\n\(body)", outcome,
                finishes: finishes)
        }
        return [
            put("other bytes than the digest's", target, "Content-Length: 1\r\n", "y", .problem([400, 409, 422])),
            put("no digest", "/v1/blobs/sha256/zz", "Content-Length: 1\r\n", "y", .problem([400])),
            put("a path for a digest", "/v1/blobs/sha256/..%2f..%2fetc", "Content-Length: 1\r\n", "y", .problem([400])),
            put("no length", target, "Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n", .problem([411])),
            put("a length beyond all", target, "Content-Length: 99999999999999\r\n", "", .problem([413])),
            put("cut short", target, "Content-Length: 100\r\n", "x", .refused, finishes: true),
            put("that does not come", target, "Content-Length: 100\r\n", "x", .refused),
        ]
            + [
                "bytes", "bytes 0-0", "bytes 0-0/x", "bytes 5-4/10", "bytes 0-0/99999999999999", "bytes -1-0/1",
                "bytes 1-1/2", "items 0-0/1", "bytes 0-9/1",
            ].map {
                put("Content-Range \($0)", target, "Content-Range: \($0)\r\nContent-Length: 1\r\n", "y", .refused)
            }
    }

    private static func bodies(_ fields: String) -> [HostileRequest] {
        func post(_ target: String, _ text: String, _ statuses: Set<Int> = [400, 404, 409, 422]) -> HostileRequest {
            .body("\(target) \(text.prefix(60))", "POST", target, fields, Array(text.utf8), .problem(statuses))
        }
        let names = ["", "..", "A", String(repeating: "a", count: 64), "a b", "\\u0000"]
        return names.map { post("/v1/assignments", #"{"app":"\#($0)","version":"1.0.0","fleet":"edge"}"#) }
            + names.map { post("/v1/tokens", #"{"fleet":"\#($0)"}"#) }
            + [
                post("/v1/assignments", #"{"app":"shop","version":"1.0.0"}"#),
                post("/v1/assignments", #"{"app":"shop","version":"1.0.0","fleet":"edge","device":"d"}"#),
                post("/v1/assignments", #"{"app":"shop","version":"1.0.0","fleet":"edge","priority":1e3}"#),
                post("/v1/assignments", #"{"app":"shop","version":"1.0.0","fleet":"edge","priority":99999}"#),
                post("/v1/assignments", #"{"app":{},"version":[],"fleet":null}"#),
                post("/v1/tokens", #"{"uses":0}"#), post("/v1/tokens", #"{"uses":-1}"#),
                post("/v1/tokens", #"{"uses":9223372036854775807}"#),
                post("/v1/tokens", #"{"ttl_s":0}"#), post("/v1/tokens", #"{"ttl_s":9223372036854775807}"#),
                post("/v1/tokens", #"{"site":65535}"#),
                post("/v1/tokens", #"{"site":-1}"#), post("/v1/tokens", #"{"labels":{"a":1}}"#),
                post("/v1/tokens", #"{"labels":{"":""}}"#),
                post("/v1/tokens", "{\"labels\":{\((0..<65).map { "\"k\($0)\":\"v\"" }.joined(separator: ","))}}"),
                post("/v1/tokens", #"{"approval":"yes"}"#), post("/v1/tokens", #"{"uses":5,"approval":false}"#),
                post("/v1/login", #"{"name":1,"password":2}"#, [400]), post("/v1/login", #"{"name":"ana"}"#, [400]),
                post("/v1/login", #"{"name":"\#(String(repeating: "a", count: 5_000))","password":"x"}"#, [400, 413]),
                post("/v1/repositories/release/metadata", "{}"),
                post("/v1/repositories/release/metadata", #"{"files":[]}"#),
                post("/v1/repositories/release/metadata", #"{"files":{"../../etc/passwd":"x"}}"#),
                post("/v1/repositories/release/metadata", #"{"files":{"timestamp.json":"{}"}}"#),
                post(
                    "/v1/repositories/release/metadata",
                    #"{"files":{"1.root.json":"\#(String(repeating: "[", count: 50_000))"}}"#),
                post("/v1/devices/none/approve", "{}"), post("/v1/devices/none/revoke", #"{"reason":1}"#),
            ]
    }
}
