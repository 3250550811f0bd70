import Base
import Dispatch
import HTTPTestSupport
import HubHTTP
import HubProtocol
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import TestSupport
import Testing
import WireGuard

/// What a stranger can do to a listener, over real sockets.
@Suite(.serialized) struct HTTPListenerTests {
    private struct Echo: HTTPResponder {
        let file: String?

        func accept(_ request: HTTPRequest) -> HTTPAcceptance {
            switch request.target {
            case "/now": return .answer(HTTPAnswer(type: "text/plain", Array("now".utf8)))
            case "/file":
                guard let file, let opened = try? OpenedFile(path: file) else { return .answer(HTTPAnswer(.notFound)) }
                let part: Range<Int64>
                switch ByteRange(request.headers.first(name: "Range"), size: opened.size) {
                case .part(let range): part = range
                default: part = 0..<opened.size
                }
                return .answer(HTTPAnswer(.ok, body: .file(opened, range: part, pace: nil)))
            case "/stream": return .stream { await Self.counted($0) }
            case "/late":
                return .stream { body in
                    try? await Task.sleep(for: .milliseconds(200))
                    return await Self.counted(body)
                }
            default: return .collect(limit: 1_000) { HTTPAnswer(type: "text/plain", Array("\($0.count)".utf8)) }
            }
        }

        private static func counted(_ body: HTTPBody) async -> HTTPAnswer {
            var count = 0
            do {
                while let piece = try await body.next() { count += piece.readableBytes }
            } catch {
                return HTTPAnswer(.badRequest)
            }
            return HTTPAnswer(type: "text/plain", Array("\(count)".utf8))
        }
    }

    /// Runs a listener while `body` talks to its port.
    private func withListener(
        file: String? = nil, _ bounds: HTTPBounds = HTTPBounds(), _ body: (UInt16) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let address = try #require(IPAddress("127.0.0.1"))
        let listener = try await HTTPListener.start(
            on: address, port: 0, bounds: bounds, group: group,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, responder: Echo(file: file))
        do {
            try await body(listener.port)
        } catch {
            await listener.stop()
            try? await group.shutdownGracefully()
            throw error
        }
        await listener.stop()
        try? await group.shutdownGracefully()
    }

    /// Sends bytes and reads until the other side closes.
    private func exchange(_ port: UInt16, _ text: String) async throws -> String {
        String(decoding: try await RudeClient.converse(port, Array(text.utf8)), as: UTF8.self)
    }

    @Test func severalRequestsShareAConnection() async throws {
        try await withListener { port in
            let answer = try await exchange(
                port,
                "GET /now HTTP/1.1\r\nHost: x\r\n\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                    + "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            #expect(answer.ranges(of: "HTTP/1.1 200 OK").count == 3)
            #expect(answer.contains("\r\n\r\n3"))
        }
    }

    @Test(arguments: [
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nX: " + String(repeating: "a", count: 9_000) + "\r\n\r\n", "431"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\n"
                + (0..<100).map { "X\($0): 1\r\n" }.joined() + "\r\n", "431"
        ),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", "413"),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n"
                + String(repeating: "a", count: 1_024) + "\r\n0\r\n\r\n", "413"
        ),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
        ("GET /now HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "200"),
        ("GET /now HTTP/1.1\r\n\r\n", "400"),
        ("GET /now HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
        ("GET /now HTTP/1.0\r\n\r\n", "200"),
    ])
    func whatIsOutOfBoundsIsRefusedAndTheConnectionEnds(request: String, status: String) async throws {
        try await withListener { port in
            let answer = try await exchange(port, request)
            #expect(answer.hasPrefix("HTTP/1.1 \(status)"), "\(answer.prefix(80))")
        }
    }

    @Test func aSlowHeadAndASlowBodyEnd() async throws {
        var bounds = HTTPBounds()
        bounds.firstHead = 1
        bounds.body = 1
        try await withListener(bounds) { port in
            #expect(try await exchange(port, "GET /now HT") == "")
            let body = try await exchange(port, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            #expect(body.hasPrefix("HTTP/1.1 408"))
        }
    }

    @Test func oneAddressHasOnlySoManyConnections() async throws {
        var bounds = HTTPBounds()
        bounds.connectionsPerPeer = 2
        try await withListener(bounds) { port in
            let held = try (0..<2).map { _ in try RudeClient(port: port) }
            for client in held {
                client.send(Array("GET /now HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
                #expect(client.readSome().contains("200"))
            }
            #expect(try await exchange(port, "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == "")
        }
    }

    @Test func aFileGoesOutWholeOrInPart() async throws {
        let folder = try TemporaryDirectory()
        let content = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try FileSystem().replace(folder.path + "/blob", with: content, op: "test")
        try await withListener(file: folder.path + "/blob") { port in
            let whole = try await RudeClient.converse(
                port, Array("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8))
            #expect(whole.suffix(content.count).elementsEqual(content))
            let part = try await exchange(
                port, "GET /file HTTP/1.1\r\nHost: x\r\nRange: bytes=10-12\r\nConnection: close\r\n\r\n")
            #expect(part.contains("Content-Length: 3\r\n"))
        }
    }

    /// The whole body arrives before its reader takes any of it: reading is paused when its end comes.
    @Test func aBodyThatWasAheadOfItsReaderDoesNotStopTheNextRequest() async throws {
        var bounds = HTTPBounds()
        bounds.waiting = 1
        bounds.idle = 5
        try await withListener(bounds) { port in
            let answers = try await withCheckedThrowingContinuation { continuation in
                DispatchQueue.global().async {
                    continuation.resume(
                        with: Result {
                            let client = try RudeClient(port: port)
                            client.send(
                                Array("POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789".utf8))
                            let first = client.readSome()
                            client.send(Array("GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8))
                            return [first, String(decoding: client.readAll(), as: UTF8.self)]
                        })
                }
            }
            #expect(answers[0].hasSuffix("\r\n\r\n10"))
            #expect(answers[1].hasSuffix("\r\n\r\nnow"))
        }
    }

    @Test func aStreamedBodyIsReadAsItComes() async throws {
        try await withListener { port in
            let count = 5_000_000
            let answer = try await exchange(
                port,
                "POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: \(count)\r\nConnection: close\r\n\r\n"
                    + String(repeating: "a", count: count))
            #expect(answer.hasSuffix("\r\n\r\n\(count)"))
        }
    }
}

@Suite struct ByteRangeTests {
    @Test(
        arguments: [
            (nil, ByteRange.whole), ("bytes=0-9", .part(0..<10)), ("bytes=5-", .part(5..<100)),
            ("bytes=-10", .part(90..<100)),
            ("bytes=-1000", .part(0..<100)), ("bytes=90-1000", .part(90..<100)), ("bytes=100-", .unsatisfiable),
            ("bytes=-0", .unsatisfiable), ("bytes=9-5", .whole), ("bytes=0-1,5-6", .whole), ("items=0-1", .whole),
            ("bytes=a-b", .whole), ("bytes=", .whole), ("bytes=99999999999999999999-", .whole),
        ] as [(String?, ByteRange)])
    func aRangeIsReadAsTheStandardHasIt(field: String?, range: ByteRange) {
        #expect(ByteRange(field, size: 100) == range)
    }

    @Test func entityTagsAreFoundInLists() {
        #expect(EntityTags.match([#""a", W/"b""#], #""b""#))
        #expect(EntityTags.match(["*"], #""b""#))
        #expect(!EntityTags.match([#""ab""#], #""b""#))
    }
}
