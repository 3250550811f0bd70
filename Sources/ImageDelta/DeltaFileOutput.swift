import Base

/// Applies a delta into a file, going on where an interrupted run stopped.
///
/// The result grows as `<path>.partial` and gets its name only when it has the diffID and is on stable storage.
/// A run that fails leaves that file for the next one only if it holds a whole chapter.
public struct DeltaFileOutput: Sendable {
    public let path: String
    private let fileSystem: FileSystem
    /// Whether each chapter is made to outlive a power cut before the next begins.
    private let syncsChapters: Bool

    public init(path: String, syncsChapters: Bool = true, fileSystem: FileSystem = FileSystem()) {
        self.path = path
        self.syncsChapters = syncsChapters
        self.fileSystem = fileSystem
    }

    public var partialPath: String { path + ".partial" }

    public struct Outcome: Sendable, Equatable {
        /// Chapters that an earlier run had made.
        public var resumedChapters: Int
        public var resumedBytes: Int64
        public var size: Int64
    }

    /// Makes the file. `progress` gets the bytes of output so far.
    public func run(
        _ delta: DeltaApply, base: any BaseSource, progress: @escaping (Int64) -> Void = { _ in }
    ) throws(DeltaError) -> Outcome {
        let resumption = try resume(delta)
        let outcome = Outcome(
            resumedChapters: resumption.chapters, resumedBytes: resumption.bytes, size: delta.header.targetSize)
        let (fileSystem, partialPath, syncs) = (fileSystem, partialPath, syncsChapters)
        let kept = resumption.bytes
        let file = try DeltaError.wrap { () throws(FileSystemError) in
            let file = try fileSystem.append(partialPath, op: "delta.output")
            try file.truncate(to: kept)
            return file
        }
        var whole = kept
        do {
            try delta.run(
                base: base, resumption: resumption,
                sink: DeltaApply.Sink(
                    write: { (bytes) throws(DeltaError) in
                        try DeltaError.wrap { () throws(FileSystemError) in try file.write(bytes) }
                    },
                    chapterDone: { (end) throws(DeltaError) in
                        if syncs { try DeltaError.wrap { () throws(FileSystemError) in try file.sync() } }
                        whole = end
                        progress(end)
                    }))
        } catch {
            if whole == 0 { try? fileSystem.unlink(partialPath, op: "delta.output") }
            throw error
        }
        let path = path
        try DeltaError.wrap { () throws(FileSystemError) in
            try file.sync()
            try fileSystem.rename(partialPath, to: path, op: "delta.output")
        }
        return outcome
    }

    private func resume(_ delta: DeltaApply) throws(DeltaError) -> DeltaApply.Resumption {
        let (fileSystem, partialPath) = (fileSystem, partialPath)
        let isThere = try DeltaError.wrap { () throws(FileSystemError) in
            try fileSystem.status(partialPath)?.kind == .file
        }
        guard isThere else { return delta.fromStart() }
        let file = try DeltaError.wrap { () throws(FileSystemError) in try ReadableFile(path: partialPath) }
        return try delta.resumption(of: file)
    }
}
