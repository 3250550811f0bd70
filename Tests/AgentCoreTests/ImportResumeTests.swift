import AgentTestSupport
import Archive
import Base
import Model
import OCI
import Synchronization
import Testing
import Trust

@testable import AgentCore

/// Blobs that stop coming after so many bytes, and the bytes that were read of them.
private final class Trickle: BlobSource {
    private let blobs: MemoryBlobs
    private let large: Digest
    /// Bytes of the large blob that come; nil for all.
    let limit = Mutex<Int?>(nil)
    let read = Mutex(0)

    init(_ blobs: MemoryBlobs, large: Digest) {
        self.blobs = blobs
        self.large = large
    }

    struct Broken: Error {}

    func blobSize(_ digest: Digest) throws -> Int64? { try blobs.blobSize(digest) }
    func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource {
        let source = try blobs.openBlob(digest, from: offset)
        return digest == large ? Counting(source, self) : source
    }

    private final class Counting: ByteSource {
        private let source: any ByteSource
        private let trickle: Trickle

        init(_ source: any ByteSource, _ trickle: Trickle) {
            self.source = source
            self.trickle = trickle
        }

        func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
            let already = trickle.read.withLock { $0 }
            let left = trickle.limit.withLock { $0 }.map { $0 - already } ?? .max
            guard left > 0 else { throw Broken() }
            let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(min(left, 1000))))
            trickle.read.withLock { $0 += count }
            return count
        }
    }
}

/// A download that breaks off is gone on with, whatever the agent tidies up meanwhile.
@Suite struct ImportResumeTests {
    private let bench: Bench
    private let release: Release
    private let large: Release.Blob
    private let trickle: Trickle
    private static let size = 50_000

    init() throws {
        bench = try Bench()
        var generator = SeededGenerator(seed: 5)
        let content = (0..<Self.size).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let image = try bench.lab.image("large", content: content)
        var release = try bench.v1()
        release.images[image.manifest.digest.description] = image
        release.services["web"]?.image = image.manifest.digest.description
        let used = Set(release.services.values.map(\.image))
        release.images = release.images.filter { used.contains($0.key) }
        self.release = release
        large = image.layers[1].blob
        trickle = Trickle(bench.lab.blobs, large: large.digest)
    }

    private func take(_ process: LabDevice.Process) async throws {
        var source = bench.lab.source()
        source.blobs = trickle
        try await process.importer.importRelease(from: source) { _ in }
    }

    /// A device on which the import broke off in the midst of the large layer.
    private func cutOff() async throws -> LabDevice.Process {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        try bench.lab.publish(release)
        trickle.limit.withLock { $0 = 20_000 }
        await #expect(throws: (any Error).self) { try await take(process) }
        return process
    }

    @Test func whatWasCopiedSurvivesMaintenanceAndRestarts() async throws {
        var process = try await cutOff()
        for _ in 0..<3 { _ = await process.reconciler.tick() }
        process = try await bench.device.boot()
        for _ in 0..<3 { _ = await process.reconciler.tick() }
        #expect(try process.store.partialSize(large.digest) == 20_000)
        trickle.limit.withLock { $0 = nil }
        trickle.read.withLock { $0 = 0 }
        try await take(process)
        #expect(trickle.read.withLock { $0 } == Int(large.size) - 20_000, "bytes were fetched twice")
        #expect(try await bench.device.converge(process))
        #expect(try FileSystem().list(process.store.stagingDirectory).isEmpty)
        #expect(try await !process.journal.hasResumableImport())
    }

    @Test func whatNobodyComesBackForGoesAfterAWeek() async throws {
        let process = try await cutOff()
        bench.device.clock.jump(to: bench.device.clock.now.seconds + 8 * 86_400)
        await process.reconciler.importBegan()
        await process.reconciler.importEnded()
        _ = await process.reconciler.tick()
        #expect(try FileSystem().list(process.store.stagingDirectory).isEmpty)
    }

    @Test func aFullDiskDoesNotKeepHalfAnImport() async throws {
        let process = try await cutOff()
        await process.reconciler.importBegan()
        await process.reconciler.importEnded(isDiskFull: true)
        _ = await process.reconciler.tick()
        #expect(try FileSystem().list(process.store.stagingDirectory).isEmpty)
    }

    // MARK: A stick that carries less than its metadata lists

    @Test func aStickOfAnOlderReleaseIsTakenForWhatItCarries() async throws {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        try bench.lab.publish(bench.v1())
        try bench.lab.publish(bench.v2())
        let older = bench.lab.source(carried: ["shop/1.0.0.release.json"])
        try await process.importer.importRelease(from: older) { _ in }
        #expect(try await bench.version(process) == "1.0.0")
        #expect(try await bench.device.converge(process))
        // The whole repository is a newer release; after that the old stick is below the floor, and says so.
        try await process.importer.importRelease(from: bench.lab.source()) { _ in }
        #expect(try await bench.device.converge(process))
        let refusal = await #expect(throws: TrustError.self) {
            try await process.importer.importRelease(from: older) { _ in }
        }
        #expect(refusal?.reason == .counterBelowFloor)
    }

    @Test func aStickWithoutTheReleaseAskedForSaysSo() async throws {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        try bench.lab.publish(bench.v1())
        let refusal = await #expect(throws: TrustError.self) {
            try await process.importer.importRelease(
                from: bench.lab.source(carried: []), candidate: Candidate(app: "shop", version: release.version)) { _ in }
        }
        #expect(refusal?.reason == .noMatch)
        #expect(refusal?.detail.contains("its bytes are not in what is imported") == true, "\(refusal?.detail ?? "")")
    }
}
