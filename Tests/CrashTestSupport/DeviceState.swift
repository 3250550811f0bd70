import AgentCore
import AgentTestSupport
import Base
import Model
import OCI
import Trust

/// All of a device that must come out the same with a fault and without: what is wanted, what runs, what is trusted,
/// what lies on the disk. No times, no identifiers that the engine made up.
package struct DeviceState: Equatable {
    private(set) var lines: [String] = []

    init(_ process: LabDevice.Process, _ device: LabDevice) async throws {
        for app in try await process.journal.desired() {
            let previous = app.previous?.release.version.description ?? "none"
            lines.append(
                "desired \(app.app) \(app.target.release.version) \(app.phase.rawValue), before it \(previous)")
        }
        for record in try await process.journal.releases() where !record.failure.isEmpty {
            lines.append("failed \(record.version)")
        }
        if let trust = try await process.journal.trustState() {
            lines += Self.describe(trust)
        }
        lines += device.engine.update { state in
            state.entries.values.map {
                "container of \($0.container.service) \($0.container.state.rawValue) \($0.container.imageID.short)"
            } + state.images.values.map { "image \($0.id.short) \($0.tags.sorted())" }
                + state.networks.keys.map { "network \($0)" } + state.volumes.keys.map { "volume \($0)" }
        }
        lines.append("agent runs \(process.program?.short ?? "as installed")")
        lines += try Self.files(device.layout.root)
        lines.sort()
    }

    private static func describe(_ trust: TrustState) -> [String] {
        let floors = trust.floors.map { "floor \($0.key) ctr \($0.value.ctr) epoch \($0.value.epoch)" }
        return floors + trust.release.roles.map { "trusts \($0) version \(version(trust.release[$0]))" }
    }

    static func version(_ metadata: [UInt8]?) -> Int64 {
        metadata.flatMap { try? JSONValue(parsing: $0) }?["signed"]?["version"]?.integer ?? 0
    }

    /// Paths below the state directory. SQLite's log and its index come and go.
    private static func files(_ root: String) throws -> [String] {
        var found: [String] = []
        var pending = [""]
        while let next = pending.popLast() {
            for name in try FileSystem().list(Path.join(root, next)) {
                let path = next.isEmpty ? name : Path.join(next, name)
                if try FileSystem().status(Path.join(root, path))?.kind == .directory {
                    pending.append(path)
                } else if !name.hasSuffix("-wal"), !name.hasSuffix("-shm") {
                    found.append("file \(path)")
                }
            }
        }
        return found
    }

    func difference(from wanted: DeviceState) -> [String] {
        wanted.lines.filter { !lines.contains($0) }.map { "lacks: \($0)" }
            + lines.filter { !wanted.lines.contains($0) }.map { "has too much: \($0)" }
    }
}
