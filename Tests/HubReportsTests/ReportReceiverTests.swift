import Base
import HubProtocol
import HubReports
import HubStore
import Model
import TestSupport
import Testing
import Trust
import WireGuard

@testable import HubCore

private let now = Timestamp(seconds: 1_800_000_000)

@Suite struct ReportReceiverTests {
    let directory: TemporaryDirectory
    let store: SQLiteMetadataStore
    let receiver: ReportReceiver
    let signer: Ed25519Signer
    let device: Device

    init() throws {
        directory = try TemporaryDirectory()
        store = try SQLiteMetadataStore(path: directory.file("hub.db"))
        receiver = ReportReceiver(
            store: store, clock: SystemClock(now: { now }, monotonic: { 0 }, sleep: { _ in }))
        signer = try Ed25519Signer(seed: Array(repeating: 1, count: 32))
        device = try Self.device("d-1", signer)
    }

    private static func device(_ name: String, _ signer: Ed25519Signer) throws -> Device {
        let token = EnrolmentTokenID(bytes: Array(repeating: 1, count: 16))
        let key = WireGuard.PublicKey(bytes: Array(repeating: 2, count: 32))
        return Device(
            id: try DeviceID(name), state: .active, labels: [:], architecture: "amd64", hostName: "box",
            signingKey: signer.publicKey.value,
            key: try #require(key), site: 1, index: 1,
            token: try #require(token), enrolledAt: now)
    }

    private func envelope(
        _ sequence: Int64, _ text: String = "ok", epoch: Int64 = 1, device: String = "d-1"
    ) throws -> [UInt8] {
        try ReportEnvelope(
            device: device, epoch: epoch, sequence: sequence, content: [["event": .string(text)]]
        ).signed(by: signer)
    }

    @Test func whatIsSignedIsKeptAndAcknowledged() async throws {
        let first = try envelope(1)
        let receipt = try await receiver.receive([first, envelope(2), envelope(1, epoch: 2)], from: device)
        #expect(receipt == .init(acknowledged: [1: 2, 2: 1]))
        let stored = try await store.segments(after: 0, limit: 10)
        #expect(stored.count == 3)
        // The bytes that were signed, provable later without this hub.
        #expect(stored.first?.segment.body == first)
        let read = try ReportEnvelope(verifying: stored[0].segment.body, by: signer.publicKey)
        #expect(read.content == [["event": "ok"]])
    }

    @Test func duplicatesAndAnyOrderAreHarmless() async throws {
        let envelopes = try (1...5).map { try envelope($0) }
        #expect(try await receiver.receive([envelopes[4], envelopes[2]], from: device).acknowledged == [1: 0])
        #expect(try await receiver.receive([envelopes[0], envelopes[0]], from: device).acknowledged == [1: 1])
        #expect(try await receiver.receive(envelopes, from: device) == .init(acknowledged: [1: 5]))
        #expect(try await receiver.receive(envelopes, from: device) == .init(acknowledged: [1: 5]))
        #expect(try await store.segments(after: 0, limit: 10).count == 5)
    }

    @Test func badEnvelopesAreRefusedAndTheGoodOnesTaken() async throws {
        let thief = try Ed25519Signer(seed: Array(repeating: 2, count: 32))
        let forged = try ReportEnvelope(device: "d-1", epoch: 1, sequence: 2, content: []).signed(by: thief)
        var broken = try envelope(2)
        broken[broken.count / 2] ^= 1
        let other = try envelope(2, device: "d-2")
        let large = [UInt8](repeating: 0x20, count: ReportEnvelope.envelopeLimit + 1)
        var wrongType = DSSEEnvelope(payloadType: "text/plain", payload: Array("x".utf8))
        try wrongType.sign(with: signer)
        var notAReport = DSSEEnvelope(payloadType: ReportEnvelope.payloadType, payload: Array("{}".utf8))
        try notAReport.sign(with: signer)
        let receipt = try await receiver.receive(
            [
                forged, broken, other, large, wrongType.bytes, notAReport.bytes, [], Array("{}".utf8), envelope(20_000),
                envelope(1),
            ], from: device)
        #expect(receipt.acknowledged == [1: 1])
        #expect(receipt.refused.keys.sorted() == Array(0...8))
        #expect(receipt.refused[0] == .untrusted)
        #expect(receipt.refused[2] == .untrusted)
        #expect(receipt.refused[3] == .malformed)
        #expect(receipt.refused[4] == .untrusted)
        #expect(receipt.refused[5] == .malformed)
        #expect(receipt.refused[8] == .ahead)
        #expect(try await store.segments(after: 0, limit: 10).count == 1)
    }

    @Test func twoTruthsUnderOneNumberAreAnAlarm() async throws {
        _ = try await receiver.receive([envelope(1, "healthy")], from: device)
        let receipt = try await receiver.receive([envelope(1, "failed"), envelope(2)], from: device)
        #expect(receipt.refused == [0: .conflict])
        #expect(receipt.acknowledged == [1: 2])
        let events = try await store.events(from: 0, limit: 10)
        #expect(try events.map { try AuditEvent(decoding: $0.bytes).kind } == [.reportConflict])
        #expect(try await store.segments(after: 0, limit: 10).count == 2)
    }

    @Test func aRevokedDeviceMayNotReport() async throws {
        var revoked = device
        revoked.state = .revoked
        let envelopes = [try envelope(1)]
        let sender = revoked
        await #expect(throws: HubError.self) { try await receiver.receive(envelopes, from: sender) }
        let many = try (1...101).map { try envelope(Int64($0)) }
        await #expect(throws: HubError.self) { try await receiver.receive(many, from: device) }
    }

    @Test func aFullDiskAcknowledgesNothing() async throws {
        let path = directory.file("full.db")
        _ = try SQLiteMetadataStore(path: path)
        let full = try SQLiteMetadataStore(path: path, monitor: DurabilityMonitor { _ in .fail(errno: 28) })
        let failing = ReportReceiver(store: full)
        let envelopes = [try envelope(1)]
        await #expect(throws: (any Error).self) { try await failing.receive(envelopes, from: device) }
        let again = ReportReceiver(store: try SQLiteMetadataStore(path: path))
        #expect(try await again.receive(envelopes, from: device).acknowledged == [1: 1])
    }

    @Test func aThousandDevicesShareCommits() async throws {
        let counter = CommitCounter()
        let path = directory.file("many.db")
        _ = try SQLiteMetadataStore(path: path)
        let store = try SQLiteMetadataStore(path: path, monitor: counter.monitor)
        let receiver = ReportReceiver(store: store)
        let signer = signer
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<1_000 {
                group.addTask {
                    let name = "d-\(number)"
                    let device = try Self.device(name, signer)
                    let bytes = try ReportEnvelope(device: name, epoch: 1, sequence: 1, content: []).signed(by: signer)
                    let receipt = try await receiver.receive([bytes], from: device)
                    #expect(receipt.acknowledged == [1: 1])
                }
            }
            try await group.waitForAll()
        }
        #expect(try await store.segments(after: 0, limit: 1_000).count == 1_000)
        #expect(counter.value < 1_000, "every report paid for a commit of its own")
    }

    /// A hub reads the head alone; whoever reads the whole later must not find what the hub would not have taken.
    @Test func theHeadIsTakenAndRefusedAsTheWholeReportIs() throws {
        let start = #"{"schema":1,"device":"d-1","epoch":1,"sequence":7,"dropped":0,"entries":["#
        let nested = String(repeating: "[", count: 14) + String(repeating: "]", count: 14)
        let entries = [
            #"{"a":1}"#, #"{"a":1},{"b":[1,2]}"#, #"{"a":1,"a":2}"#, #"{"a":"\u00e9","b":"\n"}"#, "{\"a\":\"\n\"}",
            #"{"é":1,"é":2}"#, #"{"a":1e999}"#, #"{"a":99999999999999999999}"#, nested, "1,", "",
            Array(repeating: "[1]", count: 1_001).joined(separator: ","),
            "[" + Array(repeating: "1", count: 20_001).joined(separator: ",") + "]",
            "{" + (0..<10_500).map { "\"k\($0)\":1" }.joined(separator: ",") + "}",
        ]
        let payloads =
            entries.map { start + $0 + "]}" } + [
                "{}", start + "]", start.replacing("\"schema\":1", with: "\"schema\":2") + "]}",
                start.replacing("\"sequence\":7", with: "\"sequence\":0") + "]}",
                start.replacing("\"epoch\":1", with: "\"epoch\":-1") + "]}",
                start.replacing("\"d-1\"", with: "1") + "]}",
            ]
        var taken = 0
        for payload in payloads {
            var envelope = DSSEEnvelope(payloadType: ReportEnvelope.payloadType, payload: Array(payload.utf8))
            try envelope.sign(with: signer)
            let whole = try? ReportEnvelope(verifying: envelope.bytes, by: signer.publicKey)
            let head = try? ReportHead(verifying: envelope.bytes, by: EnvelopeKey(signer.publicKey))
            #expect(whole?.sequence == head?.sequence, "\(payload.prefix(120))")
            #expect(whole?.content.count == head?.entries, "\(payload.prefix(120))")
            taken += head == nil ? 0 : 1
        }
        #expect(taken == 6)
    }
}
