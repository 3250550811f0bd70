import Base
import CZstd

/// Zstd frames that each hold at most 1 MiB of content, with a table of them at the end: any zstd decoder reads the
/// file from start to end, and this one reads it at random.
///
/// The table is that of the "Zstandard Seekable Format" 0.1.0 (zstd, contrib/seekable_format), without its checksums:
/// every frame carries its own.
public enum SeekableZstd {
    /// Bytes of content in one frame, at most: what a reader holds decoded at a time.
    public static let frameBytes = 1 << 20
    /// Frames of one file: 256 GiB of content.
    public static let frameLimit = 1 << 18
    /// Fast: it keeps up with the disk of a small device, and its output is a fourth larger than level 9's.
    public static let fastLevel = 1

    static let skippableMagic: UInt32 = 0x184D_2A5E
    static let seekableMagic: UInt32 = 0x8F92_EAB1
    /// Bytes of the table's head, of one entry, and of its foot.
    static let headBytes = 8
    static let entryBytes = 8
    static let footBytes = 9

    /// Where a frame lies: the table's entry, summed up.
    struct Frame: Sendable, Equatable {
        var offset: Int64
        var byteCount: Int
        var contentOffset: Int64
        var contentCount: Int

        var end: Int64 { offset + Int64(byteCount) }
        var contentEnd: Int64 { contentOffset + Int64(contentCount) }
    }

    static func fail(_ subject: String, _ offset: Int64, _ detail: String) -> ArchiveError {
        ArchiveError(.zstd, subject: subject, offset: offset, detail: detail)
    }
}

/// Decodes single frames of at most ``SeekableZstd/frameBytes``.
final class SeekableFrameDecoder {
    private let context: OpaquePointer
    private let subject: String
    private var compressed: [UInt8]

    init(subject: String) throws(ArchiveError) {
        guard let context = ZSTD_createDCtx() else { throw ArchiveError(.zstd, subject: subject, detail: "out of memory") }
        self.context = context
        self.subject = subject
        compressed = [UInt8](repeating: 0, count: ZSTD_compressBound(SeekableZstd.frameBytes))
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Decodes the frame at `offset` into `content`, which has room for a whole one. Nil at what is no whole frame of
    /// this format: the table, a torn end, damage.
    func frame(of file: ReadableFile, at offset: Int64, into content: UnsafeMutableRawBufferPointer) throws
        -> (byteCount: Int, contentCount: Int)?
    {
        let available = try compressed.withUnsafeMutableBytes { try file.read(into: $0, at: offset) }
        let size = compressed.withUnsafeBytes { ZSTD_findFrameCompressedSize($0.baseAddress, available) }
        guard ZSTD_isError(size) == 0, size <= available, !isSkippable else { return nil }
        let count = compressed.withUnsafeBytes {
            ZSTD_decompressDCtx(context, content.baseAddress, content.count, $0.baseAddress, size)
        }
        return ZSTD_isError(count) == 0 && count > 0 ? (size, count) : nil
    }

    private var isSkippable: Bool {
        let magic = compressed.prefix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return magic & 0xFFFF_FFF0 == 0x184D_2A50
    }
}

/// Writes a ``SeekableZstd`` file, or goes on with one that was cut short before its table.
public final class SeekableZstdWriter {
    private let file: WritableFile
    private let context: OpaquePointer
    private var frames: [SeekableZstd.Frame]
    private var content: [UInt8] = []
    private var compressed: [UInt8]

    /// Bytes of content written so far, pending ones included.
    public var contentSize: Int64 { (frames.last?.contentEnd ?? 0) + Int64(content.count) }
    /// Bytes of file so far, without what is pending.
    public var fileSize: Int64 { frames.last?.end ?? 0 }

    /// - Parameters:
    ///   - file: at its end, which is the end of what `resumption` keeps.
    ///   - resumption: the frames that are there already.
    public init(_ file: WritableFile, level: Int = SeekableZstd.fastLevel, resuming resumption: Resumption? = nil) throws {
        guard let context = ZSTD_createCCtx() else { throw ArchiveError(.zstd, detail: "out of memory") }
        self.file = file
        self.context = context
        frames = resumption?.frames ?? []
        compressed = [UInt8](repeating: 0, count: ZSTD_compressBound(SeekableZstd.frameBytes))
        content.reserveCapacity(SeekableZstd.frameBytes)
        for (parameter, value) in [(ZSTD_c_compressionLevel, Int32(level)), (ZSTD_c_checksumFlag, 1)] {
            let result = ZSTD_CCtx_setParameter(context, parameter, value)
            guard ZSTD_isError(result) == 0 else {
                throw ArchiveError(.zstd, subject: file.path, detail: String(cString: ZSTD_getErrorName(result)))
            }
        }
    }

    deinit { ZSTD_freeCCtx(context) }

    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = rest.prefix(SeekableZstd.frameBytes - content.count)
            content += part
            rest = rest.dropFirst(part.count)
            if content.count == SeekableZstd.frameBytes { try endFrame() }
        }
    }

    /// Ends the frame under way; what was written until now is in the file.
    public func endFrame() throws {
        guard !content.isEmpty else { return }
        guard frames.count < SeekableZstd.frameLimit else {
            throw SeekableZstd.fail(file.path, fileSize, "more than \(SeekableZstd.frameLimit) frames")
        }
        let size = compressed.withUnsafeMutableBytes { output in
            content.withUnsafeBytes {
                ZSTD_compress2(context, output.baseAddress, output.count, $0.baseAddress, $0.count)
            }
        }
        guard ZSTD_isError(size) == 0 else {
            throw SeekableZstd.fail(file.path, fileSize, String(cString: ZSTD_getErrorName(size)))
        }
        try compressed.withUnsafeBytes { try file.write(UnsafeRawBufferPointer(rebasing: $0[0..<size])) }
        frames.append(
            .init(
                offset: fileSize, byteCount: size, contentOffset: frames.last?.contentEnd ?? 0,
                contentCount: content.count))
        content.removeAll(keepingCapacity: true)
    }

    /// Ends the last frame and writes the table. Nothing may be written afterwards.
    public func finish() throws {
        try endFrame()
        let tableBytes = frames.count * SeekableZstd.entryBytes + SeekableZstd.footBytes
        var table: [UInt8] = []
        table.reserveCapacity(SeekableZstd.headBytes + tableBytes)
        func put(_ value: UInt32) { for shift in stride(from: 0, to: 32, by: 8) { table.append(UInt8(value >> UInt32(shift) & 0xFF)) } }
        put(SeekableZstd.skippableMagic)
        put(UInt32(tableBytes))
        for frame in frames {
            put(UInt32(frame.byteCount))
            put(UInt32(frame.contentCount))
        }
        put(UInt32(frames.count))
        table.append(0)
        put(SeekableZstd.seekableMagic)
        try file.write(table)
    }

    /// What a file that was cut short holds whole, found by decoding it.
    public struct Resumption: Sendable {
        fileprivate var frames: [SeekableZstd.Frame]

        /// Nothing is kept.
        public init() { frames = [] }

        fileprivate init(frames: [SeekableZstd.Frame]) { self.frames = frames }

        public var contentSize: Int64 { frames.last?.contentEnd ?? 0 }
        /// Bytes of file to keep; what follows must be cut off.
        public var fileSize: Int64 { frames.last?.end ?? 0 }

        /// The frames up to `contentSize` of content; nil when no frame ends there.
        public func cut(at contentSize: Int64) -> Resumption? {
            guard contentSize > 0 else { return Resumption() }
            guard let last = frames.lastIndex(where: { $0.contentEnd == contentSize }) else { return nil }
            return Resumption(frames: Array(frames[...last]))
        }
    }

    /// Pulls the content of a file that was cut short, up to the first frame that is not whole.
    public final class Scan: ByteSource {
        private let file: ReadableFile
        private let decoder: SeekableFrameDecoder
        private let buffer: UnsafeMutableRawBufferPointer
        private var position = 0
        private var filled = 0
        private var hasEnded = false
        /// The frames decoded so far.
        public private(set) var resumption = Resumption()

        public init(_ file: ReadableFile) throws {
            self.file = file
            decoder = try SeekableFrameDecoder(subject: file.path)
            buffer = .allocate(byteCount: SeekableZstd.frameBytes, alignment: 16)
        }

        deinit { buffer.deallocate() }

        public func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
            if position == filled { try advance() }
            let count = min(target.count, filled - position)
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[position..<position + count]))
            position += count
            return count
        }

        private func advance() throws {
            guard !hasEnded, resumption.frames.count < SeekableZstd.frameLimit,
                let found = try decoder.frame(of: file, at: resumption.fileSize, into: buffer)
            else {
                hasEnded = true
                return
            }
            resumption.frames.append(
                .init(
                    offset: resumption.fileSize, byteCount: found.byteCount, contentOffset: resumption.contentSize,
                    contentCount: found.contentCount))
            position = 0
            filled = found.contentCount
        }
    }
}

/// Reads a finished ``SeekableZstd`` file at random. Used by one thread at a time.
public final class SeekableZstdReader {
    /// Decoded frames kept: base bytes are read near each other, from a few places at once.
    private static let cachedFrames = 3

    private struct Cached {
        var frame: Int
        var bytes: UnsafeMutableRawBufferPointer
    }

    public let file: ReadableFile
    private let frames: [SeekableZstd.Frame]
    private let decoder: SeekableFrameDecoder
    /// The one used last is at the end.
    private var cache: [Cached] = []

    /// Bytes of content.
    public var contentSize: Int64 { frames.last?.contentEnd ?? 0 }

    public init(_ file: ReadableFile) throws {
        self.file = file
        frames = try Self.table(of: file)
        decoder = try SeekableFrameDecoder(subject: file.path)
    }

    deinit { for cached in cache { cached.bytes.deallocate() } }

    private static func table(of file: ReadableFile) throws -> [SeekableZstd.Frame] {
        let size = try file.status().size
        func number(_ bytes: [UInt8], _ at: Int) -> UInt32 {
            bytes[at..<at + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
        let footStart = size - Int64(SeekableZstd.footBytes)
        guard footStart >= Int64(SeekableZstd.headBytes) else { throw SeekableZstd.fail(file.path, size, "no table") }
        let foot = try file.read(at: footStart, count: SeekableZstd.footBytes)
        guard foot.count == SeekableZstd.footBytes, number(foot, 5) == SeekableZstd.seekableMagic, foot[4] == 0 else {
            throw SeekableZstd.fail(file.path, footStart, "no table")
        }
        let count = Int(number(foot, 0))
        let start = footStart - Int64(count * SeekableZstd.entryBytes) - Int64(SeekableZstd.headBytes)
        guard count <= SeekableZstd.frameLimit, start >= 0 else {
            throw SeekableZstd.fail(file.path, footStart, "a table of \(count) frames")
        }
        let bytes = try file.read(at: start, count: Int(footStart - start))
        guard bytes.count == Int(footStart - start), number(bytes, 0) == SeekableZstd.skippableMagic else {
            throw SeekableZstd.fail(file.path, start, "no table")
        }
        var frames: [SeekableZstd.Frame] = []
        frames.reserveCapacity(count)
        for index in 0..<count {
            let at = SeekableZstd.headBytes + index * SeekableZstd.entryBytes
            let frame = SeekableZstd.Frame(
                offset: frames.last?.end ?? 0, byteCount: Int(number(bytes, at)),
                contentOffset: frames.last?.contentEnd ?? 0, contentCount: Int(number(bytes, at + 4)))
            guard (1...SeekableZstd.frameBytes).contains(frame.contentCount), frame.end <= start else {
                throw SeekableZstd.fail(file.path, start, "frame \(index + 1) lies outside")
            }
            frames.append(frame)
        }
        guard (frames.last?.end ?? 0) == start else { throw SeekableZstd.fail(file.path, start, "bytes before the table") }
        return frames
    }

    /// Fills the buffer with the content at `offset`, which lies inside.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws {
        guard offset >= 0, offset + Int64(buffer.count) <= contentSize else {
            throw ArchiveError(.truncated, subject: file.path, offset: offset)
        }
        var done = 0
        while done < buffer.count {
            let at = offset + Int64(done)
            let index = self.index(holding: at)
            let bytes = try content(of: index)
            let start = Int(at - frames[index].contentOffset)
            let count = min(buffer.count - done, bytes.count - start)
            UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]))
            done += count
        }
    }

    private func index(holding offset: Int64) -> Int {
        var low = 0
        var high = frames.count
        while high - low > 1 {
            let middle = (low + high) >> 1
            if frames[middle].contentOffset <= offset { low = middle } else { high = middle }
        }
        return low
    }

    private func content(of index: Int) throws -> UnsafeRawBufferPointer {
        let frame = frames[index]
        if let position = cache.lastIndex(where: { $0.frame == index }) {
            cache.append(cache.remove(at: position))
        } else {
            let room: UnsafeMutableRawBufferPointer
            if cache.count == Self.cachedFrames {
                room = cache.removeFirst().bytes
            } else {
                room = .allocate(byteCount: SeekableZstd.frameBytes, alignment: 16)
            }
            guard let found = try? decoder.frame(of: file, at: frame.offset, into: room),
                found == (frame.byteCount, frame.contentCount)
            else {
                room.deallocate()
                throw SeekableZstd.fail(file.path, frame.offset, "frame \(index + 1) is damaged")
            }
            cache.append(Cached(frame: index, bytes: room))
        }
        let bytes = cache[cache.count - 1].bytes
        return UnsafeRawBufferPointer(rebasing: bytes[0..<frame.contentCount])
    }
}
