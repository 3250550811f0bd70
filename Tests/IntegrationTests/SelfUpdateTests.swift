import Base
import EngineTestSupport
import Glibc
import Model
import Synchronization
import TestSupport
import Testing

/// Starts the agent again whenever it ends, as an init system does.
private final class Supervisor: Sendable {
    private let site: AgentSite
    private let child = Mutex<ChildProcess?>(nil)
    private let isStopped = Atomic(false)
    private let task = Mutex<Task<Void, any Error>?>(nil)

    init(_ site: AgentSite) {
        self.site = site
        task.withLock {
            $0 = Task { [unowned self] in
                while !isStopped.load(ordering: .acquiring) {
                    let next = try site.spawn()
                    child.withLock { $0 = next }
                    while next.poll() == nil { try await Task.sleep(for: .milliseconds(50)) }
                    try await Task.sleep(for: .milliseconds(200))
                }
            }
        }
    }

    /// As a power cut: no chance to do anything.
    func cut() { child.withLock { $0 }?.send(SIGKILL) }

    func errors() -> String { child.withLock { $0 }?.errorOutput() ?? "" }

    func stop() async {
        isStopped.store(true, ordering: .releasing)
        child.withLock { $0 }?.send(SIGTERM)
        try? await task.withLock { $0 }?.value
    }
}

/// The agent replaces itself by signed releases of its own program; real processes, real engine, one workload.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isAvailable, PrivateEngine.skipMessage),
    .timeLimit(.minutes(6)))
struct SelfUpdateTests {
    private func publish(_ site: AgentSite, _ version: String, _ program: [UInt8], trailer: String? = nil) async throws
    {
        let file = site.folder.file("agent-\(version)")
        if let trailer {
            // A program is the same with bytes behind its end, and has another digest.
            let copied = try await Command.run(["cp", "--reflink=auto", try product("holdfast-agent"), file])
            #expect(copied.status == 0)
            try FileSystem().append(file, op: "test").write(Array(trailer.utf8))
        } else {
            try FileSystem().replace(file, with: program, mode: 0o755, op: "test")
        }
        try await site.operate([
            "release", "build-agent", file, "--version", version, "--arch", "amd64", "--repo", site.folder.file("repo"),
            "--keys", site.folder.file("keys"), "--stable", "1",
        ])
        try await site.operate([
            "bundle", "export", site.folder.file("repo"), "--release", "holdfast-agent/\(version)", "-o",
            site.stick("agent-\(version)"),
        ])
    }

    private func version(_ site: AgentSite) async throws -> String? {
        let status = try await site.agent(["status", "--output", "json"])
        guard status.status <= 1, let json = try? JSONValue(parsing: status.output.utf8) else { return nil }
        return json["agent"]?["version"]?.string
    }

    private func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(90)
        while ContinuousClock.now < deadline {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(200))
        }
        throw Command.Failed(description: "never: \(what)")
    }

    @Test func goodAgentsStayBadOnesLeaveAndTheWorkloadNoticesNothing() async throws {
        let site = try await AgentSite(try PrivateEngine.current)
        try await site.publish("1.0.0", base: try await PrivateEngine.busyboxTar())
        let supervisor = Supervisor(site)
        try await eventually("the agent answers") { try await site.agent(["status"]).status <= 1 }
        try await site.provision()
        #expect(try await site.agent(["import", site.stick("1.0.0"), "--wait"]).status == 0)
        let before = try await site.containers()

        try await publish(site, "1.1.0", [], trailer: "one")
        let good = try await site.agent(
            ["import", site.stick("agent-1.1.0"), "--app", "holdfast-agent", "--wait", "--timeout", "90"], limit: .seconds(120))
        #expect(good.status == 0, "\(good.errorOutput)\(good.output)\(supervisor.errors())")
        #expect(try await version(site) == "1.1.0")

        let bad: [(String, [UInt8], String)] = [
            ("1.2.0", Array("#!/bin/sh\nexit 1\n".utf8), "crashes at its start"),
            ("1.3.0", Array("#!/bin/sh\nexec sleep 100000\n".utf8), "hangs"),
            ("1.4.0", Array("not a program".utf8), "is no program"),
        ]
        for (number, program, what) in bad {
            try await publish(site, number, program)
            let result = try await site.agent(
                ["import", site.stick("agent-\(number)"), "--app", "holdfast-agent", "--wait", "--timeout", "90"], limit: .seconds(120))
            #expect(result.status == 1, "\(what): \(result.errorOutput)\(result.output)")
            #expect(try await version(site) == "1.1.0", "\(what)")
            let again = try await site.agent(["import", site.stick("agent-\(number)"), "--app", "holdfast-agent"])
            #expect(again.errorOutput.contains("failed on this device before"), "\(what): \(again.errorOutput)")
        }

        // Power cuts while the next one is on its way.
        try await publish(site, "1.5.0", [], trailer: "five")
        async let cut = site.agent(["import", site.stick("agent-1.5.0"), "--app", "holdfast-agent"])
        for delay in [400, 900] {
            try await Task.sleep(for: .milliseconds(delay))
            supervisor.cut()
        }
        _ = try await cut
        try await eventually("the agent answers") { try await site.agent(["status"]).status <= 1 }
        // Cut off before it was adopted, or adopted and under way: either way it arrives.
        try await eventually("1.5.0 runs") {
            if try await version(site) == "1.5.0" { return true }
            _ = try await site.agent(["import", site.stick("agent-1.5.0"), "--app", "holdfast-agent", "--retry"])
            return false
        }
        let back = try await site.agent(["rollback", "--app", "holdfast-agent"])
        try await eventually("1.1.0 is back: \(back.errorOutput)") {
            _ = try await site.agent(["rollback", "--app", "holdfast-agent"])
            return try await version(site) == "1.1.0"
        }
        #expect(try await site.containers() == before, "a workload was touched")
        await supervisor.stop()
        try await site.wipe()
    }
}
