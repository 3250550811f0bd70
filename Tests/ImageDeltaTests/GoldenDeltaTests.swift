import Base
import Glibc
import ImageDelta
import TestSupport
import Testing

/// Layers with something for every part of the format, the same on every run.
enum GoldenLayer {
    static func make(changed: Bool) throws -> [UInt8] {
        var random = SplitMix64(seed: 2026)
        var tar = TarBuilder()
        if changed { tar.modified += 86_400 }
        tar.directory("")
        for machine in [ExecutableBuilder.Machine.x86_64, .aarch64] {
            var executable = ExecutableBuilder(machine, count: 300, random: &random)
            let inserted = random.bytes(48)
            let other = random.bytes(36)
            if changed {
                executable.functions.insert(inserted, at: 40)
                executable.functions[200] = other
            }
            tar.file("usr/lib/lib\(machine).so", executable.build(), mode: 0o755)
        }
        let text = random.text(30_000)
        let edited = random.edited(text, edits: 4)
        tar.file("usr/share/doc/text", changed ? edited : text)
        for level in [1, 6, 9] {
            tar.file("usr/share/doc/text-\(level).gz", try Gzip.compress(changed ? edited : text, level: level))
        }
        tar.file("usr/share/fresh", changed ? random.text(3_000) : [])
        return tar.finish()
    }
}

/// The `gzip` program.
enum Gzip {
    static let isInstalled = Tool.isInstalled("gzip")

    static func compress(_ bytes: [UInt8], level: Int) throws -> [UInt8] {
        let directory = try TemporaryDirectory()
        let path = directory.file("content")
        try FileSystem().replace(path, with: bytes, op: "test")
        let outcome = try Tool.run(["gzip", "-n", "-\(level)", path])
        guard outcome.status == 0 else { throw DeltaError(.inputOutput, outcome.output) }
        return try FileSystem().read(path + ".gz", limit: 1 << 30)
    }
}

/// Deltas of released format versions apply as long as this program reads the version, and the page that describes
/// the format is enough: a decoder in Python, written from it, gives the same layers.
@Suite struct GoldenDeltaTests {
    private static let folder = Path.join(TestSupport.Repository.root, "Tests/ImageDeltaTests/Golden")
    private static let decoder = Path.join(TestSupport.Repository.root, "Tests/ImageDeltaTests/decoder.py")

    private func decode(_ delta: String, bases: [String], in workshop: Workshop) throws -> [UInt8] {
        let output = workshop.directory.file("decoded")
        let outcome = try Tool.run(["python3", Self.decoder, delta, output] + bases)
        #expect(outcome.status == 0, "\(outcome.output)")
        return try FileSystem().read(output, limit: 1 << 30)
    }

    @Test func theGoldenDeltaOfVersion2StillApplies() throws {
        let workshop = try Workshop()
        let base = Path.join(Self.folder, "old.tar")
        let expected = try FileSystem().read(Path.join(Self.folder, "new.tar"), limit: 1 << 24)
        #expect(try workshop.apply(Path.join(Self.folder, "v2.hfdelta"), bases: [base]) == expected)
    }

    @Test(.enabled(if: Tool.isInstalled("python3"), "python3 is not installed"))
    func theSecondDecoderReadsTheGoldenDelta() throws {
        let workshop = try Workshop()
        let decoded = try decode(
            Path.join(Self.folder, "v2.hfdelta"), bases: [Path.join(Self.folder, "old.tar")], in: workshop)
        #expect(try decoded == FileSystem().read(Path.join(Self.folder, "new.tar"), limit: 1 << 24))
    }

    @Test(.enabled(if: Tool.isInstalled("python3"), "python3 is not installed"), arguments: [1, 7])
    func theSecondDecoderReadsWhatIsMadeNow(effort: Int) async throws {
        let workshop = try Workshop()
        let new = try GoldenLayer.make(changed: true)
        let made = try await workshop.create(bases: [try GoldenLayer.make(changed: false)], new: new, effort: effort)
        #expect(try decode(made.delta, bases: made.bases, in: workshop) == new)
        // Writes new golden files, after a deliberate change of the format.
        if let folder = getenv("HOLDFAST_WRITE_GOLDEN").map({ String(cString: $0) }), effort == 7 {
            for (name, file) in [("old.tar", made.bases[0]), ("v2.hfdelta", made.delta)] {
                try FileSystem().replace(
                    Path.join(folder, name), with: FileSystem().read(file, limit: 1 << 24), op: "test")
            }
            try FileSystem().replace(Path.join(folder, "new.tar"), with: new, op: "test")
        }
    }
}
