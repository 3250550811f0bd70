import AgentCore
import Base
import Glibc
import Logging
import Model
import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

@Suite struct LocalAPITests {
    /// Serves `handler` while `body` runs with a client.
    private func serve(
        _ handler: @escaping LocalServer.Handler, body: @escaping @Sendable (LocalClient) async throws -> Void
    ) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("agent.sock")
        let server = LocalServer(
            path: path, group: "", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, handler: handler)
        let (ready, signal) = AsyncStream<Void>.makeStream()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                do {
                    try await server.run(on: MultiThreadedEventLoopGroup.singleton) { signal.finish() }
                } catch is CancellationError {}
            }
            for await _ in ready {}
            // The client blocks: not on the pool that serves.
            try await NIOThreadPool.singleton.runIfActive {}
            try await body(LocalClient(path: path))
            group.cancelAll()
        }
    }

    private static func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value
    {
        try await NIOThreadPool.singleton.runIfActive(body)
    }

    @Test func aDocumentAndItsQueryAndBodyTravel() async throws {
        try await serve { request in
            .document([
                "path": .string(request.path), "q": .string(request.query["a b"] ?? ""),
                "body": try JSONValue(parsing: request.body), "uid": .integer(Int64(request.peer.uid)),
                "pid": .integer(Int64(request.peer.pid)),
            ])
        } body: { client in
            let answer = try await Self.blocking {
                try client.document("POST", "/v1/x", query: ["a b": "ö&=1"], body: ["k": [1, 2]])
            }
            #expect(answer["path"] == "/v1/x")
            #expect(answer["q"] == "ö&=1")
            #expect(answer["body"] == ["k": [1, 2]])
            #expect(answer["uid"]?.integer == Int64(geteuid()))
            #expect(answer["pid"]?.integer == Int64(getpid()))
        }
    }

    @Test func aStreamArrivesLineByLineAndEndsWithItsError() async throws {
        try await serve { _ in
            let counter = Counter()
            return .stream(
                PullSequence {
                    {
                        let number = await counter.next()
                        if number > 1000 { throw AgentError(.noSpace, "no room", hint: "make some") }
                        return ["n": .integer(number)]
                    }
                })
        } body: { client in
            let (count, error) = try await Self.blocking {
                var count = 0
                do {
                    try client.call("GET", "/v1/s") { _ in count += 1 }
                    return (count, RemoteError?.none)
                } catch let error as RemoteError {
                    return (count, error)
                }
            }
            #expect(count == 1000)
            #expect(error?.code == "agent.no-space")
            #expect(error?.hint == "make some")
            #expect(error?.exitStatus == .ioError)
        }
    }

    /// A caller that reads more slowly than the agent writes has all of the answer too.
    @Test func aSlowReaderMissesNothing() async throws {
        try await serve { _ in
            let counter = Counter()
            return .stream(
                PullSequence {
                    {
                        let number = await counter.next()
                        return number > 2_000 ? nil : ["n": .string(String(repeating: "n", count: 200))]
                    }
                })
        } body: { client in
            let count = try await Self.blocking {
                var count = 0
                try client.call("GET", "/v1/s") { _ in
                    count += 1
                    usleep(200)
                }
                return count
            }
            #expect(count == 2_000)
        }
    }

    private actor Counter {
        private var value: Int64 = 0
        func next() -> Int64 {
            value += 1
            return value
        }
    }

    @Test func aBodyThatIsTooLargeIsRefused() async throws {
        try await serve { _ in
            .document([:])
        } body: { client in
            let error = try await Self.blocking { () -> (any CodedError)? in
                do {
                    _ = try client.document(
                        "POST", "/", body: .string(String(repeating: "x", count: LocalRequest.bodyLimit)))
                    return nil
                } catch let error as any CodedError {
                    return error
                }
            }
            // Refused with a word, or cut off in the middle of sending.
            #expect(["agent.invalid-request", "agent.no-agent", "agent.bad-answer"].contains(error?.code ?? ""))
        }
    }

    @Test func theSocketIsClosedToOthers() async throws {
        try await serve { _ in
            .document([:])
        } body: { client in
            let status = try FileSystem().status(client.path)
            #expect(status?.mode == 0o660)
        }
    }

    @Test func whatIsMadeMeanwhileKeepsItsMode() async throws {
        let directory = try TemporaryDirectory()
        let opened = Mutex(0)
        let opening = Task {
            while !Task.isCancelled {
                do { try await serve({ _ in .document([:]) }, body: { _ in }) } catch is CancellationError { break }
                opened.withLock { $0 += 1 }
            }
        }
        try await Self.blocking {
            let (path, end) = (directory.file("made"), ContinuousClock.now + .seconds(60))
            while opened.withLock({ $0 }) < 20, ContinuousClock.now < end {
                try #require(mkdir(path, 0o700) == 0)
                try #require(try FileSystem().status(path)?.mode == 0o700)
                rmdir(path)
            }
        }
        opening.cancel()
        try await opening.value
        #expect(opened.withLock { $0 } > 0)
    }

    @Test func noAgentIsSaidSo() throws {
        let error = #expect(throws: AgentError.self) {
            _ = try LocalClient(path: "/nonexistent/agent.sock").document("GET", "/v1/status")
        }
        #expect(error?.code == "agent.no-agent")
        #expect(error?.exitStatus == .unavailable)
    }

    @Test(arguments: ["relative", "/x?%zz", "/x?a=%f"])
    func aTargetThatCannotBeReadIsNone(target: String) {
        #expect(LocalRequest(method: "GET", target: target, body: [], peer: .init(pid: 1, uid: 0, gid: 0)) == nil)
    }
}
