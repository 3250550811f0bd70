import AgentTestSupport
import Base
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import AgentCore

/// An engine that holds a port which no container has, and the program that a person named to restart it.
@Suite struct LostPortTests {
    private static let words =
        "driver failed programming external connectivity: Bind for 0.0.0.0:8080 failed: port is already allocated"

    private func failure(_ detail: String = words) -> EngineFailure {
        EngineFailure(.portInUse, operation: "start web", detail: detail)
    }

    @Test func onlyAPortThatTheEngineItselfHoldsIsLost() throws {
        #expect(LostPort(failure())?.port == 8080)
        #expect(LostPort(failure("Bind for [::]:443 failed: port is already allocated"))?.port == 443)
        #expect(LostPort(failure("listen tcp4 0.0.0.0:8080: bind: address already in use")) == nil)
        #expect(LostPort(failure("Bind for nothing failed: port is already allocated")) == nil)
        #expect(LostPort(EngineFailure(.conflict, operation: "", detail: Self.words)) == nil)
    }

    @Test func aBoundPortIsSeenInTheKernelsTables() throws {
        let folder = try TemporaryDirectory()
        let head = "  sl  local_address rem_address   st\n"
        for (name, line) in [
            ("tcp", "   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 0100007F:0050 0100007F:9999 01 0\n"), ("udp", ""),
            ("udp6", "   0: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 0\n"),
        ] {
            try FileSystem().replace(folder.file(name), with: Array((head + line).utf8), op: "test")
        }
        #expect(LostPort.isBound(8080, tables: folder.path))
        #expect(LostPort.isBound(53, tables: folder.path))
        #expect(!LostPort.isBound(80, tables: folder.path), "a connection is no listener")
        #expect(LostPort.isBound(80, tables: folder.file("none")), "what cannot be read proves nothing")
    }

    /// A device whose engine refuses the start until it is restarted; answers how often it was.
    private func play(
        isBound: Bool = false, fails: Int = 1, seconds: Int = 60, isRestarted: Bool = true
    ) async throws -> (restarts: Int, isSettled: Bool) {
        let bench = try Bench()
        let engine = bench.device.engine
        let restarts = Mutex(0)
        let fault = failure()
        let restart = EngineRestart(
            restart: {
                let count = restarts.withLock { value in
                    value += 1
                    return value
                }
                if count >= fails { engine.update { $0.faults["start"] = nil } }
                guard isRestarted else { throw AgentError(.configuration, "no") }
            }, isBound: { _ in isBound })
        let process = try await bench.device.boot(restartEngine: restart)
        try await bench.provision(process)
        try bench.lab.publish(bench.v1())
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        let victim = try #require(engine.running().first { $0.service == "web" })
        engine.update { $0.faults["start"] = Array(repeating: fault, count: 10_000) }
        engine.kill(victim.name)
        var isSettled = false
        for _ in 0..<seconds where !isSettled { isSettled = try await bench.device.converge(process, limit: 1) }
        return (restarts.withLock { $0 }, isSettled)
    }

    @Test func theEngineIsRestartedOnceAndTheServiceStarts() async throws {
        let end = try await play()
        #expect(end.restarts == 1 && end.isSettled)
    }

    @Test func nothingIsRestartedWhileSomethingIsBoundToThePort() async throws {
        let end = try await play(isBound: true)
        #expect(end.restarts == 0 && !end.isSettled)
    }

    @Test func restartsAreFewAndFarBetween() async throws {
        let short = try await play(fails: .max, seconds: 500)
        #expect(short.restarts == 1 && !short.isSettled)
        let long = try await play(fails: .max, seconds: 6_000, isRestarted: false)
        #expect(long.restarts == EngineRestart.limit && !long.isSettled)
    }

    @Test func aProgramThatOthersMayWriteIsNotRun() async throws {
        let folder = try TemporaryDirectory()
        let program = folder.file("restart")
        func run() async throws {
            try await RestartProgram(path: program, clock: .live, heartbeat: Heartbeat(clock: .live)).run()
        }
        await #expect(throws: AgentError.self) { try await run() }
        let script = "#!/bin/sh\necho ran > \"\(folder.file("ran"))\"\n"
        try FileSystem().replace(program, with: Array(script.utf8), mode: 0o755, op: "test")
        try await run()
        #expect(try FileSystem().read(folder.file("ran"), limit: 10).elementsEqual("ran\n".utf8))
        chmod(program, 0o757)
        await #expect(throws: AgentError.self) { try await run() }
        try FileSystem().replace(program, with: Array("#!/bin/sh\nexit 3\n".utf8), mode: 0o755, op: "test")
        await #expect(throws: AgentError.self) { try await run() }
    }
}
