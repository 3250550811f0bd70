import Archive
import Base
import HubStore
import Model
import TestSupport
import Testing

/// What every blob backend promises.
@Suite struct BlobContractTests {
    let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    private static func bytes(_ count: Int, _ salt: Int = 0) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &+ salt) }
    }

    @Test(arguments: BlobBackend.allCases)
    func aBlobComesBackWholeAndByRanges(_ backend: BlobBackend) async throws {
        let store = try backend.open(directory)
        let content = Self.bytes(300_000)
        let blob = try await store.put(content)
        #expect(try await store.stat(blob.digest) == 300_000)
        #expect(try await store.read(blob.digest, range: 0..<300_000) == content)
        #expect(try await store.read(blob.digest, range: 299_999..<300_000) == content.suffix(1))
        #expect(try await store.read(blob.digest, range: 1_000..<70_000) == Array(content[1_000..<70_000]))
        #expect(try await store.read(blob.digest, range: 5..<5).isEmpty)
        #expect(try await backend.open(directory).stat(blob.digest) == 300_000)
        let empty = try await store.put([])
        #expect(try await store.stat(empty.digest) == 0)
    }

    @Test(arguments: BlobBackend.allCases)
    func rangesOutsideAndMissingBlobsAreRefused(_ backend: BlobBackend) async throws {
        let store = try backend.open(directory)
        let blob = try await store.put(Self.bytes(100))
        for range: Range<Int64> in [0..<101, -1..<5, 200..<300, 0..<(8 << 20)] {
            let error = await #expect(throws: HubStoreError.self) {
                try await store.read(blob.digest, range: range)
            }
            #expect(error?.reason == .range)
        }
        let missing = Digest.sha256([1])
        #expect(try await store.stat(missing) == nil)
        let error = await #expect(throws: HubStoreError.self) { try await store.read(missing, range: 0..<1) }
        #expect(error?.reason == .blobMissing)
    }

    @Test(arguments: BlobBackend.allCases)
    func contentThatIsNotWhatItSaysIsRefused(_ backend: BlobBackend) async throws {
        let store = try backend.open(directory)
        let content = Self.bytes(1_000)
        let right = Release.Blob(digest: .sha256(content), size: 1_000)
        let wrong: [(Release.Blob, [UInt8])] = [
            (right, Self.bytes(1_000, 1)), (right, Array(content.prefix(999))), (right, content + [0]),
            (Release.Blob(digest: right.digest, size: 999), content),
        ]
        for (blob, bytes) in wrong {
            await #expect(throws: (any Error).self) {
                try await store.put(blob) { MemorySource(Array(bytes.dropFirst(Int($0)))) }
            }
            #expect(try await store.stat(right.digest) == nil)
        }
        try await store.put(right) { MemorySource(Array(content.dropFirst(Int($0)))) }
        #expect(try await store.read(right.digest, range: 0..<1_000) == content)
    }

    @Test(arguments: BlobBackend.allCases)
    func puttingTwiceIsPuttingOnceAndDeletingTwiceIsDeletingOnce(_ backend: BlobBackend) async throws {
        let store = try backend.open(directory)
        let blob = try await store.put(Self.bytes(10))
        #expect(try await store.put(Self.bytes(10)) == blob)
        #expect(try await store.list(after: nil, limit: 10) == [blob])
        try await store.delete(blob.digest)
        try await store.delete(blob.digest)
        #expect(try await store.stat(blob.digest) == nil)
        #expect(try await store.list(after: nil, limit: 10).isEmpty)
    }

    @Test(arguments: BlobBackend.allCases)
    func listingWalksAllPagesInOrder(_ backend: BlobBackend) async throws {
        let store = try backend.open(directory)
        var blobs: [Release.Blob] = []
        for number in 0..<20 { blobs.append(try await store.put([UInt8(number)])) }
        var found: [Release.Blob] = []
        while case let page = try await store.list(after: found.last?.digest, limit: 3), !page.isEmpty {
            #expect(page.count <= 3)
            found += page
        }
        #expect(found == blobs.sorted { $0.digest < $1.digest })
    }

    @Test(arguments: BlobBackend.allCases)
    func manyWritersOfManyBlobs(_ backend: BlobBackend) async throws {
        let store = try backend.open(directory)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<16 { group.addTask { _ = try await store.put(Self.bytes(5_000, number)) } }
            try await group.waitForAll()
        }
        #expect(try await store.list(after: nil, limit: 100).count == 16)
    }

    @Test(arguments: BlobBackend.allCases, FaultPlan.Fault.allCases)
    func everyDurableOperationMayFail(_ backend: BlobBackend, _ fault: FaultPlan.Fault) async throws {
        let content = Self.bytes(3 << 20)
        func run(_ directory: TemporaryDirectory, _ plan: FaultPlan) async -> Release.Blob? {
            guard let store = try? backend.open(directory, monitor: plan.monitor) else { return nil }
            return try? await store.put(content)
        }
        let counting = FaultPlan()
        #expect(await run(try TemporaryDirectory(), counting) != nil)
        #expect(counting.operations > 5)
        for target in 1...counting.operations {
            let directory = try TemporaryDirectory()
            let done = await run(directory, FaultPlan(fault, at: target))
            let store = try backend.open(directory)
            let digest = Digest.sha256(content)
            // A name means the whole content, whatever happened.
            if let size = try await store.stat(digest) {
                #expect(size == content.count)
                #expect(try await store.read(digest, range: 0..<Int64(content.count)) == content)
            } else {
                #expect(done == nil, "operation \(target): a promised blob is gone")
            }
            #expect(try await store.put(content).digest == digest)
            #expect(try await store.read(digest, range: 0..<100) == Array(content.prefix(100)))
        }
    }
}
