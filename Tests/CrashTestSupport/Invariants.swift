import AgentCore
import AgentTestSupport
import Base
import Model
import OCI
import Trust

/// What must hold on a device at every moment, whatever struck it.
struct Invariants {
    /// Trust as it was before the fault: nothing of it may be lowered.
    let trust: TrustState?
    let volumes: Set<String>
    /// Config digests of the images of every release that was ever signed here.
    let signedImages: Set<Digest>
    /// Programs of the agent that were ever signed here.
    let signedPrograms: Set<Digest>

    init(_ stage: Stage, signed: [Release]) async throws {
        trust = try await stage.process?.journal.trustState()
        volumes = stage.device.engine.update { Set($0.volumes.keys) }
        signedImages = Set(signed.flatMap { $0.images.values.map(\.config.digest) })
        signedPrograms = Set(signed.compactMap { $0.agent?.binary.digest })
    }

    /// What is wrong now; `isSettled` when the agent says that all is as it should be.
    ///
    /// - Parameter mayBeDamaged: the store was damaged before, and nobody has mended it yet.
    func problems(
        _ process: LabDevice.Process, _ device: LabDevice, isSettled: Bool, mayBeDamaged: Bool = false
    ) async throws -> [String] {
        var problems: [String] = []
        let (containers, log, volumesNow) = device.engine.update { state in
            (state.entries.values.map(\.container), state.log, Set(state.volumes.keys))
        }
        let living = containers.filter { $0.state == .running || $0.state == .restarting }
        for (service, same) in Dictionary(grouping: living, by: \.service) where isSettled && same.count > 1 {
            problems.append("\(same.count) containers of \(service) run")
        }
        for container in living where !signedImages.contains(container.imageID) {
            problems.append("\(container.name) runs an image that nobody signed")
        }
        if !volumes.isSubset(of: volumesNow) { problems.append("a volume is gone") }
        if log.contains(where: { $0.hasPrefix("remove-volume") }) { problems.append("a volume was removed") }
        if case .restored(let why, _) = process.condition { problems.append("the journal was damaged: \(why)") }
        if case .lost(let why, _) = process.condition { problems.append("the journal was lost: \(why)") }
        problems += lowered(try await process.journal.trustState())
        if let program = process.program, !signedPrograms.contains(program) {
            problems.append("an agent runs that nobody signed")
        }
        if !mayBeDamaged { problems += try damage(process.store) }
        if isSettled { problems += try await mismatches(process, device) }
        return problems
    }

    private func damage(_ store: BlobStore) throws -> [String] {
        let blobs = try store.list().map(\.digest).filter { (try? store.verify($0)) == nil }
        let layers = try store.layers.list().filter { (try? store.layers.verify($0)) == nil }
        return (blobs + layers).map { "\($0.short) in the store is not what its name says" }
    }

    private func lowered(_ now: TrustState?) -> [String] {
        guard let trust else { return [] }
        guard let now else { return ["all trust is gone"] }
        var problems: [String] = []
        if now.timeFloor < trust.timeFloor { problems.append("the time floor was lowered") }
        for (app, floor) in trust.floors {
            let present = now.floors[app]
            if (present?.ctr ?? 0) < floor.ctr || (present?.epoch ?? 0) < floor.epoch {
                problems.append("the floor of \(app) was lowered")
            }
        }
        let hasNewRoot = DeviceState.version(now.release.root) > DeviceState.version(trust.release.root)
        for role in trust.release.roles
        where DeviceState.version(now.release[role]) < DeviceState.version(trust.release[role]) {
            // TUF 5.3.11: with a root that exchanges their keys, these two are forgotten and fetched anew.
            if hasNewRoot, now.release[role] == nil, ["timestamp", "snapshot"].contains(role) { continue }
            problems.append("\(role) went back to an earlier version")
        }
        return problems
    }

    /// What runs against what the journal wants: one container per service, all of one release, with whole files.
    private func mismatches(_ process: LabDevice.Process, _ device: LabDevice) async throws -> [String] {
        var problems: [String] = []
        for app in try await process.journal.desired() {
            let specs = try ReleaseSpecs(app.target, layout: device.layout)
            let wanted = specs.containers.values.map(\.name).sorted()
            let running = device.engine.running().filter { $0.app == app.app }.map(\.name).sorted()
            if running != wanted { problems.append("\(app.app) runs \(running), wanted \(wanted)") }
            for file in specs.files {
                let bytes = try? FileSystem().read(device.layout.path(file), limit: 1000)
                if bytes.map({ Digest.sha256($0) }) != file.blob.digest {
                    problems.append("file \(file.name) is not whole")
                }
            }
        }
        return problems
    }
}
