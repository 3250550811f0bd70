import AgentTestSupport
import Archive
import Base
import Logging
import Model
import NIOPosix
import OCI
import Synchronization
import Testing

@testable import AgentCore

/// Store and engine damaged one by one: a scrub finds it and mends it from what is there.
@Suite struct ScrubTests {
    private let bench: Bench
    init() throws { bench = try Bench() }

    /// What `docker save` would give: the image's files as the store has them now.
    private func exports(_ process: LabDevice.Process) async throws -> [Digest: [UInt8]] {
        var archives: [Digest: [UInt8]] = [:]
        let target = try #require(try await process.journal.desired().first?.target)
        for image in target.release.images.values {
            var bytes: [UInt8] = []
            for try await chunk in try await ReleaseContent.stored(in: process.store).archive(image, []) {
                bytes += chunk
            }
            archives[image.config.digest] = bytes
        }
        return archives
    }

    private func scrubber(
        _ process: LabDevice.Process, _ archives: [Digest: [UInt8]], sources: [any RepairSource] = []
    ) -> Scrubber {
        Scrubber(
            journal: process.journal, reconciler: process.reconciler, store: process.store,
            engine: bench.device.engine,
            export: { id, each in
                // Pieces that end anywhere.
                var rest = (archives[id] ?? [])[...]
                while !rest.isEmpty {
                    try await each(Array(rest.prefix(700)))
                    rest = rest.dropFirst(700)
                }
            }, sources: sources, threads: NIOThreadPool.singleton, clock: .live,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, budget: 0)
    }

    private func running() async throws -> LabDevice.Process {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        try bench.lab.publish(bench.v1())
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        return process
    }

    private func spoil(_ digest: Digest, _ process: LabDevice.Process) throws {
        let path = process.store.path(digest)
        var bytes = try FileSystem().read(path, limit: 1 << 20)
        bytes[bytes.count / 2] ^= 1
        try FileSystem().replace(path, with: bytes, op: "test")
    }

    private func isWhole(_ process: LabDevice.Process) async throws -> Bool {
        let target = try #require(try await process.journal.desired().first?.target)
        return target.release.contentBlobs.allSatisfy { blob in
            (try? process.store.verify(blob.digest)) != nil
                || target.release.images.values.flatMap(\.layers).contains {
                    $0.blob == blob && (try? process.store.layers.verify($0.diffID)) != nil
                }
        }
    }

    @Test func aSoundDeviceHasNoFindings() async throws {
        let process = try await running()
        let report = try await scrubber(process, try await exports(process)).scrub(mayRestart: false) { _ in }
        #expect(report.findings.isEmpty)
        #expect(report.blobs > 3 && report.images > 0 && report.bytes > 0)
    }

    @Test func everyDamagedBlobIsMendedFromABundle() async throws {
        let process = try await running()
        let archives = try await exports(process)
        for blob in try process.store.list() { try spoil(blob.digest, process) }
        let report = try await scrubber(process, archives).scrub(from: bench.lab.source().blobs, mayRestart: false) {
            _ in
        }
        #expect(report.isSound, "\(report.findings)")
        #expect(report.findings.contains { $0.kind == .damagedBlob && $0.repairedFrom == "bundle" })
        #expect(try await isWhole(process))
    }

    @Test func layersAndConfigsAreMendedFromTheEngineAndTheRestIsNamed() async throws {
        let process = try await running()
        let archives = try await exports(process)
        let target = try #require(try await process.journal.desired().first?.target)
        for blob in target.release.contentBlobs { try process.store.remove(blob.digest) }
        let report = try await scrubber(process, archives).scrub(mayRestart: false) { _ in }
        let images = target.release.images.values
        let fromEngine = Set(report.findings.filter { $0.repairedFrom == "engine" }.map(\.digest))
        #expect(fromEngine == Set(images.flatMap { [$0.config.digest] + $0.layers.map(\.blob.digest) }))
        #expect(!report.isSound)
        let left = Set(report.findings.filter { $0.repairedFrom == nil }.map(\.digest))
        #expect(left == Set(images.map(\.manifest.digest) + target.release.files.values.map(\.blob.digest)))
    }

    @Test func aLayerMadeHereIsCheckedAndTakenFromTheEngineAnew() async throws {
        let process = try await running()
        let archives = try await exports(process)
        let target = try #require(try await process.journal.desired().first?.target)
        let layer = try #require(target.release.images.values.first?.layers.last)
        // As a device has it that got the release by a delta.
        let tar = try process.store.document(layer.blob, limit: 1 << 20)
        let writer = try process.store.layers.writer()
        try tar.withUnsafeBytes { try writer.write($0) }
        #expect(try writer.finish(as: layer.diffID))
        try process.store.remove(layer.blob.digest)
        let sound = try await scrubber(process, archives).scrub(mayRestart: false) { _ in }
        #expect(sound.findings.isEmpty && sound.layers == 1)

        let path = process.store.layers.path(layer.diffID)
        var bytes = try FileSystem().read(path, limit: 1 << 20)
        bytes[bytes.count / 3] ^= 4
        try FileSystem().replace(path, with: bytes, op: "test")
        let report = try await scrubber(process, archives).scrub(mayRestart: false) { _ in }
        #expect(report.findings.map(\.kind) == [.damagedLayer])
        #expect(report.findings.map(\.repairedFrom) == ["engine"])
        try process.store.layers.verify(layer.diffID)
        #expect(try process.store.holds(layer))
        #expect(try FileSystem().list(Path.join(process.store.root, "work")).isEmpty)
    }

    @Test func whatNothingHereHasComesFromAnotherSource() async throws {
        let process = try await running()
        let archives = try await exports(process)
        for blob in try process.store.list() { try spoil(blob.digest, process) }
        struct Hub: RepairSource {
            let name = "hub"
            let copies: any BlobSource
            func blobs(for blob: Release.Blob) async throws -> (any BlobSource)? { copies }
        }
        let hub = Hub(copies: bench.lab.source().blobs)
        let report = try await scrubber(process, archives, sources: [hub]).scrub(mayRestart: false) { _ in }
        #expect(report.isSound, "\(report.findings)")
        #expect(Set(report.findings.map(\.repairedFrom)) == ["engine", "hub"])
        #expect(try await isWhole(process))
    }

    @Test func aSourceThatDoesNotAnswerIsAskedOnce() async throws {
        let process = try await running()
        for blob in try process.store.list() { try spoil(blob.digest, process) }
        actor Silent: RepairSource {
            nonisolated let name = "hub"
            var asked = 0
            func blobs(for blob: Release.Blob) async throws -> (any BlobSource)? {
                asked += 1
                throw AgentError(.notFound, "no hub")
            }
        }
        let silent = Silent()
        let report = try await scrubber(process, [:], sources: [silent]).scrub(mayRestart: false) { _ in }
        #expect(!report.isSound)
        #expect(await silent.asked == 1)
    }

    /// An engine keeps a damaged layer for as long as one image has it: all of them go, or the damage stays.
    @Test func aDamagedLayerThatImagesShareIsLoadedAnewForAllOfThem() async throws {
        let process = try await running()
        let archives = try await exports(process)
        let target = try #require(try await process.journal.desired().first?.target)
        let ids = Set(target.release.images.values.map(\.config.digest))
        let base = try #require(target.release.images.values.first?.layers.first)
        // The engine cannot give any of them: their base layer's files were altered.
        let report = try await scrubber(process, archives.mapValues { Array($0.prefix(600)) })
            .scrub(mayRestart: true) { _ in }
        #expect(report.isSound, "\(report.findings)")
        #expect(report.findings.filter { $0.kind == .damagedImage }.count == ids.count)
        let left = bench.device.engine.update { $0.images.values.contains { $0.diffIDs.contains(base.diffID) } }
        #expect(!left)
        #expect(try await bench.device.converge(process))
        #expect(bench.device.engine.update { ids.isSubset(of: $0.images.keys) })
    }

    @Test func aLayerThatASomebodyElsesImageHasIsLeftAndNothingIsStopped() async throws {
        let process = try await running()
        let archives = try await exports(process)
        let target = try #require(try await process.journal.desired().first?.target)
        let image = try #require(target.release.images.values.first)
        let foreign = EngineImage(
            id: .sha256(Array("foreign".utf8)), tags: ["theirs:1"], size: 1, diffIDs: image.layers.map(\.diffID))
        bench.device.engine.update { $0.images[foreign.id] = foreign }
        let before = bench.device.engine.running().map(\.id)
        let report = try await scrubber(process, archives.mapValues { _ in [] }).scrub(mayRestart: true) { _ in }
        #expect(!report.isSound)
        #expect(report.findings.contains { $0.detail.contains("another image") })
        #expect(bench.device.engine.running().map(\.id) == before)
    }

    @Test func aBundleWithDamagedCopiesMendsNothing() async throws {
        let process = try await running()
        let target = try #require(try await process.journal.desired().first?.target)
        let victim = try #require(target.release.images.values.first?.layers.first?.blob)
        let archives = try await exports(process).mapValues { _ in [UInt8]() }
        try spoil(victim.digest, process)
        struct Lying: BlobSource {
            func blobSize(_ digest: Digest) throws -> Int64? { 1 << 10 }
            func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource { MemorySource([]) }
        }
        let report = try await scrubber(process, archives).scrub(from: Lying(), mayRestart: false) { _ in }
        #expect(report.findings.contains { $0.digest == victim.digest && $0.repairedFrom == nil })
        #expect(!report.isSound)
    }

    @Test func aDamagedImageIsLoadedAnewOnlyWhenServicesMayRestart() async throws {
        let process = try await running()
        var archives = try await exports(process)
        let id = try #require(archives.keys.sorted().first)
        let archive = try #require(archives[id])
        let target = try #require(try await process.journal.desired().first?.target)
        let image = try #require(target.release.images.values.first { $0.config.digest == id })
        let layer = try FileSystem().read(process.store.path(try #require(image.layers.first?.blob.digest)), limit: 1 << 20)
        // Within a layer: what the engine would give of an altered file.
        let place = try #require(archive.indices.first { archive[$0...].starts(with: layer) })
        archives[id]?[place + layer.count / 2] ^= 0xFF
        let kept = try await scrubber(process, archives).scrub(mayRestart: false) { _ in }
        #expect(kept.findings.map(\.kind) == [.damagedImage] && !kept.isSound)
        #expect(bench.device.engine.update { $0.images[id] != nil })
        let mended = try await scrubber(process, archives).scrub(mayRestart: true) { _ in }
        #expect(mended.isSound, "\(mended.findings)")
        #expect(bench.device.engine.update { $0.images[id] == nil })
        #expect(try await bench.device.converge(process))
        #expect(bench.device.engine.update { $0.images[id] != nil })
    }
}
