import Base
import Glibc
import HTTPTestSupport
import NIOCore
import NIOHTTP1
import NIOPosix
import PlainHTTP
import Synchronization
import TestSupport
import Testing

private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

/// Generous: nothing here waits for it but a fault.
private let patience = ExchangeLimits(total: .seconds(30))

@Suite(.timeLimit(.minutes(1))) struct PlainHTTPTests {
    /// A server on loopback, and where it is.
    private func serve(
        on address: String = "127.0.0.1", _ steps: @escaping @Sendable (String) -> [ScriptedServer.Step],
        _ body: (PlainHTTPClient, HTTPEndpoint, ScriptedServer) async throws -> Void
    ) async throws {
        let server = try await ScriptedServer(.tcp(address: address), group: group, answer: steps)
        let outcome: Result<Void, any Error>
        do {
            let endpoint = HTTPEndpoint.tcp(.init(address: address, port: server.port))
            outcome = .success(try await body(PlainHTTPClient(group: group), endpoint, server))
        } catch { outcome = .failure(error) }
        try await server.stop()
        try outcome.get()
    }

    private func text(
        _ client: PlainHTTPClient, _ request: HTTPRequest, _ endpoint: HTTPEndpoint,
        _ limits: ExchangeLimits = patience
    ) async throws -> String {
        try await client.perform(request, at: endpoint, limits: limits) { response in
            "\(response.status) " + String(buffer: try await response.collect(maximum: 1 << 20))
        }
    }

    @Test(arguments: ["127.0.0.1", "::1"]) func asksOverBothFamiliesAndNamesTheHost(_ address: String) async throws {
        try await serve(on: address, { _ in [.text(ScriptedServer.answer("hello"))] }) { client, endpoint, server in
            let request = HTTPRequest(
                .GET, "/v1/poll?x=1", headers: ["If-None-Match": "\"7\"", "Range": "bytes=10-"])
            let answer = try await text(client, request, endpoint)
            #expect(answer == "200 hello")
            let asked = try #require(server.requests.first)
            let host = address.contains(":") ? "[::1]:\(server.port)" : "127.0.0.1:\(server.port)"
            #expect(asked.hasPrefix("GET /v1/poll?x=1 HTTP/1.1\r\n"))
            for line in ["Host: \(host)", "If-None-Match: \"7\"", "Range: bytes=10-", "Connection: close"] {
                #expect(asked.contains("\r\n\(line)\r\n"), "\(asked)")
            }
            #expect(!asked.lowercased().contains("content-length") && !asked.lowercased().contains("transfer-encoding"))
        }
    }

    @Test func asksOverAUnixSocket() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("s.sock")
        let server = try await ScriptedServer(.unixSocket(path: path), group: group) { _ in
            [.text(ScriptedServer.answer("over a socket"))]
        }
        let answer = try await text(PlainHTTPClient(group: group), HTTPRequest(.GET, "/"), .unixSocket(path: path))
        #expect(answer == "200 over a socket")
        try await server.stop()
    }

    @Test func sendsFromTheAddressThatItWasGiven() async throws {
        try await serve({ _ in [.text(ScriptedServer.answer(""))] }) { client, endpoint, server in
            let bound = HTTPEndpoint.tcp(.init(address: "127.0.0.1", port: server.port, source: "127.0.0.9"))
            let answer = try await text(client, HTTPRequest(.GET, "/"), bound)
            #expect(answer == "200 ")
            #expect(server.clients == ["127.0.0.9"])
        }
    }

    @Test(.enabled(if: geteuid() == 0, "binding to an interface needs root"))
    func sendsThroughTheInterfaceThatItWasGiven() async throws {
        try await serve({ _ in [.text(ScriptedServer.answer(""))] }) { client, endpoint, server in
            var address = HTTPEndpoint.TCPAddress(address: "127.0.0.1", port: server.port, interface: "lo")
            let answer = try await text(client, HTTPRequest(.GET, "/"), .tcp(address))
            #expect(answer == "200 ")
            for name in ["no-such-if0", "a-name-that-is-far-too-long", ""] {
                address.interface = name
                await #expect(throws: HTTPError.self, "\(name)") {
                    _ = try await text(client, HTTPRequest(.GET, "/"), .tcp(address))
                }
            }
        }
    }

    @Test func postsBytesWithTheirLengthAndStreamsInChunks() async throws {
        // Answers only once the body has come, so that the whole request is there to look at.
        let answer = ScriptedServer.answer("taken")
        try await serve({ _ in [.pause(.milliseconds(300)), .text(answer)] }) { client, endpoint, server in
            let bytes = HTTPRequest(.POST, "/report", body: .bytes(Array("{\"a\":1}".utf8)))
            let ofBytes = try await text(client, bytes, endpoint)
            #expect(ofBytes == "200 taken")
            let pieces = Mutex(["one", "two", "three"])
            let stream = HTTPRequest(
                .POST, "/report",
                body: .stream(length: nil) {
                    pieces.withLock { $0.isEmpty ? nil : Array($0.removeFirst().utf8) }
                })
            let ofStream = try await text(client, stream, endpoint)
            #expect(ofStream == "200 taken")
            let empty = HTTPRequest(.POST, "/nothing")
            let ofEmpty = try await text(client, empty, endpoint)
            #expect(ofEmpty == "200 taken")
            let requests = server.requests
            #expect(requests[0].contains("Content-Length: 7\r\n") && requests[0].hasSuffix("\r\n\r\n{\"a\":1}"))
            #expect(requests[1].lowercased().contains("transfer-encoding: chunked\r\n"))
            #expect(requests[1].hasSuffix("\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"), "\(requests[1])")
            #expect(requests[2].contains("Content-Length: 0\r\n"), "\(requests[2])")
        }
    }

    @Test func aBodyOfAnotherLengthThanWasSaidIsRefused() async throws {
        try await serve({ _ in [] }) { client, endpoint, _ in
            for length in [Int64(2), 4] {
                let pieces = Mutex([[UInt8]]([[1, 2, 3]]))
                let request = HTTPRequest(
                    .POST, "/",
                    body: .stream(length: length) { pieces.withLock { $0.isEmpty ? nil : $0.removeFirst() } })
                await expect(.producer) { _ = try await text(client, request, endpoint) }
            }
        }
    }

    @Test func theProducersOwnErrorComesThrough() async throws {
        struct Broken: Error {}
        try await serve({ _ in [] }) { client, endpoint, _ in
            let request = HTTPRequest(.POST, "/", body: .stream(length: nil) { throw Broken() })
            await #expect(throws: Broken.self) { _ = try await text(client, request, endpoint) }
        }
    }

    @Test func anAnswerThatComesBeforeTheUploadIsDoneEndsIt() async throws {
        try await serve({ _ in [.stopReading, .text(ScriptedServer.answer("no", status: "413 Large"))] }) {
            client, endpoint, _ in
            let request = HTTPRequest(
                .POST, "/", body: .stream(length: 1 << 40) { [UInt8](repeating: 0, count: 1 << 16) })
            let answer = try await text(client, request, endpoint)
            #expect(answer == "413 no")
        }
    }

    @Test func aConsumerThatIsSlowHoldsTheServerBack() async throws {
        let block = [UInt8](repeating: 0x61, count: 1 << 16)
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n"
        try await serve({ _ in [.text(head), .forever(block)] }) { client, endpoint, _ in
            struct Enough: Error {}
            await #expect(throws: Enough.self) {
                try await client.perform(HTTPRequest(.GET, "/"), at: endpoint, limits: patience) { response in
                    var largest = 0
                    for _ in 0..<20 {
                        let piece = try #require(try await response.next())
                        largest = max(largest, piece.readableBytes)
                    }
                    #expect(largest <= 1 << 20)
                    throw Enough()
                }
            }
        }
    }

    @Test func anAnswerWithoutABodyNeedsNoLength() async throws {
        for (status, request) in [("304 Not Modified", HTTPRequest(.GET, "/")), ("204 None", HTTPRequest(.POST, "/"))] {
            try await serve({ _ in [.text("HTTP/1.1 \(status)\r\nETag: \"8\"\r\n\r\n")] }) { client, endpoint, _ in
                let answer = try await client.perform(request, at: endpoint, limits: patience) { response in
                    (response.headers.first(name: "etag"), try await response.next() == nil)
                }
                #expect(answer.0 == "\"8\"" && answer.1)
            }
        }
    }

    struct Hostile: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var steps: [ScriptedServer.Step]
        var reason: HTTPError.Reason
        var limits = patience

        init(
            _ name: String, _ reason: HTTPError.Reason, _ steps: [ScriptedServer.Step],
            _ limits: ExchangeLimits = patience
        ) {
            testDescription = name
            self.reason = reason
            self.steps = steps
            self.limits = limits
        }
    }

    private static let ok = "HTTP/1.1 200 OK\r\n"
    private static let soon = ExchangeLimits(total: .milliseconds(300))
    private static let silent = ExchangeLimits(silence: .milliseconds(300))
    private static let drops = (0..<200).flatMap { _ in [ScriptedServer.Step.pause(.milliseconds(20)), .text("a")] }
    static let hostile: [Hostile] = [
        Hostile("silence", .timeout, [], silent),
        Hostile("silence within a total", .timeout, [], soon),
        Hostile("half a head, then silence", .timeout, [.text("HTTP/1.1 200 OK\r\nContent-")], silent),
        Hostile("drop by drop past the total", .timeout, [.text(ok + "Content-Length: 1000\r\n\r\n")] + drops, soon),
        Hostile(
            "drop by drop below the rate", .tooSlow, [.text(ok + "Content-Length: 1000\r\n\r\n")] + drops,
            ExchangeLimits(total: .seconds(30), minimumRate: 1000, grace: .seconds(1))),
        Hostile("closed at once", .truncated, [.close]),
        Hostile("closed within the head", .truncated, [.text("HTTP/1.1 200 OK\r\nConte"), .close]),
        Hostile("a short body", .truncated, [.text(ok + "Content-Length: 10\r\n\r\nabc"), .close]),
        Hostile("a cut chunk", .truncated, [.text(ok + "Transfer-Encoding: chunked\r\n\r\nff\r\nabc"), .close]),
        Hostile("no last chunk", .truncated, [.text(ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), .close]),
        Hostile("another protocol", .malformed, [.text("SSH-2.0-OpenSSH_9.2\r\n\r\n")]),
        Hostile("a TLS alert", .malformed, [.bytes([0x15, 3, 1, 0, 2, 2, 70])]),
        Hostile("HTTP/2", .malformed, [.text("HTTP/2.0 200 OK\r\n\r\n")]),
        Hostile("a status of no number", .malformed, [.text("HTTP/1.1 abc OK\r\n\r\n")]),
        Hostile(
            "a switch of protocols", .malformed, [.text("HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")]
        ),
        Hostile("a length of no number", .malformed, [.text(ok + "Content-Length: ten\r\n\r\n")]),
        Hostile("a negative length", .malformed, [.text(ok + "Content-Length: -1\r\n\r\n")]),
        Hostile("a length beyond 64 bits", .malformed, [.text(ok + "Content-Length: 99999999999999999999\r\n\r\n")]),
        Hostile("two lengths", .malformed, [.text(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")]),
        Hostile(
            "a length and chunks", .malformed,
            [.text(ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]),
        Hostile("a chunk size of no number", .malformed, [.text(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n")]),
        Hostile(
            "a chunk size beyond 64 bits", .malformed,
            [.text(ok + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")]),
        Hostile("a header without a name", .malformed, [.text(ok + ": x\r\n\r\n")]),
        Hostile("a header with a zero", .malformed, [.text(ok + "A: b\u{0}c\r\n\r\n")]),
        Hostile("too many headers", .malformed, [.text(ok), .endless("A: b\r\n")]),
        Hostile("a header without end", .malformed, [.text(ok + "A: "), .endless("a")]),
        Hostile(
            "trailers without end", .malformed,
            [.text(ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n"), .endless("A: b\r\n")]),
        Hostile(
            "a body without end", .tooLarge,
            [.text(ok + "\r\n"), .endless("a")]),
        Hostile(
            "provisional answers without end", .timeout, [.endless("HTTP/1.1 100 Continue\r\n\r\n")], soon),
    ]

    @Test(arguments: hostile) func endsInATypedError(_ item: Hostile) async throws {
        try await serve({ _ in item.steps }) { client, endpoint, _ in
            await expect(item.reason) { _ = try await text(client, HTTPRequest(.GET, "/"), endpoint, item.limits) }
        }
    }

    @Test func nobodyListeningIsKnownAtOnce() async throws {
        let client = PlainHTTPClient(group: group)
        await expect(.connection, ENOENT) {
            _ = try await text(client, HTTPRequest(.GET, "/"), .unixSocket(path: "/nonexistent/s.sock"))
        }
        let server = try await ScriptedServer(.tcp(address: "127.0.0.1"), group: group) { _ in [] }
        let endpoint = HTTPEndpoint.tcp(.init(address: "127.0.0.1", port: server.port))
        try await server.stop()
        await expect(.connection, ECONNREFUSED) { _ = try await text(client, HTTPRequest(.GET, "/"), endpoint) }
    }

    @Test func whatIsNoAddressIsRefused() async throws {
        let client = PlainHTTPClient(group: group)
        for endpoint in [
            HTTPEndpoint.unixSocket(path: "/" + String(repeating: "a", count: 108)),
            .tcp(.init(address: "hub.example", port: 80)), .tcp(.init(address: "127.0.0.1", port: 80, source: "eth0")),
        ] {
            await expect(.argument) { _ = try await text(client, HTTPRequest(.GET, "/"), endpoint) }
        }
    }

    @Test func aRequestCannotSmuggleAnother() async throws {
        try await serve({ _ in [.text(ScriptedServer.answer(""))] }) { client, endpoint, server in
            let request = HTTPRequest(.GET, "/", headers: ["X": "a\r\nHost: other"])
            await #expect(throws: (any Error).self) {
                _ = try await text(client, request, endpoint, ExchangeLimits(total: .seconds(5)))
            }
            #expect(server.requests.isEmpty)
        }
    }

    @Test func cancellationEndsAnExchangeAtOnce() async throws {
        try await serve({ _ in [] }) { client, endpoint, _ in
            let task = Task { try await text(client, HTTPRequest(.GET, "/"), endpoint, ExchangeLimits()) }
            try await Task.sleep(for: .milliseconds(50))
            task.cancel()
            await #expect(throws: CancellationError.self) { _ = try await task.value }
        }
    }

    @Test func exchangesBeyondTheLimitAreRefusedAndEndedOnesMakeRoom() async throws {
        try await serve({ $0.hasPrefix("GET /wait") ? [] : [.text(ScriptedServer.answer("in"))] }) {
            client, endpoint, server in
            let waiting = (0..<PlainHTTPClient.exchangeLimit).map { _ in
                Task { try await text(client, HTTPRequest(.GET, "/wait"), endpoint, ExchangeLimits()) }
            }
            while server.requests.count < waiting.count { try await Task.sleep(for: .milliseconds(10)) }
            await expect(.busy) { _ = try await text(client, HTTPRequest(.GET, "/"), endpoint) }
            client.closeAll()
            for task in waiting { await expect(.truncated) { _ = try await task.value } }
            let answer = try await text(client, HTTPRequest(.GET, "/"), endpoint)
            #expect(answer == "200 in")
        }
    }

    private func expect(
        _ reason: HTTPError.Reason, _ errorNumber: Int32? = nil, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () async throws -> Void
    ) async {
        do {
            try await body()
            Issue.record("no error where \(reason) was expected", sourceLocation: sourceLocation)
        } catch let error as HTTPError {
            #expect(error.reason == reason, "\(error)", sourceLocation: sourceLocation)
            if let errorNumber { #expect(error.errorNumber == errorNumber, sourceLocation: sourceLocation) }
        } catch {
            Issue.record("\(error) where \(reason) was expected", sourceLocation: sourceLocation)
        }
    }
}
