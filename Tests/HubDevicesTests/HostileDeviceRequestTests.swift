import Base
import HTTPTestSupport
import HubCore
import HubDevices
import HubHTTP
import HubProtocol
import HubStore
import Logging
import Model
import NIOCore
import NIOPosix
import TestSupport
import Testing
import WireGuard

/// What a stolen or broken device can send through its tunnel: problems, never a server error, and bounded memory.
@Suite(.serialized) struct HostileDeviceRequestTests {
    /// KiB by which this process may grow over all of them.
    static let growth = 128 << 10

    /// Loopback in the place of the tunnel: every request comes from one device's address.
    private struct FromDevice: HTTPResponder {
        let responder: DeviceResponder
        let address: IPAddress

        func accept(_ request: HTTPRequest) -> HTTPAcceptance {
            var request = request
            request.peer = address
            return responder.accept(request)
        }
    }

    @Test func noneIsAServerErrorOrMakesTheHubGrow() async throws {
        let bench = try await DeviceResponderTests(admission: .init(rate: 1e9, deviceSpacing: 0))
        let device = try await bench.enrol()
        let blob = try await bench.blobs.put(Array("some bytes".utf8))
        let fields = "Authorization: Bearer \(device.token)\r\n"
        let requests =
            HostileRequest.common(get: DeviceRoute.state.path, post: DeviceRoute.token.path, fields: fields)
            + Self.paths(fields) + Self.fields(fields, DeviceRoute.blob(blob.digest).path) + Self.bodies(fields)
        #expect(requests.count >= 200)
        print("hostile device requests: \(requests.count)")
        var bounds = HTTPBounds()
        bounds.firstHead = 3
        bounds.body = 3
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let listener = try await HTTPListener.start(
            on: try #require(IPAddress("127.0.0.1")), port: 0, bounds: bounds, group: group,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            responder: FromDevice(responder: bench.responder, address: device.address))
        let before = HostileRequest.residentMemory()
        let faults = try await HostileRequest.faults(of: requests, port: listener.port)
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
        #expect(HostileRequest.residentMemory() - before < Self.growth)
        let honest = try await RudeClient.converse(
            listener.port,
            Array("GET \(DeviceRoute.state.path) HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\(fields)\r\n".utf8))
        #expect(String(decoding: honest, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
        await listener.stop()
        try await group.shutdownGracefully()
    }

    private static func paths(_ fields: String) -> [HostileRequest] {
        let hex = String(repeating: "a", count: 64)
        let paths = [
            "/", "//", "/v1", "/v1/device/state/", "/v1/device/state?x=1", "/v1/device/../device/state",
            "/v1/device/%73tate",
            "/v1/device/metadata/release/../../etc/passwd", "/v1/device/metadata/release/..%2f..%2fpasswd.json",
            "/v1/device/metadata/release/.json", "/v1/device/metadata/release/..json",
            "/v1/device/metadata/other/timestamp.json",
            "/v1/device/metadata/release/\(String(repeating: "a", count: 400)).json",
            "/v1/device/metadata/release/timestamp.json%00",
            "/v1/device/blobs/sha256/", "/v1/device/blobs/sha256/\(hex)", "/v1/device/blobs/sha256/\(hex)a",
            "/v1/device/blobs/sha256/\(hex.dropLast())",
            "/v1/device/blobs/sha256/\(hex.uppercased())", "/v1/device/blobs/sha512/\(hex)",
            "/v1/device/blobs/sha256/../\(hex)",
            "/v1/device/consistency", "/v1/device/consistency?from=1", "/v1/device/consistency?from=-1&to=2",
            "/v1/device/consistency?from=2&to=1",
            "/v1/device/consistency?from=0&to=9223372036854775807", "/v1/device/consistency?from=00&to=1",
            "/v1/device/consistency?to=1&from=0",
            "/v1/device/consistency?from=99999999999999999999&to=1", "/v1/devices", "/v1/login",
            String(repeating: "/a", count: 3_000),
        ]
        return paths.map { .head("path \($0.prefix(60))", "GET", $0, fields, .problem([400, 404])) }
    }

    private static func fields(_ fields: String, _ blob: String) -> [HostileRequest] {
        func nonce(_ text: String) -> HostileRequest {
            .head(
                "nonce \(text.prefix(20))", "GET", DeviceRoute.state.path,
                "\(fields)\(DeviceHeader.freshnessNonce): \(text)\r\n", .problem([400]))
        }
        let ranges = [
            ("bytes=10-", Set([416])), ("bytes=-0", [416]), ("bytes=9999999999999-", [416]),
            ("bytes=99999999999999999999-", []),
            ("bytes=0-0,-1", []), ("bytes=5-2", []), ("bytes=-", []), ("bytes=--1", []), ("octets=0-1", []),
            ("bytes=\u{661}-", []),
        ]
        return [
            "", "zz", String(repeating: "a", count: 31), String(repeating: "a", count: 33),
            String(repeating: "g", count: 32),
        ].map(nonce)
            + ["wait=", "wait=-1", "wait=x", "wait=99999999999999999999", "respond-async, wait=1"].map {
                .head(
                    "Prefer \($0)", "GET", DeviceRoute.state.path, "\(fields)\(DeviceHeader.prefer): \($0)\r\n",
                    .harmless)
            }
            + ranges.map {
                .head(
                    "blob \($0.0)", "GET", blob, "\(fields)Range: \($0.0)\r\n",
                    $0.1.isEmpty ? .harmless : .problem($0.1))
            }
            + ["\"", "W/\"x\"", "yesterday", String(repeating: "\"a\",", count: 1_000)].map {
                .head(
                    "If-Range \($0.prefix(20))", "GET", blob, "\(fields)If-Range: \($0)\r\nRange: bytes=1-2\r\n",
                    .harmless)
            }
            + [
                .head(
                    "activity of rubbish", "GET", DeviceRoute.state.path,
                    "\(fields)\(DeviceHeader.activity): \(String(repeating: "u", count: 5_000))\r\n", .harmless)
            ]
    }

    private static func bodies(_ fields: String) -> [HostileRequest] {
        let envelope = #"{"payload":"e30=","payloadType":"x","signatures":[]}"#
        let bodies: [(String, [UInt8])] = [
            ("no envelope", Array("{}".utf8)), ("an envelope without signatures", Array(envelope.utf8)),
            (
                "a payload that is no base64",
                Array(#"{"payload":"!","payloadType":"x","signatures":[{"sig":"!"}]}"#.utf8)
            ),
            (
                "a thousand signatures",
                Array(
                    "{\"payload\":\"e30=\",\"payloadType\":\"x\",\"signatures\":[\((0..<1_000).map { _ in #"{"sig":"AAAA"}"# }.joined(separator: ","))]}"
                        .utf8)
            ),
            ("deep lists", Array(repeating: 0x5B, count: 3_000)), ("no UTF-8", Array(repeating: 0xFF, count: 100)),
        ]
        return bodies.flatMap { name, bytes -> [HostileRequest] in
            [DeviceRoute.token, .keys].map {
                .body("\($0.path): \(name)", "POST", $0.path, fields, bytes, .problem([400, 403, 413, 422]))
            }
                // Batches are judged envelope by envelope: the answer names those that are refused.
                + [.body("reports: \(name)", "POST", DeviceRoute.reports.path, fields, bytes, .harmless)]
        } + [
            .body(
                "reports: only newlines", "POST", DeviceRoute.reports.path, fields,
                Array(repeating: 0x0A, count: 200_000), .harmless),
            .body(
                "reports: ten thousand envelopes", "POST", DeviceRoute.reports.path, fields,
                Array(String(repeating: "{}\n", count: 10_000).utf8), .harmless),
            .body(
                "an enrolment in a device's tunnel", "POST", DeviceRoute.enrol.path, fields, Array(envelope.utf8),
                .problem([403])),
        ]
    }
}
