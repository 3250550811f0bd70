import Base
import DockerEngine
import EngineTestSupport
import Glibc
import TestSupport
import Testing

/// A reconciler that hangs for real: its process ends itself, and the workload does not notice.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isAvailable, PrivateEngine.skipMessage),
    .timeLimit(.minutes(4)))
struct HangTests {
    @Test func aHangingAgentEndsItselfAndTheWorkloadRunsOn() async throws {
        let site = try await AgentSite(try PrivateEngine.current)
        try await site.publish("1.0.0", base: try await PrivateEngine.busyboxTar())
        let file = site.folder.file("hang")
        var agent = try await site.start(environment: ["HOLDFAST_HANG_FILE": file])
        try await site.provision()
        #expect(try await site.agent(["import", site.stick("1.0.0"), "--wait"]).status == 0)
        let before = try await site.containers()
        try FileSystem().replace(file, with: [], op: "test")
        // Something to note in the journal: the note is where it hangs.
        let worker = try #require(
            try await site.engine.client.listContainers().first { $0.names.contains { $0.contains("worker") } })
        try await site.engine.client.killContainer(worker.id)
        #expect(try await agent.wait(limit: .seconds(60)) == 70, "\(agent.errorOutput())")
        #expect(agent.errorOutput().contains("hangs"))
        #expect(try await site.page() == "1.0.0")
        try FileSystem().unlink(file, op: "test")
        agent = try await site.start()
        let deadline = ContinuousClock.now + .seconds(40)
        var after = try await site.containers()
        while after.count < before.count, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(200))
            after = try await site.containers()
        }
        #expect(before.intersection(after).contains { $0.contains("running") }, "the web service was touched")
        agent.send(SIGTERM)
        _ = try await agent.wait(limit: .seconds(20))
        try await site.wipe()
    }
}
