import Base
import Glibc
import Model
import Synchronization
import TestSupport
import Testing

/// One device of the lab: a namespace, a state folder and an agent.
final class FleetDevice: Sendable {
    let lab: FleetLab
    let number: Int
    private let process = Mutex<ChildProcess?>(nil)

    init(lab: FleetLab, number: Int) {
        self.lab = lab
        self.number = number
    }

    var host: String { "d\(number)" }
    /// The base of its interfaces' names.
    var interface: String { "hf\(lab.tag)d\(number)-" }
    var socket: String { path("agent.sock") }
    var state: String { path("state") }
    func path(_ name: String) -> String { Path.join(lab.path("device-\(number)"), name) }

    func configure(tokenFile: String) async throws {
        try FileSystem().makeDirectories(lab.path("device-\(number)"), op: "test")
        let config: JSONValue = [
            "stateDirectory": .string(state), "socket": ["path": .string(socket)],
            "engine": ["socket": .string(path("no-engine.sock"))], "store": ["reserveBytes": 1_048_576],
            "hub": ["interface": .string(interface), "tokenFile": .string(tokenFile)],
        ]
        try FileSystem().replace(path("agent.json"), with: try config.serialized(.pretty), op: "test")
    }

    /// - Parameter wall: seconds since 1970 that the agent's wall clock begins with; nil for the true time.
    func start(wall: Int64? = nil) async throws {
        let child = try ChildProcess(
            lab.enter(host) + [FleetLab.program("holdfast-agent"), "run", "--config", path("agent.json")],
            environment: wall.map { ["HOLDFAST_FAULT": "wall=\($0)@0"] } ?? [:])
        process.withLock { $0 = child }
        try await eventually("agent \(number) answers") {
            if let status = child.poll() {
                throw Command.Failed(description: "agent \(self.number) ended with \(status): \(child.errorOutput())")
            }
            return try await self.run("status").status <= 1
        }
    }

    func stop(_ signal: Int32 = SIGTERM) async throws {
        guard let child = process.withLock({ $0 }) else { return }
        child.send(signal)
        _ = try await child.wait(limit: .seconds(30))
        process.withLock { $0 = nil }
    }

    func end() async { try? await stop(SIGKILL) }

    var log: String { process.withLock { $0 }?.errorOutput() ?? "" }

    /// `holdfast-agent …` on the device.
    func run(_ words: String...) async throws -> Command {
        try await Command.run([FleetLab.program("holdfast-agent")] + words + ["--socket", socket])
    }

    func hubStatus() async throws -> JSONValue {
        let result = try await run("hub", "status", "--output", "json")
        return try JSONValue(parsing: Array(result.output.utf8))
    }

    /// Enrols with the token in a file, as one on a stick.
    func enrol(_ token: String, _ more: String...) async throws -> Command {
        let words = ["enrol", "--file", token, "--timeout", "45"] + more
        return try await Command.run([FleetLab.program("holdfast-agent")] + words + ["--socket", socket])
    }

    /// The release that the device is to run, as far as it knows.
    func target() async throws -> String? { try await present()?["version"]?.string }

    /// What the device can say of how new that is.
    func freshness() async throws -> String? { try await present()?["freshness"]?.string }

    private func present() async throws -> JSONValue? {
        let result = try await run("releases", "--output", "json")
        let value = try JSONValue(parsing: Array(result.output.utf8))
        return (value.array ?? value["releases"]?.array ?? [])
            .first { ["candidate", "current"].contains($0["role"]?.string ?? "") }
    }

    /// Waits for one whole poll that began after now.
    func polled() async throws {
        let before = try await hubStatus()["lastPoll"]?.string
        do {
            try await eventually("device \(number) polls") {
                let status = try await self.hubStatus()
                return status["lastPoll"]?.string != nil && status["lastPoll"]?.string != before
                    && status["lastError"] == nil
            }
        } catch {
            throw Command.Failed(description: "\(error)\n\(try await hubStatus())\n\(log.suffix(8_000))")
        }
    }
}
