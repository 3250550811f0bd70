import Archive
import Base
import Glibc
import Model
import OCI
import Synchronization
import TestSupport
import Testing

@Suite struct BlobStoreTests {
    let directory: TemporaryDirectory
    let store: BlobStore

    init() throws {
        directory = try TemporaryDirectory()
        store = BlobStore(root: directory.file("store"))
        try store.prepare()
    }

    static let content = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
    static let blob = Release.Blob(digest: .sha256(content), size: Int64(content.count))

    static func source(_ bytes: [UInt8] = content) -> (Int64) throws -> any ByteSource {
        { MemorySource(Array(bytes[Int($0)...])) }
    }

    @Test func aBlobIsThereOnceItIsWhole() throws {
        #expect(try store.blobSize(Self.blob.digest) == nil)
        try store.ingest(Self.blob, from: Self.source())
        #expect(try store.contains(Self.blob))
        #expect(try store.list() == [Self.blob])
        #expect(try store.document(Self.blob, limit: 1 << 20) == Self.content)
        #expect(try FileSystem().list(store.stagingDirectory).isEmpty)
    }

    @Test func anInterruptedWriteIsTakenUpWhereItStopped() throws {
        struct Cut: Error {}
        #expect(throws: Cut.self) {
            try store.ingest(Self.blob, from: Self.source()) { if $0 > 200_000 { throw Cut() } }
        }
        #expect(try store.blobSize(Self.blob.digest) == nil)
        let left = try store.partialSize(Self.blob.digest)
        #expect(left > 200_000 && left < 300_000)
        var asked: [Int64] = []
        try store.ingest(Self.blob, from: { offset in
            asked.append(offset)
            return try Self.source()(offset)
        })
        #expect(asked == [left])
        try store.verify(Self.blob.digest)
    }

    @Test func aSpoiledPartialIsDroppedAndTheBlobFetchedWhole() throws {
        let partial = Path.join(store.stagingDirectory, Self.blob.digest.hex + ".partial")
        try FileSystem().replace(partial, with: Array(repeating: 0, count: 1000), op: "test")
        var asked: [Int64] = []
        try store.ingest(Self.blob, from: { offset in
            asked.append(offset)
            return try Self.source()(offset)
        })
        #expect(asked == [1000, 0])
        try store.verify(Self.blob.digest)
    }

    @Test func wrongContentNeverGetsTheName() throws {
        var wrong = Self.content
        wrong[5] ^= 1
        for (bytes, reason) in [
            (wrong, OCIError.Reason.blobDigest), (Array(Self.content.dropLast()), .blobTruncated),
            (Self.content + [0], .blobOversized),
        ] {
            let error = #expect(throws: OCIError.self) { try store.ingest(Self.blob, from: Self.source(bytes)) }
            #expect(error?.reason == reason)
            #expect(try store.blobSize(Self.blob.digest) == nil)
            try store.clearStaging()
        }
    }

    @Test func oneBlobHasOneWriterAtATime() throws {
        let first = try store.writer(for: Self.blob)
        let error = #expect(throws: OCIError.self) { _ = try store.writer(for: Self.blob) }
        #expect(error?.reason == .blobBusy)
        try first.discard()
    }

    @Test func damageIsFoundByReading() throws {
        try store.ingest(Self.blob, from: Self.source())
        var damaged = Self.content
        damaged[123_456] ^= 0x10
        try FileSystem().replace(store.path(Self.blob.digest), with: damaged, op: "test")
        let error = #expect(throws: OCIError.self) { try store.verify(Self.blob.digest) }
        #expect(error?.reason == .blobDigest)
        #expect(throws: OCIError.self) { _ = try store.document(Self.blob, limit: 1 << 20) }
    }

    @Test func pruningKeepsWhatIsPinned() throws {
        let kept = try store.put([1, 2, 3])
        let gone = try store.put([4, 5, 6])
        #expect(try store.prune(keeping: [kept.digest]) == [gone])
        #expect(try store.list() == [kept])
        #expect(try store.missing([kept, gone, gone]) == [gone])
    }

    @Test func stagingIsClearedButForWantedPartials() throws {
        let other = Release.Blob(digest: .sha256([1]), size: 10)
        for blob in [Self.blob, other] {
            try FileSystem().replace(Path.join(store.stagingDirectory, blob.digest.hex + ".partial"), with: [1], op: "t")
        }
        try store.clearStaging(keeping: [Self.blob.digest])
        #expect(try store.partialSize(Self.blob.digest) == 1)
        #expect(try store.partialSize(other.digest) == 0)
    }

    /// Every durable operation fails once, by a full disk, an I/O error and a torn write: the name never
    /// stands for anything but the whole content, and the next attempt succeeds.
    @Test func noFaultLeavesAHalfBlobUnderItsName() throws {
        let count = Mutex(0)
        let counting = FileSystem(monitor: DurabilityMonitor { _ in
            count.withLock { $0 += 1 }
            return .perform
        })
        let dry = BlobStore(root: directory.file("dry"), fileSystem: counting)
        try dry.prepare()
        try dry.ingest(Self.blob, from: Self.source())
        let operations = count.withLock { $0 }
        #expect(operations >= 6)
        for (kind, verdict) in [
            ("ENOSPC", DurabilityVerdict.fail(errno: ENOSPC)), ("EIO", .fail(errno: EIO)), ("torn", .tear(count: 1000)),
        ] {
            for index in 0..<operations {
                let root = directory.file("\(kind)-\(index)")
                let seen = Mutex(0)
                let faulty = FileSystem(monitor: DurabilityMonitor { _ in
                    seen.withLock { count in
                        defer { count += 1 }
                        return count == index ? verdict : .perform
                    }
                })
                let failing = BlobStore(root: root, fileSystem: faulty)
                do {
                    try failing.prepare()
                    try failing.ingest(Self.blob, from: Self.source())
                } catch is FileSystemError {}
                let healthy = BlobStore(root: root)
                if try healthy.blobSize(Self.blob.digest) != nil { try healthy.verify(Self.blob.digest) }
                try healthy.prepare()
                try healthy.ingest(Self.blob, from: Self.source())
                try healthy.verify(Self.blob.digest)
                try healthy.clearStaging()
                #expect(try FileSystem().list(healthy.stagingDirectory).isEmpty)
            }
        }
    }
}
