import Base
import DockerEngine
import EngineTestSupport
import Glibc
import Model
import TestSupport
import Testing

/// The real `holdfast` and `holdfast-agent` as processes: the whole road by their commands, and SIGKILL on the way.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isAvailable, PrivateEngine.skipMessage),
    .timeLimit(.minutes(5)))
struct AgentProcessTests {
    @Test func theWholeRoadByCommands() async throws {
        let site = try await AgentSite(try PrivateEngine.current)
        let base = try await PrivateEngine.busyboxTar()
        for version in ["1.0.0", "2.0.0"] { try await site.publish(version, base: base) }
        let agent = try await site.start()
        let early = try await site.agent(["import", site.stick("1.0.0"), "--wait"])
        #expect(early.status != 0, "a device without a root must take nothing")
        try await site.provision()
        for version in ["1.0.0", "2.0.0"] {
            let result = try await site.agent(["import", site.stick(version), "--wait"])
            #expect(result.status == 0, "\(result.errorOutput)\(result.output)")
            #expect(try await site.page() == version)
        }
        let status = try await site.agent(["status", "--output", "json"])
        _ = try JSONValue(parsing: status.output.utf8)
        #expect(status.output.contains("2.0.0"))
        let logs = try await site.agent(["logs", "worker", "--tail", "1"])
        #expect(logs.output.contains("at work"))
        let rollback = try await site.agent(["rollback"])
        #expect(rollback.status == 0, "\(rollback.errorOutput)")
        try await site.eventually("1.0.0 is back") { try await site.page() == "1.0.0" }
        agent.send(SIGTERM)
        #expect(try await agent.wait(limit: .seconds(20)) == 0)
        // Workloads outlive the agent.
        #expect(try await site.page() == "1.0.0")
        try await site.wipe()
    }

    @Test func anAgentThatIsKilledAtAnyMomentGoesOn() async throws {
        let site = try await AgentSite(try PrivateEngine.current)
        let base = try await PrivateEngine.busyboxTar()
        let delays = [0, 100, 300, 700, 1500]
        for number in 0...delays.count { try await site.publish("1.0.\(number)", base: base) }
        var agent = try await site.start()
        try await site.provision()
        #expect(try await site.agent(["import", site.stick("1.0.0"), "--wait"]).status == 0)
        for (index, delay) in delays.enumerated() {
            let version = "1.0.\(index + 1)"
            async let cut = site.agent(["import", site.stick(version)])
            try await Task.sleep(for: .milliseconds(delay))
            agent.send(SIGKILL)
            _ = try await agent.wait()
            _ = try await cut
            // Whatever ran goes on, old or new; the agent is not needed for that.
            agent = try await site.start()
            let again = try await site.agent(["import", site.stick(version), "--wait"])
            #expect(again.status == 0, "after \(delay) ms: \(again.errorOutput)\(again.output)")
            #expect(try await site.page() == version, "after \(delay) ms")
        }
        agent.send(SIGTERM)
        _ = try await agent.wait(limit: .seconds(20))
        try await site.wipe()
    }
}
