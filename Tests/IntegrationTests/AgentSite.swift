import AgentCore
import Base
import DockerEngine
import EngineTestSupport
import Glibc
import Model
import TestSupport
import Testing

/// Executables stand beside the test bundle.
func product(_ name: String) throws -> String {
    let folder = Path.parent(CommandLine.arguments[0])
    for candidate in [folder, Path.parent(folder), Path.join(Repository.root, ".build/debug")] {
        let path = Path.join(candidate, name)
        if access(path, X_OK) == 0 { return path }
    }
    throw Command.Failed(description: "\(name) was not built beside \(folder)")
}

/// A folder with a repository, sticks and a device's state.
final class AgentSite: Sendable {
    let engine: PrivateEngine
    let folder: TemporaryDirectory
    private let holdfast: String
    private let agentPath: String

    /// - Parameter restartProgram: makes the program that restarts the engine, in the site's folder; the agent has none
    ///   where nil.
    init(_ engine: PrivateEngine, restartProgram: ((TemporaryDirectory) throws -> String)? = nil) async throws {
        self.engine = engine
        folder = try TemporaryDirectory()
        holdfast = try product("holdfast")
        agentPath = try product("holdfast-agent")
        try FileSystem().replace(
            folder.file("agent.json"),
            with: Array(
                """
                { "stateDirectory": "\(folder.file("state"))", "socket": { "path": "\(folder.file("agent.sock"))" },
                  "engine": { "socket": "\(engine.socketPath)", "reserveBytes": 0,
                              "restartProgram": "\(try restartProgram?(folder) ?? "")" },
                  "store": { "reserveBytes": 0 }, "reconcile": { "tickSeconds": 1, "trialStarts": 50, "watchdogSeconds": 15 },
                  "selfUpdate": { "starts": 3, "windowSeconds": 10 } }
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
        try await build(
            version, TestImage(layers: [base, try await TestImage.layer(["www/index.html": "\(version)\n"])]))
        try await export(version)
    }

    /// Builds and signs a release of one image.
    func build(_ version: String, _ image: TestImage, deltaFrom: [String] = []) async throws {
        var image = image
        image.reference = "plant:\(version)"
        try FileSystem().replace(folder.file("\(version).tar"), with: try await image.archive(), op: "test")
        let source = "docker-archive:\(folder.file("\(version).tar"))"
        try await operate(
            [
                "release", "build", folder.file("compose.yaml"), "--app", "plant", "--version", version, "--repo",
                folder.file("repo"), "--keys", folder.file("keys"), "--image", "web=\(source)", "--image",
                "worker=\(source)", "--delta-effort", "2",
            ] + deltaFrom.flatMap { ["--delta-from", $0] })
    }

    /// Writes a stick with a release.
    @discardableResult
    func export(_ version: String, _ options: [String] = [], to name: String? = nil) async throws -> String {
        try await operate(
            [
                "bundle", "export", folder.file("repo"), "--release", "plant/\(version)", "-o",
                stick(name ?? version),
            ] + options)
    }

    func stick(_ version: String) -> String { folder.file("stick-\(version)") }

    func spawn(_ prefix: [String] = [], environment: [String: String] = [:]) throws -> ChildProcess {
        try ChildProcess(
            prefix + [agentPath, "run", "--config", folder.file("agent.json")], environment: environment)
    }

    /// Starts the daemon; `prefix` is a command that runs it.
    func start(_ prefix: [String] = [], environment: [String: String] = [:]) async throws -> ChildProcess {
        let child = try spawn(prefix, environment: environment)
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
            // One that the engine is removing already goes by itself.
            try? await engine.client.removeContainer(container.id, force: true)
        }
    }

    func eventually(
        _ what: String, limit: Duration = .seconds(40), _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw Command.Failed(description: "never: \(what)")
    }

    /// Names, states and start times of what runs.
    func containers() async throws -> Set<String> {
        let docker = DockerContainerEngine(engine.client)
        return Set(try await docker.containers().map { "\($0.id) \($0.state) \($0.startedAt)" })
    }
}
