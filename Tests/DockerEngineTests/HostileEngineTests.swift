import Base
import DockerEngine
import HTTPTestSupport
import Model
import NIOCore
import Synchronization
import Testing

/// An engine that is slow, hung, broken or lying must cost a bounded time, bounded memory and a typed error.
@Suite(.timeLimit(.minutes(1))) struct HostileEngineTests {
    private static let hurry = EngineClient.Timeouts(
        query: .milliseconds(300), change: .milliseconds(300), transfer: .milliseconds(300),
        stopMargin: .milliseconds(100))
    /// For answers that come at once, however busy the machine.
    private static let patience = EngineClient.Timeouts(
        query: .seconds(20), change: .seconds(20), transfer: .seconds(20))

    private func with(
        version: String = FakeEngine.version, timeouts: EngineClient.Timeouts = hurry,
        _ answer: @escaping @Sendable (String) -> [FakeEngine.Step],
        _ body: (EngineClient, FakeEngine) async throws -> Void
    ) async throws {
        let fake = try await FakeEngine(version: version, answer: answer)
        let client = EngineClient(socketPath: fake.socketPath, timeouts: timeouts, group: testGroup)
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(client, fake)) } catch { outcome = .failure(error) }
        await client.shutdown()
        try await fake.stop()
        try outcome.get()
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var steps: [FakeEngine.Step]
        var reason: EngineError.Reason
        var words = ""
    }

    static let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    static let cases: [Case] = [
        Case(testDescription: "nothing at all", steps: [], reason: .timeout, words: "no progress"),
        Case(testDescription: "closed without an answer", steps: [.close], reason: .truncated),
        Case(
            testDescription: "a head, then silence", steps: [.text(head + "Content-Length: 10\r\n\r\n")],
            reason: .timeout),
        Case(
            testDescription: "half a head, then silence", steps: [.text("HTTP/1.1 200 OK\r\nContent-")],
            reason: .timeout),
        Case(testDescription: "half a head, then closed", steps: [.text("HTTP/1.1 200"), .close], reason: .truncated),
        Case(
            testDescription: "a body shorter than its length",
            steps: [.text(head + "Content-Length: 100\r\n\r\n{\"Driver\":"), .close], reason: .truncated),
        Case(
            testDescription: "a chunk cut short",
            steps: [.text(head + "Transfer-Encoding: chunked\r\n\r\n20\r\n{\"Driver\""), .close], reason: .truncated),
        Case(testDescription: "not HTTP", steps: [.text("SSH-2.0-OpenSSH_9.2\r\n\r\n")], reason: .malformed),
        Case(testDescription: "not JSON", steps: [.text(FakeEngine.answer("<html>")), .close], reason: .malformed),
        Case(testDescription: "JSON cut short", steps: [.text(FakeEngine.answer("{\"Driver\":"))], reason: .malformed),
        Case(
            testDescription: "a key twice", steps: [.text(FakeEngine.answer(#"{"Driver":"a","Driver":"b"}"#))],
            reason: .malformed, words: "twice"),
        Case(testDescription: "the wrong kind", steps: [.text(FakeEngine.answer("[1]"))], reason: .malformed),
        Case(
            testDescription: "a field of the wrong type", steps: [.text(FakeEngine.answer(#"{"Driver":7}"#))],
            reason: .malformed, words: "`Driver`"),
        Case(
            testDescription: "JSON nested without end",
            steps: [.text(FakeEngine.answer(String(repeating: "[", count: 100_000)))], reason: .malformed,
            words: "deeper"),
        Case(
            testDescription: "an endless body",
            steps: [
                .text(head + "Content-Length: 1099511627776\r\n\r\n"),
                .forever([UInt8](repeating: 0x20, count: 1 << 16)),
            ], reason: .tooLarge, words: "8.0 MiB"),
        Case(
            testDescription: "an endless head",
            steps: [.text("HTTP/1.1 200 OK\r\n"), .forever(Array("X-A: aaaaaaaaaaaaaaaaaaaaaaaa\r\n".utf8))],
            reason: .malformed),
        Case(
            testDescription: "an endless error body",
            steps: [
                .text("HTTP/1.1 500 Oh\r\nContent-Length: 1099511627776\r\n\r\n"),
                .forever([UInt8](repeating: 0x41, count: 1 << 16)),
            ], reason: .failed, words: "answered 500"),
        Case(
            testDescription: "a redirect",
            steps: [.text("HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n")],
            reason: .malformed, words: "302"),
        Case(
            testDescription: "its own words",
            steps: [.text(FakeEngine.answer(#"{"message":"disk\nis full"}"#, status: "500 Oh"))], reason: .failed,
            words: "disk is full"),
        Case(
            testDescription: "a refusal that is no JSON",
            steps: [.text(FakeEngine.answer("page not found\n", status: "404 No"))], reason: .notFound,
            words: "page not found"),
        Case(
            testDescription: "shutting down", steps: [.text(FakeEngine.answer("{}", status: "503 Busy"))],
            reason: .unavailable, words: "503"),
        Case(
            testDescription: "a conflict", steps: [.text(FakeEngine.answer(#"{"message":"in use"}"#, status: "409 C"))],
            reason: .conflict, words: "in use"),
        Case(
            testDescription: "drop by drop past the limit",
            steps: [.text(head + "Content-Length: 100\r\n\r\n")]
                + (0..<100).flatMap { _ in [FakeEngine.Step.pause(.milliseconds(20)), .text(" ")] }, reason: .timeout),
    ]

    @Test(arguments: cases) func endsInATypedError(_ item: Case) async throws {
        let timeouts = item.reason == .timeout ? Self.hurry : Self.patience
        try await with(timeouts: timeouts, { _ in item.steps }) { client, _ in
            await expectEngineError(item.reason, item.words) { _ = try await client.info() }
        }
    }

    @Test func aMissingSocketIsUnreachableAtOnce() async throws {
        let client = EngineClient(socketPath: "/nonexistent/docker.sock", group: testGroup)
        let start = ContinuousClock.now
        await expectEngineError(.unreachable, "No such file") { try await client.ping() }
        #expect(ContinuousClock.now - start < .seconds(10))
        await client.shutdown()
    }

    @Test(arguments: [
        ("1.40", "1.12", false), ("1.41", "1.12", true), ("1.47", "1.24", true), ("1.55", "1.44", true),
        ("2.3", "2.0", false), ("banana", "", false),
    ])
    func speaksOnlyVersionsItKnows(newest: String, oldest: String, works: Bool) async throws {
        let version = FakeEngine.answer(#"{"Version":"x","ApiVersion":"\#(newest)","MinAPIVersion":"\#(oldest)"}"#)
        try await with(version: version, timeouts: Self.patience, { _ in [.text(FakeEngine.answer("[]"))] }) {
            client, fake in
            var failure: EngineError?
            do throws(EngineError) { _ = try await client.listImages() } catch { failure = error }
            if works {
                #expect(failure == nil)
                let used = min(APIVersion(newest) ?? .oldestSupported, .newestSupported)
                #expect(fake.requests.last == "GET /v\(used)/images/json?filters=%7B%7D")
            } else {
                #expect(failure?.reason == .version || failure?.reason == .malformed, "\(failure as Any)")
            }
        }
    }

    @Test func aSlowStreamIsNotATimeoutButASilentOneIs() async throws {
        let line = #"{"stream":"Loaded image: a:b\n"}"# + "\n"
        let chunk = String(line.utf8.count, radix: 16) + "\r\n" + line + "\r\n"
        let slow =
            [FakeEngine.Step.text(Self.head + "Transfer-Encoding: chunked\r\n\r\n")]
            + (0..<5).flatMap { _ in [FakeEngine.Step.pause(.milliseconds(700)), .text(chunk)] }
        // Longer than any pause, shorter than all of them together.
        let timeouts = EngineClient.Timeouts(query: .seconds(20), change: .seconds(20), transfer: .seconds(3))
        try await with(timeouts: timeouts, { _ in slow + [.text("0\r\n\r\n")] }) { client, _ in
            let loaded = try await client.loadImage(BodyProducer([1]))
            #expect(loaded.count == 5)
        }
        try await with(timeouts: timeouts, { _ in slow }) { client, _ in
            await expectEngineError(.timeout) { _ = try await client.loadImage(BodyProducer([1])) }
        }
    }

    @Test func aLineWithoutEndIsRefused() async throws {
        let steps: [FakeEngine.Step] = [
            .text(Self.head + "Content-Length: 1099511627776\r\n\r\n"),
            .forever([UInt8](repeating: 0x41, count: 1 << 16)),
        ]
        try await with(timeouts: Self.patience, { _ in steps }) { client, _ in
            await expectEngineError(.tooLarge) { try await client.events { _ in } }
        }
    }

    @Test func anUploadWaitsForTheEngineInsteadOfFillingMemory() async throws {
        let timeouts = EngineClient.Timeouts(query: .seconds(20), change: .seconds(20), transfer: .seconds(2))
        try await with(timeouts: timeouts, { _ in [.stopReading] }) { client, _ in
            let produced = Mutex(0)
            await expectEngineError(.timeout) {
                _ = try await client.loadImage(
                    BodyProducer(length: 1 << 40) {
                        produced.withLock { $0 += 1 << 16 }
                        return [UInt8](repeating: 0, count: 1 << 16)
                    })
            }
            // Socket buffers and one writable window; the producer would have gone on to 1 TiB.
            let bytes = produced.withLock { $0 }
            #expect(bytes > 0 && bytes < 4 << 20, "\(bytes)")
        }
    }

    @Test func aCancelledCallEndsAtOnce() async throws {
        try await with(timeouts: .init(), { _ in [] }) { client, _ in
            let task = Task { try await client.info() }
            try await Task.sleep(for: .milliseconds(50))
            let start = ContinuousClock.now
            task.cancel()
            await expectEngineError(.cancelled) { _ = try await task.value }
            #expect(ContinuousClock.now - start < .seconds(10))
        }
    }

    @Test func aConsumersOwnErrorPassesThrough() async throws {
        struct Enough: Error, Equatable {}
        let event = #"{"Type":"container","Action":"die","Actor":{"ID":"x","Attributes":{}},"timeNano":5}"# + "\n"
        let steps: [FakeEngine.Step] = [.text(Self.head + "\r\n" + event + event)]
        try await with(timeouts: Self.patience, { _ in steps }) { client, _ in
            await #expect(throws: Enough.self) { try await client.events { _ in throw Enough() } }
        }
    }

    @Test(
        arguments: [
            ([0x01, 0, 0, 0, 0, 0, 0, 5, 0x61], EngineError.Reason.truncated),
            ([0x07, 0, 0, 0, 0, 0, 0, 1, 0x61], .malformed), ([0x01, 9, 0, 0, 0, 0, 0, 1, 0x61], .malformed),
            ([0x01, 0, 0], .truncated),
        ] as [([UInt8], EngineError.Reason)])
    func brokenLogFramesAreRefused(_ bytes: [UInt8], _ reason: EngineError.Reason) async throws {
        let details =
            #"{"Id":"i","Name":"/n","Image":"sha256:x","State":{"Status":"running"},"Config":{"Tty":false},"HostConfig":{}}"#
        let answer: @Sendable (String) -> [FakeEngine.Step] = { request in
            request.contains("/logs")
                ? [.text(Self.head + "Content-Length: \(bytes.count)\r\n\r\n"), .bytes(bytes)]
                : [.text(FakeEngine.answer(details))]
        }
        try await with(timeouts: Self.patience, answer) { client, _ in
            await expectEngineError(reason) { try await client.containerLogs("n") { _ in } }
        }
    }

    @Test func numbersBeyondSixtyThreeBitsAreRead() async throws {
        let stats =
            #"{"memory_stats":{"usage":5000,"limit":18446744073709551615,"stats":{"inactive_file":1000}},"pids_stats":{"current":3,"limit":18446744073709551615}}"#
        try await with(timeouts: Self.patience, { _ in [.text(FakeEngine.answer(stats))] }) { client, _ in
            let read = try await client.containerStats("any")
            #expect(read.memory == 4000 && read.memoryLimit == nil && read.processes == 3)
        }
    }

    @Test func everyErrorSaysWhetherTryingAgainHelps() {
        for reason in EngineError.Reason.allCases {
            let error = EngineError(reason, operation: "do it", detail: "words")
            #expect(error.code == "engine.\(reason.rawValue)" && error.message == "cannot do it: words")
            #expect(error.exitStatus != .success)
        }
        #expect(EngineError(.unreachable, operation: "", detail: "").isRetryable)
        #expect(!EngineError(.badRequest, operation: "", detail: "").isRetryable)
    }
}
