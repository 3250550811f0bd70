import Base
import ImageDelta
import TestSupport
import Testing

/// What an apply reads of its base, through the buffer in front of it.
@Suite struct BaseWindowTests {
    /// Bytes in memory; keeps what was asked of it.
    private final class RecordingBase: BaseSource {
        let bytes: [UInt8]
        private(set) var reads: [Range<Int64>] = []
        var layerSizes: [Int64] { [Int64(bytes.count)] }

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
            reads.append(offset..<offset + Int64(buffer.count))
            guard offset >= 0, offset + Int64(buffer.count) <= Int64(bytes.count) else {
                throw DeltaError(.missingBase, "a read at \(offset)")
            }
            buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
        }

        func describe(_ run: DeltaHeader.Run) -> String { "bytes in memory" }
    }

    private static let size: Int64 = 1 << 20

    private let base: RecordingBase

    init() {
        var random = SplitMix64(seed: 30)
        base = RecordingBase(random.bytes(Int(Self.size)))
    }

    private func window(_ runs: [Range<Int64>]) -> BaseWindow {
        let zero = Digest.sha256([])
        let header = DeltaHeader(
            targetSize: 1, targetDiffID: zero,
            bases: [
                .init(
                    size: Self.size, diffID: zero, skeletonSize: 0, skeletonDigest: Array(zero.bytes.prefix(8)),
                    recipe: .absent)
            ], usedRuns: runs.map { DeltaHeader.Run(offset: $0.lowerBound, length: $0.upperBound - $0.lowerBound) },
            spanDigests: [])
        return BaseWindow(base, header: header)
    }

    private func read(_ window: BaseWindow, _ range: Range<Int64>) throws -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(range.upperBound - range.lowerBound), alignment: 1)
        defer { buffer.deallocate() }
        try window.read(into: buffer, at: range.lowerBound)
        return Array(buffer)
    }

    @Test func everyReadGivesTheBytesOfTheBase() throws {
        var random = SplitMix64(seed: 31)
        let window = window([100..<400_000, 400_100..<Self.size])
        var at: Int64 = 0
        for _ in 0..<3_000 {
            // Mostly forwards in small steps, as covers go; now and then somewhere else.
            if Int.random(in: 0..<20, using: &random) == 0 {
                at = Int64.random(in: 0..<Self.size, using: &random)
            } else {
                at += Int64.random(in: 0..<6_000, using: &random)
            }
            at %= Self.size
            let length = min(Self.size - at, Int64.random(in: 0..<12_000, using: &random))
            #expect(try read(window, at..<at + length) == Array(base.bytes[Int(at)..<Int(at + length)]))
        }
    }

    @Test func nothingIsReadAheadBeyondTheUsedRuns() throws {
        let runs: [Range<Int64>] = [1_000..<1_500, 50_000..<90_000, 90_010..<90_020]
        let window = window(runs)
        for run in runs {
            for at in stride(from: run.lowerBound, to: run.upperBound, by: 10) { _ = try read(window, at..<at + 10) }
        }
        for read in base.reads { #expect(runs.contains { $0.contains(read.lowerBound) && read.upperBound <= $0.upperBound }) }
    }

    @Test func smallPiecesThatFollowEachOtherAreReadTogether() throws {
        let window = window([0..<Self.size])
        for at in stride(from: Int64(0), to: Self.size, by: 64) { _ = try read(window, at..<at + 64) }
        #expect(base.reads.count <= 128, "\(base.reads.count) reads for \(Self.size / 64) pieces")
    }

    @Test func aLongPieceIsReadOnceAndStraight() throws {
        let window = window([0..<Self.size])
        _ = try read(window, 10..<500_010)
        #expect(base.reads == [10..<500_010])
    }

    /// A hostile delta names no used runs; its covers still get their bytes, and only these are read.
    @Test func whatLiesInNoUsedRunIsReadAsItIsAskedFor() throws {
        for (window, asked) in [(window([]), Int64(590)..<610), (window([500..<600]), 600..<610)] {
            #expect(try read(window, 590..<610) == Array(base.bytes[590..<610]))
            #expect(base.reads.last == asked)
            #expect(try read(window, 0..<5) == Array(base.bytes[..<5]))
            #expect(base.reads.last == 0..<5)
        }
    }

    @Test func aFailedReadLeavesNothingStaleBehind() throws {
        let window = window([0..<Self.size + 5_000])
        #expect(try read(window, 0..<10) == Array(base.bytes[..<10]))
        #expect(throws: DeltaError.self) { try read(window, Self.size..<Self.size + 100) }
        #expect(try read(window, 0..<10) == Array(base.bytes[..<10]))
    }
}
