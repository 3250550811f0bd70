import AgentCore
import AgentTestSupport
import Base
import Glibc
import Model
import Trust

/// A device with the agent process that is alive on it, if one is.
package final class Stage {
    package let bench: Bench
    var policy = PlanPolicy()
    package private(set) var process: LabDevice.Process?

    package var device: LabDevice { bench.device }

    package init(clockIsTrusted: Bool) throws {
        bench = try Bench(clockIsTrusted: clockIsTrusted)
        MonitoredVFS.watch(bench.disk, device.faults.monitor)
    }

    deinit { MonitoredVFS.unwatch(bench.disk) }

    /// The process that runs, started if need be.
    package func running() async throws -> LabDevice.Process {
        if let process { return process }
        let started = try await device.boot(policy: policy, reserve: Self.reserve)
        process = started
        return started
    }

    /// Bytes that the agent holds back: a few writes of a journal.
    private static let reserve: Int64 = 4096

    /// The process ends, however it ends; its files are closed.
    package func stop() { process = nil }

    package func provision() async throws { try await bench.provision(try await running()) }

    package func take(app: String? = nil, retry: Bool = false) async throws {
        try await bench.take(try await running(), app: app, retry: retry)
    }

    /// Installs what the lab has published last and waits until it is committed.
    package func install(_ release: Release) async throws {
        try bench.lab.publish(release)
        try await take(app: release.app)
        guard try await settle() else {
            throw StageError("\(release.version) does not settle while the stage is set")
        }
    }

    struct StageError: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    // MARK: Over and over

    /// The device as it stood between two processes: disk, engine, wall clock.
    struct Memory {
        fileprivate var disk: [SavedFile]
        fileprivate var engine: ModelEngine.State
        fileprivate var wall: Timestamp
    }
    fileprivate struct SavedFile {
        var path: String
        var status: FileSystem.Status
        /// Nil for a directory.
        var bytes: [UInt8]?
    }

    /// Ends the process and keeps the device as it is then.
    func remember() throws -> Memory {
        stop()
        return Memory(
            disk: try save(""), engine: device.engine.update { $0 }, wall: device.clock.now)
    }

    /// Makes the device what it was.
    func restore(_ memory: Memory) throws {
        stop()
        device.faults.disarm()
        try FileSystem().removeTree(bench.disk, op: "test.restore")
        for file in memory.disk {
            let path = Path.join(bench.disk, file.path)
            if let bytes = file.bytes {
                let made = try FileSystem().create(path, op: "test.restore")
                try made.write(bytes)
                fchmod(made.descriptor, file.status.mode)
                _ = fchown(made.descriptor, file.status.owner, gid_t.max)
            } else {
                try FileSystem().makeDirectories(path, mode: file.status.mode, op: "test.restore")
            }
        }
        device.engine.update { $0 = memory.engine }
        device.clock.jump(to: memory.wall.seconds)
    }

    private func save(_ relative: String) throws -> [SavedFile] {
        let fileSystem = FileSystem()
        let path = relative.isEmpty ? bench.disk : Path.join(bench.disk, relative)
        guard let status = try fileSystem.status(path) else { return [] }
        guard status.kind == .directory else {
            return [SavedFile(path: relative, status: status, bytes: try fileSystem.read(path, limit: 64 << 20))]
        }
        return try [SavedFile(path: relative, status: status)]
            + fileSystem.list(path).flatMap { try save(relative.isEmpty ? $0 : Path.join(relative, $0)) }
    }

    /// Ticks until all is settled and the engine is up; an engine that was killed comes back after a while.
    package func settle(limit: Int = 160) async throws -> Bool {
        for round in 0..<limit {
            if device.faults.isDead { return false }
            if round == 6, device.engine.update({ $0.isDown }) { device.engine.restart() }
            if round == 12 { device.faults.makeRoom() }
            let isSettled = try await device.converge(try await running(), limit: 1)
            if process?.wantsRestart == true {
                stop()
            } else if isSettled {
                return true
            }
        }
        return false
    }

    package func version() async throws -> String? { try await bench.version(try await running()) }
}
