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
    /// Executables stand beside the test bundle.
    private static func product(_ name: String) throws -> String {
        let folder = Path.parent(CommandLine.arguments[0])
        for candidate in [folder, Path.parent(folder), Path.join(Repository.root, ".build/debug")] {
            let path = Path.join(candidate, name)
            if access(path, X_OK) == 0 { return path }
        }
        throw Command.Failed(description: "\(name) was not built beside \(folder)")
    }

    /// A folder with a repository, sticks and a device's state.
    private final class Site: Sendable {
        let engine: PrivateEngine
        let folder: TemporaryDirectory
        private let holdfast: String
        private let agentPath: String

        init(_ engine: PrivateEngine) async throws {
            self.engine = engine
            folder = try TemporaryDirectory()
            holdfast = try product("holdfast")
            agentPath = try product("holdfast-agent")
            try FileSystem().replace(
                folder.file("agent.json"),
                with: Array(
                    """
                    { "stateDirectory": "\(folder.file("state"))", "socket": { "path": "\(folder.file("agent.sock"))" },
                      "engine": { "socket": "\(engine.socketPath)", "reserveBytes": 0 },
                      "store": { "reserveBytes": 0 }, "reconcile": { "tickSeconds": 1, "trialStarts": 50 } }
                    """.utf8), op: "test")
            try FileSystem().replace(
                folder.file("compose.yaml"),
                with: Array(
                    """
                    services:
                      web:
                        image: plant
                        command: ["httpd", "-f", "-p", "80", "-h", "/www"]
                        ports: ["7070:80"]
                        stop_signal: SIGKILL
                        healthcheck:
                          test: ["CMD", "wget", "-qO", "/dev/null", "http://127.0.0.1/"]
                          interval: 500ms
                      worker:
                        image: plant
                        command: ["/bin/sh", "-c", "echo at work; exec sleep 100000"]
                        stop_signal: SIGKILL
                        depends_on:
                          web: { condition: service_healthy }
                    x-holdfast:
                      update: { health_window: 15s, stable_time: 0s }

                    """.utf8), op: "test")
            try await operate(["repo", "init", folder.file("repo"), "--lab", "--keys", folder.file("keys")])
        }

        @discardableResult
        func operate(_ arguments: [String]) async throws -> String { try await Command.succeed([holdfast] + arguments) }

        /// Builds, signs and exports a release whose page says its version.
        func publish(_ version: String, base: [UInt8]) async throws {
            let image = try TestImage(
                layers: [base, try await TestImage.layer(["www/index.html": "\(version)\n"])],
                reference: "plant:\(version)")
            try FileSystem().replace(folder.file("\(version).tar"), with: try await image.archive(), op: "test")
            let source = "docker-archive:\(folder.file("\(version).tar"))"
            try await operate([
                "release", "build", folder.file("compose.yaml"), "--app", "plant", "--version", version, "--repo",
                folder.file("repo"), "--keys", folder.file("keys"), "--image", "web=\(source)", "--image",
                "worker=\(source)",
            ])
            try await operate([
                "bundle", "export", folder.file("repo"), "--release", "plant/\(version)", "-o", stick(version),
            ])
        }

        func stick(_ version: String) -> String { folder.file("stick-\(version)") }

        func start() async throws -> ChildProcess {
            let child = try ChildProcess([agentPath, "run", "--config", folder.file("agent.json")])
            let deadline = ContinuousClock.now + .seconds(60)
            while ContinuousClock.now < deadline {
                // Status 1 is an answer too: the agent runs, and not all is well yet.
                if try await agent(["status"]).status <= 1 { return child }
                try #require(child.poll() == nil, "the agent ended: \(child.errorOutput())")
                try await Task.sleep(for: .milliseconds(50))
            }
            throw Command.Failed(description: "the agent does not answer: \(child.errorOutput())")
        }

        func agent(_ arguments: [String], limit: Duration = .seconds(60)) async throws -> Command {
            try await Command.run([agentPath] + arguments + ["--socket", folder.file("agent.sock")], limit: limit)
        }

        func provision() async throws {
            let roots = try FileSystem().list(folder.file("repo/metadata")).filter { $0.hasSuffix("root.json") }
            let newest = try #require(roots.sorted().last)
            let result = try await agent([
                "provision", "--root", folder.file("repo/metadata/\(newest)"), "--device-id", "device",
            ])
            #expect(result.status == 0, "\(result.errorOutput)")
        }

        func page() async throws -> String? {
            let result = try await Command.run(["curl", "-sf", "-m", "2", "http://\(engine.address):7070/"])
            return result.status == 0 ? result.output.trimmingNewline : nil
        }

        func wipe() async throws {
            for container in try await engine.client.listContainers() {
                try await engine.client.removeContainer(container.id, force: true)
            }
        }
    }

    private func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(40)
        while ContinuousClock.now < deadline {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw Command.Failed(description: "never: \(what)")
    }

    @Test func theWholeRoadByCommands() async throws {
        let site = try await Site(try PrivateEngine.current)
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
        try await eventually("1.0.0 is back") { try await site.page() == "1.0.0" }
        agent.send(SIGTERM)
        #expect(try await agent.wait(limit: .seconds(20)) == 0)
        // Workloads outlive the agent.
        #expect(try await site.page() == "1.0.0")
        try await site.wipe()
    }

    @Test func anAgentThatIsKilledAtAnyMomentGoesOn() async throws {
        let site = try await Site(try PrivateEngine.current)
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
