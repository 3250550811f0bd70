import Base
import ImageDelta
import ImageDeltaCreate
import TestSupport
import Testing

@Suite struct ResumeTests {
    /// A base that counts its reads.
    private final class CountingBase: BaseSource {
        let inner: any BaseSource
        private(set) var bytesRead: Int64 = 0
        var layerSizes: [Int64] { inner.layerSizes }
        init(_ inner: any BaseSource) { self.inner = inner }
        func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
            bytesRead += Int64(buffer.count)
            try inner.read(into: buffer, at: offset)
        }
        func describe(_ run: DeltaHeader.Run) -> String { inner.describe(run) }
    }

    private func layers() -> (old: [UInt8], new: [UInt8]) {
        var random = SplitMix64(seed: 11)
        var old = TarBuilder()
        var new = TarBuilder()
        for number in 0..<20 {
            let content = random.bytes(1_800_000)
            old.file("blob\(number)", content)
            new.file("blob\(number)", number % 9 == 0 ? random.edited(content, edits: 10) : content)
            new.file("fresh\(number)", random.bytes(10_000))
        }
        return (old.finish(), new.finish())
    }

    @Test func anApplyKilledAfterAnyChapterGoesOnFromThere() async throws {
        let workshop = try Workshop()
        let (old, new) = layers()
        let made = try await workshop.create(bases: [old], new: new, effort: 1)
        let delta = try DeltaApply(path: made.delta)
        let whole = Output()
        try delta.run(base: try TarFileBase(paths: made.bases), resumption: delta.fromStart(), sink: whole.sink())
        #expect(whole.bytes == new)
        #expect(whole.chapterEnds.count >= 4)
        for (number, end) in whole.chapterEnds.enumerated() {
            // A torn piece of the next chapter stays in the file, as after a power cut.
            let partial = try workshop.put("partial", Array(new.prefix(Int(end))) + [7, 7, 7])
            let resumption = try delta.resumption(of: try ReadableFile(path: partial))
            #expect(resumption.chapters == number + 1)
            #expect(resumption.bytes == end)
            let base = CountingBase(try TarFileBase(paths: made.bases))
            let rest = Output()
            try delta.run(base: base, resumption: resumption, sink: rest.sink())
            #expect(Array(new.prefix(Int(end))) + rest.bytes == new)
            #expect(base.bytesRead <= Int64(new.count) - end, "a resume reads the base only for what is missing")
        }
    }

    @Test func aDamagedPartialOutputIsKeptOnlyAsFarAsItIsRight() async throws {
        let workshop = try Workshop()
        let (old, new) = layers()
        let made = try await workshop.create(bases: [old], new: new, effort: 1)
        let delta = try DeltaApply(path: made.delta)
        let output = DeltaFileOutput(path: workshop.directory.file("out"))
        var damaged = Array(new.prefix(20 << 20))
        damaged[10 << 20] ^= 0x40
        _ = try workshop.put("out.partial", damaged)
        let outcome = try output.run(delta, base: try TarFileBase(paths: made.bases))
        #expect(outcome.resumedChapters == 1)
        #expect(try workshop.bytes("out") == new)
        #expect(try FileSystem().status(output.partialPath) == nil)
    }

    /// A run that made no whole chapter leaves nothing; one that did leaves what the next can go on from.
    @Test func aTruncatedDeltaLeavesAPartialOutputOnlyForWholeChapters() async throws {
        let workshop = try Workshop()
        let (old, new) = layers()
        let made = try await workshop.create(bases: [old], new: new, effort: 1)
        let whole = try workshop.bytes("delta")
        let output = DeltaFileOutput(path: workshop.directory.file("out"))
        let start = try DeltaApply(path: made.delta).chapterOffset
        for (cut, chapters) in [(Int(start) + 30, 0), (whole.count - 10, 4)] {
            let short = try workshop.put("short", Array(whole.prefix(cut)))
            let error = #expect(throws: DeltaError.self) {
                _ = try output.run(try DeltaApply(path: short), base: try TarFileBase(paths: made.bases))
            }
            #expect(error?.reason == .truncated)
            let partial = try FileSystem().status(output.partialPath)
            #expect((partial != nil) == (chapters > 0))
        }
        let outcome = try output.run(try DeltaApply(path: made.delta), base: try TarFileBase(paths: made.bases))
        #expect(outcome.resumedChapters >= 4)
        #expect(try workshop.bytes("out") == new)
    }

    @Test func aFileThatIsNotThereIsCalledMissing() async throws {
        let workshop = try Workshop()
        let missing = workshop.directory.file("missing")
        let error = #expect(throws: DeltaError.self) { _ = try DeltaApply(path: missing) }
        #expect(error?.reason == .notFound)
        #expect(error?.exitStatus == .noInput)
        let base = #expect(throws: DeltaError.self) { _ = try TarFileBase(paths: [missing]) }
        #expect(base?.exitStatus == .noInput)
        let there = try workshop.put("there", [1])
        for (old, new) in [(missing, there), (there, missing)] {
            let create = await #expect(throws: DeltaError.self) {
                _ = try await DeltaCreate().run(bases: [old], new: new, output: workshop.directory.file("delta"))
            }
            #expect(create?.exitStatus == .noInput)
        }
    }

    @Test func anErrorOfTheReceiverStopsTheApply() async throws {
        let workshop = try Workshop()
        let (old, new) = layers()
        let made = try await workshop.create(bases: [old], new: new, effort: 1)
        let delta = try DeltaApply(path: made.delta)
        let output = Output()
        do {
            try delta.run(
                base: try TarFileBase(paths: made.bases), resumption: delta.fromStart(),
                sink: output.sink(failingAfter: 9 << 20))
            Issue.record("the error was swallowed")
        } catch {
            #expect(error.reason == .cancelled)
            #expect(output.bytes.count < new.count)
        }
    }
}
