import Base
import HubProtocol
import Model
import Testing
import Trust
import WireGuard

/// The device API's wire forms: what stands here is what devices in the field send and expect.
@Suite struct DeviceAPITests {
    let hubKey: SecretKey
    let deviceKey: SecretKey
    let signer: Ed25519Signer

    init() throws {
        hubKey = try #require(SecretKey(bytes: Array(repeating: 0x48, count: 32)))
        deviceKey = try #require(SecretKey(bytes: Array(repeating: 0x50, count: 32)))
        signer = try Ed25519Signer(seed: Array(repeating: 7, count: 32))
    }

    static let state = DeviceStateAnswer(
        device: "d-1f", labels: ["fleet": "edge"], release: .init(root: 2, timestamp: 41),
        director: .init(root: 1, timestamp: 7), descriptor: 3, rotateKey: true, auditKey: "hub/audit+00+AA",
        auditSize: 12, freshnessTicket: nil)

    @Test func documentsHaveTheirGoldenForm() throws {
        #expect(
            text(Self.state.bytes)
                == #"{"audit":{"key":"hub/audit+00+AA","size":12},"descriptor":3,"device":"d-1f","director":{"root":1,"timestamp":7},"labels":{"fleet":"edge"},"release":{"root":2,"timestamp":41},"rotate_key":true,"schema":1}"#
        )
        #expect(
            text(DeviceTokenAnswer(accessToken: "a.b.c", expiresIn: 600).bytes)
                == #"{"access_token":"a.b.c","expires_in":600,"schema":1,"token_type":"Bearer"}"#)
        #expect(
            text(ReportAnswer(acknowledged: [1: 9, 0: 4], refused: [2: .ahead]).bytes)
                == #"{"acknowledged":[{"epoch":0,"sequence":4},{"epoch":1,"sequence":9}],"refused":[{"place":2,"reason":"ahead"}],"schema":1}"#
        )
        #expect(
            text(ConsistencyAnswer(from: 1, to: 2, proof: [.sha256([])]).bytes)
                == #"{"from":1,"proof":["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],"schema":1,"to":2}"#
        )
        let address = try #require(IPAddress("fd00::1:0:0:0:3"))
        let hub = try #require(IPAddress("fd00::1"))
        #expect(
            text(KeyChangeAnswer(address: address, hub: hub).bytes)
                == #"{"address":"fd00:0:0:1::3","hub":"fd00::1","schema":1}"#)
        #expect(
            text(Problem("busy", status: 503, title: "Busy", detail: "later", instance: "r-1", retryAfter: 7).bytes)
                == #"{"detail":"later","instance":"r-1","retry_after_s":7,"status":503,"title":"Busy","type":"urn:holdfast:problem:busy"}"#
        )
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    @Test func whatIsWrittenIsRead() throws {
        var state = Self.state
        #expect(try DeviceStateAnswer(parsing: state.bytes) == state)
        state.freshnessTicket = [1, 2, 3]
        #expect(try DeviceStateAnswer(parsing: state.bytes) == state)
        let token = DeviceTokenAnswer(accessToken: "a.b.c", expiresIn: 600)
        #expect(try DeviceTokenAnswer(parsing: token.bytes) == token)
        let answer = ReportAnswer(acknowledged: [0: 4], refused: [99: .conflict])
        #expect(try ReportAnswer(parsing: answer.bytes) == answer)
        let proof = ConsistencyAnswer(from: 0, to: 2, proof: [.sha256([])])
        #expect(try ConsistencyAnswer(parsing: proof.bytes) == proof)
        let problem = Problem("busy", status: 503, title: "Busy", hint: "wait", retryAfter: 7)
        #expect(Problem(parsing: problem.bytes) == problem)
        #expect(try ReportBatch.envelopes(in: ReportBatch.bytes([[1], [2, 3]])) == [[1], [2, 3]])
    }

    @Test func aTokenRequestIsReadWithItsDevicesKeyOnly() throws {
        let request = try #require(
            DeviceTokenRequest(
                device: "d-1f", hubKey: hubKey.derivePublicKey(), nonce: Array(repeating: 5, count: 16)))
        let bytes = try request.envelope(signedBy: signer)
        #expect(try DeviceTokenRequest(verifying: bytes, by: signer.publicKey) == request)
        let other = try Ed25519Signer(seed: Array(repeating: 8, count: 32))
        let error = #expect(throws: HubProtocolError.self) {
            try DeviceTokenRequest(verifying: bytes, by: other.publicKey)
        }
        #expect(error?.reason == .signatureInvalid)
    }

    @Test func aKeyChangeProvesTheNewKey() throws {
        var request = try KeyChangeRequest(
            device: "d-1f", privateKey: deviceKey, hubKey: hubKey.derivePublicKey())
        let bytes = try request.envelope(signedBy: signer)
        #expect(try KeyChangeRequest(verifying: bytes, by: signer.publicKey, hubKey: hubKey) == request)
        request.wireGuardKey = try SecretKey.generatePrivate().derivePublicKey()
        let foreign = try request.envelope(signedBy: signer)
        let error = #expect(throws: HubProtocolError.self) {
            try KeyChangeRequest(verifying: foreign, by: signer.publicKey, hubKey: hubKey)
        }
        #expect(error?.reason == .proofInvalid)
    }

    @Test func aRequestOfOneSortIsNoneOfAnother() throws {
        let change = try KeyChangeRequest(device: "d-1f", privateKey: deviceKey, hubKey: hubKey.derivePublicKey())
        let bytes = try change.envelope(signedBy: signer)
        let error = #expect(throws: HubProtocolError.self) {
            try DeviceTokenRequest(verifying: bytes, by: signer.publicKey)
        }
        #expect(error?.reason == .signatureInvalid)
    }

    @Test(arguments: [
        DeviceRoute.enrol, .token, .state, .metadata(.director, file: "7.targets.json"),
        .metadata(.release, file: "timestamp.json"), .blob(.sha256([1])), .reports, .keys, .descriptor, .checkpoint,
        .consistency(from: 3, to: 9),
    ])
    func aRouteIsReadFromItsPath(route: DeviceRoute) {
        #expect(DeviceRoute(path: route.path) == route)
        #expect(!route.methods.isEmpty)
    }

    @Test(arguments: [
        "", "/", "/v1/devices", "/v1/device/state/", "/v1/device/state?x=1", "/v1/enrol/", "//v1/enrol",
        "/v1/device/metadata/release/../root.json", "/v1/device/metadata/release/.json",
        "/v1/device/metadata/other/root.json", "/v1/device/metadata/release/a/b.json",
        "/v1/device/metadata/release/root.txt",
        "/v1/device/blobs/sha256/" + String(repeating: "A", count: 64), "/v1/device/blobs/sha256/00",
        "/v1/device/blobs/sha512/" + String(repeating: "a", count: 64), "/v1/device/consistency?from=1",
        "/v1/device/consistency?from=-1&to=2", "/v1/device/consistency?from=01&to=2",
        "/v1/device/consistency?to=1&from=2", "/v1/device/state" + String(repeating: "a", count: 600),
    ])
    func otherPathsAreNoRoutes(path: String) {
        #expect(DeviceRoute(path: path) == nil)
    }

    @Test func hostileDocumentsAreRefused() {
        let documents = [
            "", "{}", "[]", "null", #"{"schema":2}"#, #"{"schema":1}"#, "{\"schema\":1,\"schema\":1}",
            #"{"schema":1,"device":"d","labels":{"a":1},"release":{},"director":{}}"#,
            #"{"schema":1,"access_token":"a\r\nX: y","token_type":"Bearer","expires_in":60}"#,
            #"{"schema":1,"access_token":"a","token_type":"Bearer","expires_in":99999999}"#,
            #"{"schema":1,"acknowledged":[{"epoch":-1,"sequence":1}],"refused":[]}"#,
            #"{"schema":1,"acknowledged":[],"refused":[{"place":100,"reason":"ahead"}]}"#,
            #"{"schema":1,"from":5,"to":2,"proof":[]}"#, #"{"schema":1,"from":1,"to":2,"proof":["zz"]}"#,
            #"{"schema":1,"address":"fd00::1","hub":"nowhere"}"#,
            String(repeating: "[", count: 100_000), String(repeating: " ", count: 5 << 20),
        ]
        for document in documents {
            let bytes = Array(document.utf8)
            #expect(throws: HubProtocolError.self) { try DeviceStateAnswer(parsing: bytes) }
            #expect(throws: HubProtocolError.self) { try DeviceTokenAnswer(parsing: bytes) }
            #expect(throws: HubProtocolError.self) { try ReportAnswer(parsing: bytes) }
            #expect(throws: HubProtocolError.self) { try ConsistencyAnswer(parsing: bytes) }
            #expect(throws: HubProtocolError.self) { try KeyChangeAnswer(parsing: bytes) }
            #expect(Problem(parsing: bytes) == nil)
        }
        #expect(throws: HubProtocolError.self) { try ReportBatch.envelopes(in: Array(repeating: 0x41, count: 5 << 20)) }
        let lines = Array(String(repeating: "a\n", count: 101).utf8)
        #expect(throws: HubProtocolError.self) { try ReportBatch.envelopes(in: lines) }
    }
}
