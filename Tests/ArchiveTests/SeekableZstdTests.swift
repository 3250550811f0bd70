import Archive
import Base
import TestSupport
import Testing

@Suite struct SeekableZstdTests {
    private let folder: TemporaryDirectory
    private let fileSystem = FileSystem()

    init() throws { folder = try TemporaryDirectory() }

    /// Text that compresses, of several frames, the last of them short.
    private static func content(_ count: Int, seed: UInt64 = 5) -> [UInt8] {
        var random = SplitMix64(seed: seed)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 16)
        while bytes.count < count {
            bytes += Array("line \(UInt8.random(in: 0...255, using: &random)) of a layer\n".utf8)
        }
        return Array(bytes.prefix(count))
    }

    private func write(_ parts: [ArraySlice<UInt8>], finishing: Bool = true) throws -> String {
        let path = folder.file("layer")
        let file = try fileSystem.create(path, truncate: true, op: "test")
        let writer = try SeekableZstdWriter(file)
        for part in parts {
            try part.withUnsafeBytes { try writer.write($0) }
            if !finishing { try writer.endFrame() }
        }
        if finishing { try writer.finish() }
        return path
    }

    @Test func anyZstdDecoderReadsItFromStartToEnd() throws {
        let content = Self.content(2_500_000)
        let path = try write([content[...]])
        let source = try ZstdDecompressor(try FileSource(try ReadableFile(path: path)), outputCap: .max)
        #expect(try source.read(count: content.count + 1) == content)
        #expect(try Tool.run(["zstd", "-t", path]).status == 0)
    }

    @Test func itIsReadAtRandom() throws {
        let content = Self.content(5_300_000)
        let reader = try SeekableZstdReader(try ReadableFile(path: try write([content[...]])))
        #expect(reader.contentSize == Int64(content.count))
        var random = SplitMix64(seed: 8)
        for _ in 0..<60 {
            let offset = Int.random(in: 0..<content.count, using: &random)
            var buffer = [UInt8](
                repeating: 0, count: Int.random(in: 0...min(content.count - offset, 1_200_000), using: &random))
            try buffer.withUnsafeMutableBytes { try reader.read(into: $0, at: Int64(offset)) }
            #expect(buffer.elementsEqual(content[offset..<offset + buffer.count]))
        }
        #expect(throws: ArchiveError.self) {
            var buffer = [UInt8](repeating: 0, count: 2)
            try buffer.withUnsafeMutableBytes { try reader.read(into: $0, at: Int64(content.count) - 1) }
        }
    }

    @Test func nothingIsAFileToo() throws {
        let path = try write([])
        #expect(try SeekableZstdReader(try ReadableFile(path: path)).contentSize == 0)
    }

    @Test func aFileThatWasCutShortGoesOnAtItsLastWholeFrame() throws {
        let content = Self.content(3_400_000)
        let path = try write([content[..<1_300_000]], finishing: false)
        let whole = try #require(try fileSystem.status(path)).size
        // A torn frame at the end, as a power cut leaves it.
        let torn = try fileSystem.append(path, op: "test")
        try torn.write([0x28, 0xB5, 0x2F, 0xFD, 0x64, 9, 9])
        let scan = try SeekableZstdWriter.Scan(try ReadableFile(path: path))
        #expect(try scan.read(count: content.count) == Array(content[..<1_300_000]))
        #expect(scan.resumption.contentSize == 1_300_000)
        #expect(scan.resumption.fileSize == whole)
        #expect(scan.resumption.cut(at: 1 << 20)?.contentSize == 1 << 20)
        #expect(scan.resumption.cut(at: 77) == nil)
        try torn.truncate(to: scan.resumption.fileSize)
        let writer = try SeekableZstdWriter(try fileSystem.append(path, op: "test"), resuming: scan.resumption)
        try content[1_300_000...].withUnsafeBytes { try writer.write($0) }
        try writer.finish()
        let reader = try SeekableZstdReader(try ReadableFile(path: path))
        var buffer = [UInt8](repeating: 0, count: content.count)
        try buffer.withUnsafeMutableBytes { try reader.read(into: $0, at: 0) }
        #expect(buffer == content)
    }

    @Test func everyDamagedByteOfTheTableIsFoundOrHarmless() throws {
        let content = Self.content(2_200_000)
        let path = try write([content[...]])
        let sound = try fileSystem.read(path, limit: 1 << 24)
        for back in 1...41 {
            var bytes = sound
            bytes[bytes.count - back] ^= 0x81
            try fileSystem.replace(path, with: bytes, op: "test")
            guard let reader = try? SeekableZstdReader(try ReadableFile(path: path)) else { continue }
            var buffer = [UInt8](repeating: 0, count: min(content.count, Int(reader.contentSize)))
            guard (try? buffer.withUnsafeMutableBytes({ try reader.read(into: $0, at: 0) })) != nil else { continue }
            #expect(buffer.elementsEqual(content.prefix(buffer.count)))
        }
        // Cut short anywhere, it is no finished file.
        for keep in [0, 1, 8, 17, sound.count / 2, sound.count - 1] {
            try fileSystem.replace(path, with: Array(sound.prefix(keep)), op: "test")
            #expect(throws: (any Error).self) { try SeekableZstdReader(try ReadableFile(path: path)) }
        }
    }

    @Test func aDamagedFrameIsFound() throws {
        let content = Self.content(2_200_000)
        let path = try write([content[...]])
        var bytes = try fileSystem.read(path, limit: 1 << 24)
        bytes[bytes.count / 2] ^= 0x10
        try fileSystem.replace(path, with: bytes, op: "test")
        let reader = try SeekableZstdReader(try ReadableFile(path: path))
        var buffer = [UInt8](repeating: 0, count: content.count)
        #expect(throws: ArchiveError.self) { try buffer.withUnsafeMutableBytes { try reader.read(into: $0, at: 0) } }
    }
}
