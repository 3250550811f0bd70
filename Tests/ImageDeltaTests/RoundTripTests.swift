import Base
import ImageDelta
import ImageDeltaCreate
import TestSupport
import Testing

@Suite struct RoundTripTests {
    /// A layer with one of everything.
    static func layer(seed: UInt64, changed: Bool) -> [UInt8] {
        var random = SplitMix64(seed: seed)
        var tar = TarBuilder()
        if changed { tar.modified += 1000 }
        let library = random.bytes(40_000)
        let text = random.text(9_000)
        tar.directory("")
        tar.directory("usr/lib")
        tar.file("usr/lib/libone.so.1.2.\(changed ? 4 : 3)", changed ? random.edited(library, edits: 12) : library)
        tar.hardLink("usr/lib/libone.so", to: "usr/lib/libone.so.1.2.3")
        tar.symlink("usr/lib/libone.so.1", to: "libone.so.1.2.3")
        tar.file("usr/lib/empty", [])
        tar.device("dev/null", major: 1, minor: 3)
        tar.fifo("run/pipe")
        tar.whiteout("gone", in: "etc")
        tar.pax([("SCHILY.xattr.security.capability", [1, 0, 0, 2, 0, 0x3D, 0]), ("mtime", Array("17.5".utf8))])
        tar.file("usr/bin/ping", text)
        let long = String(repeating: "deep/", count: 40) + "file"
        tar.pax([("path", Array(long.utf8))])
        tar.file("short", changed ? random.edited(text, edits: 3) : text)
        tar.gnuLongName(long + "2")
        tar.file("short2", Array(text.reversed()))
        for number in 0..<200 {
            tar.file("app/chunk-\(changed ? "9" : "1")f00ba4\(number).js", random.text(300 + number))
        }
        if changed { tar.file("usr/lib/new", random.bytes(5_000)) }
        return tar.finish()
    }

    @Test(arguments: [1, 4, 7, 9])
    func everyKindOfMemberComesBackExactly(effort: Int) async throws {
        let workshop = try Workshop()
        let old = Self.layer(seed: 1, changed: false)
        let new = Self.layer(seed: 1, changed: true)
        let made = try await workshop.create(bases: [old], new: new, effort: effort)
        #expect(try workshop.apply(made.delta, bases: made.bases) == new)
        let size = try #require(try FileSystem().status(made.delta)).size
        #expect(size < 30_000, "\(size) bytes for a layer of \(new.count)")
    }

    @Test func severalBaseLayersAreOneSpace() async throws {
        let workshop = try Workshop()
        var random = SplitMix64(seed: 7)
        let parts = (0..<3).map { _ in random.bytes(30_000) }
        let bases = parts.enumerated().map { index, part in
            var tar = TarBuilder()
            tar.file("layer\(index)/data", part)
            return tar.finish()
        }
        var tar = TarBuilder()
        tar.file("all/2", parts[2])
        tar.file("all/0", random.edited(parts[0], edits: 4))
        tar.file("all/joined", parts[1] + parts[0])
        let new = tar.finish()
        let made = try await workshop.create(bases: bases, new: new)
        #expect(try workshop.apply(made.delta, bases: made.bases) == new)
        let size = try #require(try FileSystem().status(made.delta)).size
        #expect(size < 4_000, "\(size)")
    }

    @Test(arguments: UInt64(0)..<24)
    func randomEditsRoundTrip(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let workshop = try Workshop()
        let old = Bool.random(using: &random) ? Self.layer(seed: seed, changed: false) : random.bytes(20_000)
        let new = random.edited(old, edits: Int.random(in: 0..<60, using: &random))
        let made = try await workshop.create(bases: [old], new: new, effort: Int.random(in: 1...9, using: &random))
        #expect(try workshop.apply(made.delta, bases: made.bases) == new)
    }

    @Test func emptyInputsRoundTrip() async throws {
        for (old, new) in [([], []), ([], [1, 2, 3]), ([1, 2, 3], [])] as [([UInt8], [UInt8])] {
            let workshop = try Workshop()
            let made = try await workshop.create(bases: [old], new: new)
            #expect(try workshop.apply(made.delta, bases: made.bases) == new)
        }
        let workshop = try Workshop()
        let made = try await workshop.create(bases: [], new: Self.layer(seed: 2, changed: false))
        #expect(try workshop.apply(made.delta, bases: []) == Self.layer(seed: 2, changed: false))
    }

    @Test func anIdenticalLayerCostsLessThanTwoKilobytes() async throws {
        let workshop = try Workshop()
        var random = SplitMix64(seed: 3)
        var tar = TarBuilder()
        for number in 0..<60 { tar.file("data/\(number)", random.bytes(700_000)) }
        let layer = tar.finish()
        let made = try await workshop.create(bases: [layer], new: layer, effort: 1)
        let size = try #require(try FileSystem().status(made.delta)).size
        #expect(size < 2_000, "\(size)")
        #expect(try workshop.apply(made.delta, bases: made.bases) == layer)
    }

    @Test func theSameInputsMakeTheSameDelta() async throws {
        let (first, second) = (try Workshop(), try Workshop())
        let old = Self.layer(seed: 4, changed: false)
        let new = Self.layer(seed: 4, changed: true)
        _ = try await first.create(bases: [old], new: new)
        _ = try await second.create(bases: [old], new: new)
        #expect(try first.bytes("delta") == second.bytes("delta"))
    }
}
