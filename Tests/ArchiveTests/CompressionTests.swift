import Archive
import Base
import TestSupport
import Testing

/// Text-like bytes that compress, and differ by seed.
func content(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SplitMix64(seed: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 64)
    while bytes.count < count {
        let word = String(generator.next() % 5000, radix: 36)
        bytes += word.utf8
        bytes.append(0x20)
    }
    return Array(bytes.prefix(count))
}

func drain(_ source: any ByteSource, chunk: Int = 1 << 16) throws -> [UInt8] {
    var bytes: [UInt8] = []
    try source.forEachChunk(of: chunk) { bytes += $0 }
    return bytes
}

func compressed(_ bytes: [UInt8], by tool: [String]) throws -> [UInt8] {
    let directory = try TemporaryDirectory()
    try FileSystem().replace(directory.file("in"), with: bytes, op: "test")
    let outcome = try Tool.run(["sh", "-c", tool.joined(separator: " ") + " < in > out"], in: directory.path)
    try #require(outcome.status == 0, "\(outcome.output)")
    return try FileSystem().read(directory.file("out"), limit: 1 << 30)
}

@Suite struct CompressionTests {
    @Test(arguments: [0, 1, 1000, 200_000], [1, 19])
    func zstdRoundTrips(count: Int, level: Int) throws {
        let original = content(count, seed: UInt64(count))
        let frame = try drain(try ZstdCompressor(MemorySource(original), level: level))
        #expect(frame.count < max(64, count))
        for step in [1, 1000, 1 << 20] where count < 2000 || step > 1 {
            let output = try drain(try ZstdDecompressor(DripSource(frame, step: step), outputCap: Int64(count)))
            #expect(output == original)
        }
    }

    @Test func zstdOutputDoesNotDependOnWorkersOrReads() throws {
        let original = (0..<90).flatMap { _ in content(100_000, seed: 3) }
        let reference = try drain(try ZstdCompressor(MemorySource(original), level: 3, workers: 1))
        for (workers, step) in [(1, 777), (2, 1 << 20), (4, 65_536)] {
            let frame = try drain(
                try ZstdCompressor(DripSource(original, step: step), level: 3, workers: workers), chunk: step)
            #expect(frame == reference, "\(workers) workers, reads of \(step)")
        }
    }

    @Test(.enabled(if: Tool.isInstalled("zstd"), "zstd is not installed"))
    func framesInARowAndSkippableOnesAreRead() throws {
        let frame = try compressed(Array("hello ".utf8), by: ["zstd", "-q", "-c"])
        let skippable: [UInt8] = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 9, 9, 9]
        let bytes = skippable + frame + skippable + frame
        #expect(Compression(prefix: bytes) == .zstd)
        #expect(try drain(try ZstdDecompressor(MemorySource(bytes), outputCap: 12)) == Array("hello hello ".utf8))
    }

    @Test(.enabled(if: Tool.isInstalled("gzip"), "gzip is not installed"), arguments: [1, 1000, 1 << 20])
    func gzipMembersInARowAreRead(step: Int) throws {
        let original = content(5_000, seed: 4)
        let member = try compressed(original, by: ["gzip", "-c"])
        #expect(Compression(prefix: member) == .gzip)
        let output = try drain(try GzipDecompressor(DripSource(member + member, step: step), outputCap: 10_000))
        #expect(output == original + original)
    }

    // MARK: Hostile

    static let bombCap: Int64 = 1 << 20

    @Test(.enabled(if: Tool.isInstalled("zstd"), "zstd is not installed"), arguments: ["gzip -c", "zstd -q -c"])
    func aBombStopsAtTheCap(tool: String) throws {
        let bomb = try compressed([UInt8](repeating: 0, count: 16 << 20), by: [tool])
        #expect(bomb.count < 100_000)
        let kind = Compression(prefix: bomb)
        var produced: Int64 = 0
        let source = try kind.decompressor(MemorySource(bomb), outputCap: Self.bombCap, subject: "bomb")
        let error = #expect(throws: ArchiveError.self) { try source.forEachChunk { produced += Int64($0.count) } }
        #expect(error?.reason == .outputCap)
        #expect(produced <= Self.bombCap)
    }

    @Test(.enabled(if: Tool.isInstalled("zstd"), "zstd is not installed"))
    func aFrameThatWantsAHugeWindowIsRefusedBeforeItIsAllocated() throws {
        let frame = try compressed(content(100_000, seed: 5), by: ["cat", "in", "|", "zstd", "-q", "-c", "--long=27"])
        let error = #expect(throws: ArchiveError.self) {
            _ = try drain(try ZstdDecompressor(MemorySource(frame), outputCap: 1 << 20))
        }
        #expect(error?.reason == .window)
        #expect(
            try drain(try ZstdDecompressor(MemorySource(frame), outputCap: 1 << 20, windowLog: Zstd.foreignWindowLog))
                .count == 100_000)
    }

    @Test(arguments: [Compression.gzip, .zstd])
    func truncationAndDamageAreFound(kind: Compression) throws {
        let original = content(50_000, seed: 6)
        let frame =
            kind == .zstd
            ? try drain(try ZstdCompressor(MemorySource(original))) : try compressed(original, by: ["gzip", "-c"])
        for cut in [0, 1, 5, 100, frame.count / 2, frame.count - 1] {
            let error = #expect(throws: ArchiveError.self, "cut at \(cut)") {
                _ = try drain(
                    try kind.decompressor(MemorySource(Array(frame[..<cut])), outputCap: 1 << 20, subject: "t"))
            }
            #expect(error?.reason == .truncated)
        }
        var generator = SplitMix64(seed: 8)
        for _ in 0..<100 {
            var damaged = frame
            // Beyond the header, whose flags and time a gzip reader has no way to check.
            damaged[Int.random(in: 12..<frame.count, using: &generator)] ^= 1 << UInt8.random(in: 0...7, using: &generator)
            #expect(throws: ArchiveError.self) {
                _ = try drain(try kind.decompressor(MemorySource(damaged), outputCap: 1 << 20, subject: "t"))
            }
        }
        let trailing = #expect(throws: ArchiveError.self) {
            _ = try drain(
                try kind.decompressor(MemorySource(frame + Array("junk".utf8)), outputCap: 1 << 20, subject: "t"))
        }
        #expect(trailing?.reason == (kind == .gzip ? .gzip : .zstd))
    }
}
