import Base
import ImageDelta
import ImageDeltaCreate
import TestSupport
import Testing

/// Precompressed files are made from their contents, to the byte.
@Suite(.enabled(if: Gzip.isInstalled, "gzip is not installed")) struct PackedMemberTests {
    private func layer(_ files: [(String, [UInt8])]) -> [UInt8] {
        var tar = TarBuilder()
        for (path, content) in files { tar.file(path, content) }
        return tar.finish()
    }

    @Test(arguments: 1...9)
    func aSmallEditOfAPackedFileCostsLittle(level: Int) async throws {
        var random = SplitMix64(seed: UInt64(level))
        let workshop = try Workshop()
        // Enough for several blocks.
        let content = random.bytes(30_000) + random.text(200_000)
        let edited = random.edited(content, edits: 3)
        let old = layer([("doc/a.gz", try Gzip.compress(content, level: level))])
        let packed = try Gzip.compress(edited, level: level)
        let new = layer([("doc/a.gz", packed)])
        let made = try await workshop.create(bases: [old], new: new)
        #expect(try workshop.apply(made.delta, bases: made.bases) == new)
        let size = try #require(try FileSystem().status(made.delta)).size
        #expect(size < 4_000, "\(size) bytes for \(packed.count) packed")
    }

    @Test func aRenamedPackedFileIsFoundByItsContent() async throws {
        var random = SplitMix64(seed: 20)
        let workshop = try Workshop()
        let contents = (0..<12).map { _ in random.bytes(2_000) + random.text(9_000) }
        let old = layer(
            try contents.enumerated().map { ("app/chunk-\($0)abcdef12.js.gz", try Gzip.compress($1, level: 9)) })
        let new = layer(
            try contents.enumerated().map {
                ("app/chunk-\($0)fedcba98.js.gz", try Gzip.compress(random.edited($1, edits: 1), level: 9))
            })
        let made = try await workshop.create(bases: [old], new: new)
        #expect(try workshop.apply(made.delta, bases: made.bases) == new)
        let size = try #require(try FileSystem().status(made.delta)).size
        #expect(size < 8_000, "\(size)")
    }

    /// Streams that cannot be made again stay as they are: cut short, with a name, with bytes behind, not compressed.
    @Test func oddStreamsStayExact() async throws {
        var random = SplitMix64(seed: 21)
        let workshop = try Workshop()
        let good = try Gzip.compress(random.text(20_000), level: 6)
        var named = Array(good[..<3]) + [8] + good[4..<10] + Array("name".utf8) + [0] + good[10...]
        named[9] = 7
        var wrongSum = good
        wrongSum[good.count - 6] ^= 1
        let files: [(String, [UInt8])] = [
            ("short.gz", Array(good.dropLast(40))), ("named.gz", named), ("behind.gz", good + [0, 0, 0]),
            ("sum.gz", wrongSum), ("stored.gz", try Gzip.compress(random.bytes(50_000), level: 9)),
            ("two.gz", good + good), ("magic.gz", [0x1F, 0x8B, 8] + random.bytes(200)), ("tiny.gz", [0x1F, 0x8B, 8, 0]),
        ]
        let new = layer(files)
        let made = try await workshop.create(bases: [layer([("named.gz", good)])], new: new)
        #expect(try workshop.apply(made.delta, bases: made.bases) == new)
    }

    /// Four letters at random repeat everywhere: a search looks at hundreds of positions, and little is saved.
    @Test func whatIsDearToCompressAgainStaysPackedBelowEffortEight() async throws {
        var random = SplitMix64(seed: 23)
        let workshop = try Workshop()
        let content = (0..<150_000).map { _ in Array("acgt".utf8)[Int(random.next() % 4)] }
        let old = layer([("genes.gz", try Gzip.compress(content, level: 9))])
        let packed = try Gzip.compress(random.edited(content, edits: 3), level: 9)
        let new = layer([("genes.gz", packed)])
        var sizes: [Int64] = []
        for effort in [7, 8] {
            let made = try await workshop.create(bases: [old], new: new, effort: effort)
            #expect(try workshop.apply(made.delta, bases: made.bases) == new)
            sizes.append(try #require(try FileSystem().status(made.delta)).size)
        }
        #expect(sizes[0] > 10_000 && sizes[1] < 4_000, "\(sizes) for \(packed.count) packed")
    }

    /// A signed delta of a hostile maker may ask for searches that go on and on; they end at a bound.
    @Test func aSearchThatTakesMoreThanItsBoundIsRefused() throws {
        var random = SplitMix64(seed: 24)
        let content = (0..<50_000).map { _ in Array("acgt".utf8)[Int(random.next() % 4)] }
        let recipe = DeflateRecipe(
            level: 9, hashBits: 15, blocks: [.init(symbols: 10_000, isDynamic: true)], exceptions: [])
        var work = PackedWork(left: 20_000)
        let error = #expect(throws: DeltaError.self) {
            try content.withUnsafeBufferPointer {
                try DeflateWriter.write($0, recipe: recipe, length: 10, work: &work) { _ in }
            }
        }
        #expect(error?.reason == .limit)
    }

    @Test func aPackedFileSurvivesAResume() async throws {
        var random = SplitMix64(seed: 22)
        let workshop = try Workshop()
        let big = random.bytes(9 << 20)
        let content = random.text(60_000)
        let old = layer([("a", big), ("b.gz", try Gzip.compress(content, level: 9)), ("c", random.bytes(100))])
        let new = layer([
            ("a", random.edited(big, edits: 5)),
            ("b.gz", try Gzip.compress(random.edited(content, edits: 4), level: 9)), ("c", random.text(9_000)),
        ])
        let made = try await workshop.create(bases: [old], new: new)
        let delta = try DeltaApply(path: made.delta)
        for kept in [0, 9 << 20, new.count] {
            let partial = try workshop.put("out.partial", Array(new.prefix(kept)))
            #expect(partial.hasSuffix(".partial"))
            _ = try DeltaFileOutput(path: workshop.directory.file("out"))
                .run(delta, base: try TarFileBase(paths: made.bases))
            #expect(try workshop.bytes("out") == new)
        }
    }
}
