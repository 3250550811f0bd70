import Base

/// One chapter's place in a delta and what it makes.
public struct Chapter: Sendable, Equatable {
    /// Bytes of output.
    public var outputLength: Int64
    /// First bytes of the SHA-256 of the output from its start to this chapter's end.
    public var digest: [UInt8]
    /// Offset of the first stream's bytes in the delta.
    public var bodyOffset: Int64
    /// Compressed bytes per stream, in the order of ``DeltaFormat/Stream``.
    public var streamLengths: [Int64]

    public var bodyEnd: Int64 { bodyOffset + streamLengths.reduce(0, +) }
}

/// Walks the chapters of a delta without decoding them.
public struct ChapterIndex: Sendable {
    /// Output length, stream mask, six lengths, digest.
    private static let headerLimit = 9 + 1 + 6 * 9 + DeltaFormat.shortDigestBytes

    private let file: ReadableFile
    private let fileSize: Int64
    private let targetSize: Int64
    private var offset: Int64
    /// Bytes of output before the next chapter.
    public private(set) var outputOffset: Int64 = 0

    /// `start` is the offset of the first chapter.
    public init(file: ReadableFile, start: Int64, targetSize: Int64) throws(DeltaError) {
        self.file = file
        offset = start
        self.targetSize = targetSize
        fileSize = try DeltaError.wrap { () throws(FileSystemError) in try file.status().size }
    }

    /// The next chapter, nil after the last, which ends the file.
    public mutating func next() throws(DeltaError) -> Chapter? {
        if outputOffset == targetSize {
            guard offset == fileSize else { throw DeltaError(.malformed, "bytes follow the last chapter") }
            return nil
        }
        let (at, file) = (offset, file)
        let bytes = try DeltaError.wrap { () throws(FileSystemError) in
            try file.read(at: at, count: Self.headerLimit)
        }
        var cursor = ByteCursor(bytes, what: "a chapter's header")
        let output = try cursor.number("output of a chapter", limit: Int64(DeltaFormat.chapterOutputLimit))
        guard output > 0, output <= targetSize - outputOffset else {
            throw DeltaError(.malformed, "a chapter has \(output) bytes of output, \(targetSize - outputOffset) are left")
        }
        let mask = try cursor.byte()
        guard mask < 1 << UInt8(DeltaFormat.Stream.allCases.count) else {
            throw DeltaError(.malformed, "a chapter has unknown streams")
        }
        var lengths: [Int64] = []
        for stream in DeltaFormat.Stream.allCases {
            let present = mask >> UInt8(stream.rawValue) & 1 == 1
            lengths.append(
                present
                    ? try cursor.number("a stream of a chapter", limit: Int64(DeltaFormat.chapterStreamLimit)) : 0)
        }
        let digest = try cursor.take(DeltaFormat.shortDigestBytes)
        let chapter = Chapter(
            outputLength: output, digest: digest, bodyOffset: offset + Int64(cursor.position), streamLengths: lengths)
        guard chapter.bodyEnd <= fileSize else { throw DeltaError(.truncated, "in a chapter") }
        offset = chapter.bodyEnd
        outputOffset += output
        return chapter
    }
}
