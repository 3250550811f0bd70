import AgentCore
import AgentTestSupport
import Archive
import Base
import Logging
import Model
import NIOPosix
import OCI

/// Damage of each kind that a scrub finds, and the scrub.
enum Damage {
    /// In the store a layer that was made here, which the engine can give back, and blobs that a bundle has; in the
    /// engine a layer's files, which the store has.
    static func spoil(_ stage: Stage, _ release: Release) throws {
        let store = BlobStore(root: stage.device.layout.store)
        guard let made = try store.layers.list().first,
            let worker = release.services["worker"].flatMap({ release.images[$0.image] })
        else { throw Stage.StageError("nothing to damage") }
        try alter(store.layers.path(made))
        try alter(store.path(worker.manifest.digest))
        for file in release.files.values { try FileSystem().unlink(store.path(file.blob.digest), op: "test") }
        let layer = worker.layers[1].diffID
        stage.device.engine.update { _ = $0.damagedLayers.insert(layer) }
    }

    private static func alter(_ path: String) throws {
        var bytes = try FileSystem().read(path, limit: 1 << 20)
        bytes[bytes.count / 2] ^= 1
        try FileSystem().replace(path, with: bytes, op: "test")
    }

    /// Scrubs with a bundle that has every blob but the layer that came by a delta.
    static func scrub(_ stage: Stage) async throws {
        let process = try await stage.running()
        let (engine, lab) = (stage.device.engine, stage.bench.lab)
        let releases = try await process.journal.desired().flatMap { [$0.target, $0.previous].compactMap { $0 } }
        let images = releases.flatMap { $0.release.images.values }
        let layers = EngineLayers(blobs: lab.blobs, made: try DeltaPair.tars())
        let scrubber = Scrubber(
            journal: process.journal, reconciler: process.reconciler, store: process.store,
            engine: MonitoredEngine(engine, monitor: stage.device.faults.monitor),
            export: { id, each in
                guard let image = images.first(where: { $0.config.digest == id }) else { return }
                let damaged = engine.update { $0.damagedLayers }
                guard damaged.isDisjoint(with: image.layers.map(\.diffID)) else {
                    throw EngineFailure(.server, operation: "save", detail: "file integrity checksum failed")
                }
                let archive = try DockerLoadArchive(image, blobs: layers, tags: [], omitted: 0)
                let stream = try archive.stream()
                while let bytes = try await stream.next() { try await each(bytes) }
            }, threads: NIOThreadPool.singleton, clock: stage.device.clock.clock,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, budget: 0)
        let report = try await scrubber.scrub(from: lab.blobs, mayRestart: true) { _ in }
        guard report.isSound || stage.device.faults.hasStruck else {
            throw Stage.StageError("not mended: \(report.findings)")
        }
    }
}

/// What an engine has of its images: their blobs, and layers that no blob has any more.
private struct EngineLayers: BlobSource {
    let blobs: MemoryBlobs
    let made: [Digest: [UInt8]]

    func blobSize(_ digest: Digest) throws -> Int64? { try blobs.blobSize(digest) ?? made[digest].map { Int64($0.count) } }
    func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource {
        if try blobs.blobSize(digest) != nil { return try blobs.openBlob(digest, from: offset) }
        return MemorySource(Array((made[digest] ?? []).dropFirst(Int(offset))))
    }
}
