import Base

/// Applies one delta: opens it, finds where an interrupted run may go on, and makes the new layer.
///
/// Memory is bounded whatever the image's size: the zstd windows (about 17 MiB), the covers and the
/// address map of one executable (at most 8 MiB), 4 MiB of base bytes, and buffers below 1 MiB.
public struct DeltaApply: Sendable {
    public let file: ReadableFile
    public let header: DeltaHeader
    /// Offset of the first header list (and so the end of the header).
    public let skeletonOffset: Int64
    /// Offset of the first chapter.
    public let chapterOffset: Int64

    /// Reads and checks the header.
    public init(file: ReadableFile) throws(DeltaError) {
        self.file = file
        (header, skeletonOffset) = try DeltaHeader.read(from: file)
        var offset = skeletonOffset
        for base in header.bases { offset += base.recipe.byteCount }
        chapterOffset = offset
    }

    public init(path: String) throws(DeltaError) {
        try self.init(file: try DeltaError.wrap { () throws(FileSystemError) in try ReadableFile(path: path) })
    }

    /// How much of the output an earlier run has left that can be kept.
    public struct Resumption: ~Copyable {
        public let chapters: Int
        /// Bytes to keep; what follows them in the partial output must be cut off.
        public let bytes: Int64
        let hasher: SHA256Hasher
    }

    /// A run from the start.
    public func fromStart() -> Resumption { Resumption(chapters: 0, bytes: 0, hasher: SHA256Hasher()) }

    /// Compares a partial output with the chapters' digests; reads the partial output and the delta's
    /// chapter headers, never the base.
    public func resumption(of partial: ReadableFile) throws(DeltaError) -> Resumption {
        var position: Int64 = 0
        return try resumption { (buffer) throws(DeltaError) in
            let offset = position
            let read = try DeltaError.wrap { () throws(FileSystemError) in try partial.read(into: buffer, at: offset) }
            position += Int64(read)
            return read
        }
    }

    /// The same for a partial output in whatever form it is kept: `read` fills a buffer with its next bytes and
    /// answers how many; fewer only at the end.
    public func resumption(
        reading read: (UnsafeMutableRawBufferPointer) throws(DeltaError) -> Int
    ) throws(DeltaError) -> Resumption {
        var index = try ChapterIndex(file: file, start: chapterOffset, targetSize: header.targetSize)
        var hasher = SHA256Hasher()
        var chapters = 0
        var kept: Int64 = 0
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { buffer.deallocate() }
        while let chapter = try index.next() {
            var trial = hasher.fork()
            var at = kept
            while at < index.outputOffset {
                let count = Int(min(index.outputOffset - at, Int64(buffer.count)))
                let slice = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count])
                guard try read(slice) == count else { break }
                trial.update(UnsafeRawBufferPointer(slice))
                at += Int64(count)
            }
            guard at == index.outputOffset,
                trial.digestSoFar().bytes.prefix(DeltaFormat.shortDigestBytes).elementsEqual(chapter.digest)
            else { break }
            hasher = trial
            chapters += 1
            kept = index.outputOffset
        }
        return Resumption(chapters: chapters, bytes: kept, hasher: hasher)
    }

    /// What to do with the result as it comes.
    public struct Sink {
        /// Takes the next bytes of output.
        public var write: (UnsafeRawBufferPointer) throws(DeltaError) -> Void
        /// Called after a chapter whose digest is right, with the output's length so far.
        public var chapterDone: (Int64) throws(DeltaError) -> Void

        public init(
            write: @escaping (UnsafeRawBufferPointer) throws(DeltaError) -> Void,
            chapterDone: @escaping (Int64) throws(DeltaError) -> Void = { (_) throws(DeltaError) in }
        ) {
            self.write = write
            self.chapterDone = chapterDone
        }
    }

    /// Makes the output after what `resumption` keeps. Each chapter is checked against its digest and the
    /// whole against the diffID; call ``BaseCheck/verify(_:progress:)`` first to learn of a wrong base early.
    public func run(
        base: any BaseSource, resumption: consuming Resumption, sink: Sink
    ) throws(DeltaError) {
        guard base.layerSizes == header.bases.map(\.size) else {
            throw DeltaError(.wrongBase, "its layers do not have the sizes the delta names")
        }
        let kept = resumption.chapters
        let session = ApplySession(
            file: file, header: header, base: base, hasher: resumption.hasher, sink: sink)
        var index = try ChapterIndex(file: file, start: chapterOffset, targetSize: header.targetSize)
        var number = 0
        while let chapter = try index.next() {
            try session.apply(chapter, number: number, skipping: number < kept)
            number += 1
        }
        let diffID = session.finish()
        guard diffID == header.targetDiffID else {
            throw DeltaError(.outputMismatch, "it is \(diffID), expected \(header.targetDiffID)")
        }
    }
}
