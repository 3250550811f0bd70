import Base

/// What a delta holds, found without decoding it.
public struct DeltaSummary: Sendable, Equatable {
    public let header: DeltaHeader
    /// Bytes of the delta.
    public let size: Int64
    public private(set) var chapters = 0
    /// Bytes of the chapter that takes most in the delta.
    public private(set) var largestChapter: Int64 = 0
    /// Compressed bytes per stream, in the order of ``DeltaFormat/Stream``.
    public private(set) var streamBytes: [Int64]

    /// Reads the header and every chapter's header.
    public init(delta: DeltaApply) throws(DeltaError) {
        header = delta.header
        size = try DeltaError.wrap { () throws(FileSystemError) in try delta.file.status().size }
        streamBytes = Array(repeating: 0, count: DeltaFormat.Stream.allCases.count)
        var index = try ChapterIndex(
            file: delta.file, start: delta.chapterOffset, targetSize: delta.header.targetSize)
        while let chapter = try index.next() {
            chapters += 1
            largestChapter = max(largestChapter, chapter.streamLengths.reduce(0, +))
            for (stream, length) in chapter.streamLengths.enumerated() { streamBytes[stream] += length }
        }
    }
}
