import Base
import EngineTestSupport
import Glibc
import TestSupport
import Testing

/// The real engine loses a published port, and the agent has it restarted.
///
/// Docker Engine 20.10 writes down the port of a container that it starts before the container itself knows of it
/// (moby/moby#20486). Power that goes in between leaves a port that nothing but a restart of the engine frees.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isOwn, PrivateEngine.skipMessage), .timeLimit(.minutes(6)))
struct LostPortEngineTests {
    /// Power cuts before the test gives up: about three of four lose the port.
    private static let attempts = 10

    /// Process ids of what the engine listens to published ports with.
    private func proxies(_ engine: PrivateEngine) throws -> Set<String> {
        let fileSystem = FileSystem()
        func text(_ path: String) -> String {
            String(decoding: (try? fileSystem.read(path, limit: 1 << 16)) ?? [], as: UTF8.self)
        }
        let daemon = text(Path.join(engine.directory, "docker.pid")).trimmingNewline
        let threads = try fileSystem.list("/proc/\(daemon)/task")
        let children = threads.flatMap { text("/proc/\(daemon)/task/\($0)/children").split(separator: " ") }
        return Set(children.map(String.init).filter { text("/proc/\($0)/cmdline").contains("docker-proxy") })
    }

    /// Cuts the power in the moment in which the engine publishes the port of an update's container.
    private func cutWhilePublishing(_ site: AgentSite, _ agent: ChildProcess, version: String) async throws {
        let before = try proxies(site.engine)
        #expect(try await site.agent(["import", site.stick(version)]).status == 0)
        let deadline = ContinuousClock.now + .seconds(30)
        while try proxies(site.engine).isSubset(of: before) {
            try #require(ContinuousClock.now < deadline, "\(version) was never started")
            try await Task.sleep(for: .milliseconds(1))
        }
        // Its port is written down now, and the container is not yet.
        try await Task.sleep(for: .milliseconds(20))
        try await site.engine.powerCut()
        agent.send(SIGKILL)
        _ = try await agent.wait()
        try await site.engine.up()
    }

    @Test func aLostPortIsFreedByTheProgramThatRestartsTheEngine() async throws {
        let engine = try PrivateEngine.current
        let site = try await AgentSite(engine) { folder in
            let script = """
                #!/bin/sh
                echo restarted >>\(folder.file("restarts"))
                exec \(Path.join(Repository.root, "tools/lab/engine")) restart \(engine.directory)

                """
            try FileSystem().replace(folder.file("restart-engine"), with: Array(script.utf8), mode: 0o755, op: "test")
            return folder.file("restart-engine")
        }
        let base = try await PrivateEngine.busyboxTar()
        try await site.publish("1.0.0", base: base)
        var agent = try await site.start()
        try await site.provision()
        #expect(try await site.agent(["import", site.stick("1.0.0"), "--wait"]).status == 0)

        var hasRestarted = false
        for number in 1...Self.attempts where !hasRestarted {
            let version = "1.0.\(number)"
            try await site.publish(version, base: base)
            try await cutWhilePublishing(site, agent, version: version)
            agent = try await site.start()
            try await site.eventually("a whole release serves after power cut \(number)", limit: .seconds(120)) {
                guard try await site.agent(["status"]).status == 0 else { return false }
                return try await site.page() != nil
            }
            hasRestarted = try FileSystem().status(site.folder.file("restarts")) != nil
        }
        #expect(hasRestarted, "no port was lost in \(Self.attempts) power cuts")
        let journal = try await site.agent(["journal", "show", "--limit", "200"])
        #expect(journal.output.contains("engine.restart"), "\(journal.output)")
        agent.send(SIGTERM)
        _ = try await agent.wait()
        try await site.wipe()
    }
}
