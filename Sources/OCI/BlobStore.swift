import Archive
import Base
import Glibc
import Model

/// A folder of blobs named by their SHA-256, as an OCI layout has them: `ROOT/blobs/sha256/<hex>`.
///
/// A name there means the whole, synced, verified content: bytes are gathered in `ROOT/staging`, hashed as
/// they come, synced, and only then renamed. A write cut short leaves a partial that a later one takes up.
/// One writer per blob at a time, kept by a file lock that dies with its process.
public struct BlobStore: BlobSource {
    public let root: String
    let fileSystem: FileSystem

    /// Label of every durable operation of a store.
    public static let operationLabel = "store.blob"

    public init(root: String, fileSystem: FileSystem = FileSystem()) {
        self.root = root
        self.fileSystem = fileSystem
    }

    public var blobDirectory: String { Path.join(root, "blobs/sha256") }
    public var stagingDirectory: String { Path.join(root, "staging") }
    private var tree: ConfinedDirectory { ConfinedDirectory(root) }

    /// Where a blob lies once it is there.
    public func path(_ digest: Digest) -> String { Path.join(blobDirectory, digest.hex) }

    private static let partialSuffix = ".partial"
    func partialPath(_ digest: Digest) -> String { Path.join(stagingDirectory, digest.hex + Self.partialSuffix) }

    /// Makes the folders. Needed once before the first write.
    public func prepare() throws {
        for folder in [blobDirectory, stagingDirectory] {
            try fileSystem.makeDirectories(folder, op: Self.operationLabel)
        }
    }

    // MARK: Reading

    public func blobSize(_ digest: Digest) throws -> Int64? {
        guard let status = try fileSystem.status(path(digest)) else { return nil }
        guard status.kind == .file else { throw OCIError(.notRegular, path(digest)) }
        return status.size
    }

    public func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource {
        let file = try ReadableFile(path: path(digest))
        return FileSource(file, range: offset..<max(offset, try file.status().size))
    }

    public func openMade(_ diffID: Digest, size: Int64) throws -> (any ByteSource)? {
        try layers.contains(diffID) ? layers.open(diffID, size: size) : nil
    }

    /// Whether the blob is there with this size. Its content was verified when it came; see ``verify(_:)``.
    public func contains(_ blob: Release.Blob) throws -> Bool { try blobSize(blob.digest) == blob.size }

    /// The blobs that are not there, each once.
    public func missing(_ blobs: some Sequence<Release.Blob>) throws -> [Release.Blob] {
        var seen: Set<Digest> = []
        return try blobs.filter { try seen.insert($0.digest).inserted && !contains($0) }
    }

    /// All blobs, by digest.
    public func list() throws -> [Release.Blob] { try LayoutBlobs(tree).all() }

    // MARK: Writing

    /// Starts or takes up the writing of a blob.
    ///
    /// The writer's ``BlobWriter/offset`` says how many bytes are there already; they are read back and
    /// hashed, so that what a power cut spoiled is found at the end.
    public func writer(for blob: Release.Blob) throws -> BlobWriter {
        try BlobWriter(
            fileSystem: fileSystem, partial: partialPath(blob.digest), directory: blobDirectory, expected: blob)
    }

    /// Starts the writing of content whose digest is not known yet.
    public func writer() throws -> BlobWriter {
        let name = "new-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        return try BlobWriter(
            fileSystem: fileSystem, partial: Path.join(stagingDirectory, name), directory: blobDirectory, expected: nil)
    }

    /// Takes a blob in, verified; does nothing when it is there. An earlier partial is taken up, and once
    /// dropped when its bytes turn out wrong.
    ///
    /// - Parameters:
    ///   - source: gives the blob's bytes from an offset on.
    ///   - progress: called with the bytes of the blob that are there; a throw stops, keeping the partial.
    public func ingest(
        _ blob: Release.Blob, from source: (_ offset: Int64) throws -> any ByteSource,
        progress: (Int64) throws -> Void = { _ in }
    ) throws {
        if try contains(blob) { return try progress(blob.size) }
        let writer = try writer(for: blob)
        do {
            try writer.fill(from: source(writer.offset), progress: progress)
            _ = try writer.finish()
        } catch let error as OCIError where error.reason == .blobDigest && writer.resumedFrom > 0 {
            let writer = try self.writer(for: blob)
            try writer.fill(from: source(0), progress: progress)
            _ = try writer.finish()
        }
    }

    /// Takes a blob from another store, layout or bundle.
    public func ingest(
        _ blob: Release.Blob, from source: some BlobSource, progress: (Int64) throws -> Void = { _ in }
    ) throws {
        if try contains(blob) { return try progress(blob.size) }
        try source.requireSize(blob)
        try ingest(blob, from: { try source.openBlob(blob.digest, from: $0) }, progress: progress)
    }

    /// Stores bytes and says what they are.
    @discardableResult
    public func put(_ bytes: [UInt8]) throws -> Release.Blob {
        let blob = Release.Blob(digest: .sha256(bytes), size: Int64(bytes.count))
        try ingest(blob, from: { MemorySource(Array(bytes[Int($0)...])) })
        return blob
    }

    // MARK: Keeping house

    /// Removes one blob and any partial of it; a missing one is no error.
    public func remove(_ digest: Digest) throws {
        try fileSystem.unlink(path(digest), op: Self.operationLabel)
        try fileSystem.unlink(partialPath(digest), op: Self.operationLabel)
    }

    /// Removes every blob whose digest is not pinned; returns what went.
    @discardableResult
    public func prune(keeping pins: Set<Digest>) throws -> [Release.Blob] {
        let removed = try list().filter { !pins.contains($0.digest) }
        for blob in removed { try remove(blob.digest) }
        return removed
    }

    /// Removes what interrupted writes left, but for the partials of the given blobs.
    public func clearStaging(keeping wanted: Set<Digest> = []) throws {
        let kept = Set(wanted.map { $0.hex + Self.partialSuffix })
        try clearStaging { !kept.contains($0) }
    }

    /// Removes what interrupted writes left and no later one can take up.
    public func clearUnresumable() throws { try clearStaging { !$0.hasSuffix(Self.partialSuffix) } }

    private func clearStaging(_ isGone: (String) -> Bool) throws {
        guard try fileSystem.status(stagingDirectory)?.kind == .directory else { return }
        for name in try fileSystem.list(stagingDirectory) where isGone(name) {
            try fileSystem.unlink(Path.join(stagingDirectory, name), op: Self.operationLabel)
        }
    }

    /// Bytes of a blob that an interrupted write left; 0 when there are none.
    public func partialSize(_ digest: Digest) throws -> Int64 {
        try fileSystem.status(partialPath(digest))?.size ?? 0
    }

    /// Reads a blob through and throws unless its content has its digest.
    ///
    /// - Parameter paced: called with the bytes read at a time; may wait to spare the disk, or throw to stop.
    public func verify(_ digest: Digest, paced: (Int) throws -> Void = { _ in }) throws {
        guard let size = try blobSize(digest) else { throw OCIError(.blobMissing, digest.description) }
        try reader(Release.Blob(digest: digest, size: size)).forEachChunk { try paced($0.count) }
    }
}

/// Writes one blob into a ``BlobStore``: hashes as it goes, and lets the name appear only at the end.
public final class BlobWriter {
    /// Bytes gathered before they are written: fewer, larger durable operations.
    private static let bufferBytes = 1 << 20

    /// Bytes of the blob that are there.
    public private(set) var offset: Int64 = 0
    /// Bytes an earlier write had left.
    public private(set) var resumedFrom: Int64 = 0

    private let fileSystem: FileSystem
    private let partial: String
    private let directory: String
    private let expected: Release.Blob?
    private let file: WritableFile
    private var hasher: SHA256Hasher? = SHA256Hasher()
    private var buffer: [UInt8] = []

    init(fileSystem: FileSystem, partial: String, directory: String, expected: Release.Blob?) throws {
        self.fileSystem = fileSystem
        self.partial = partial
        self.directory = directory
        self.expected = expected
        file = try fileSystem.append(partial, op: BlobStore.operationLabel)
        guard Self.lock(file.descriptor) else {
            throw OCIError(.blobBusy, expected?.digest.description ?? partial)
        }
        // The writer that held the lock before may have finished: then this file is the blob by now.
        guard let named = try fileSystem.status(partial), UInt64(try openStatus().st_ino) == named.inode else {
            throw OCIError(.blobBusy, expected?.digest.description ?? partial)
        }
        try takeUp()
    }

    /// Milliseconds that a lock is waited for. A child of this process holds what its parent held until it has
    /// become another program, which is a matter of a few.
    private static let lockPatience = 200

    private static func lock(_ descriptor: Int32) -> Bool {
        for _ in 0..<(lockPatience / 5) {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
            usleep(5_000)
        }
        return false
    }

    private func openStatus() throws -> stat {
        var info = stat()
        guard fstat(file.descriptor, &info) == 0 else {
            throw FileSystemError(operation: "stat", path: partial, errno: errno)
        }
        return info
    }

    /// Hashes what an earlier write left; what is longer than the blob can be is dropped.
    private func takeUp() throws {
        let existing = try ReadableFile(path: partial)
        let size = try existing.status().size
        guard size > 0 else { return }
        guard let expected, size <= expected.size else { return try file.truncate(to: 0) }
        try FileSource(existing, range: 0..<size).forEachChunk { hasher?.update($0) }
        offset = size
        resumedFrom = size
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        if let expected, offset + Int64(bytes.count) > expected.size {
            try discard()
            throw OCIError(.blobOversized, expected.digest.description, "more than \(expected.size) bytes")
        }
        hasher?.update(bytes)
        offset += Int64(bytes.count)
        buffer += bytes
        if buffer.count >= Self.bufferBytes { try flush() }
    }

    private func flush() throws {
        guard !buffer.isEmpty else { return }
        try file.write(buffer)
        buffer.removeAll(keepingCapacity: true)
    }

    /// Puts what was written so far where a later attempt finds it: for a writer that stops before the end.
    public func flushPartial() throws { try flush() }

    /// Writes all that a source yields. When it fails, what came before stays for a later attempt.
    public func fill(from source: any ByteSource, progress: (Int64) throws -> Void = { _ in }) throws {
        do {
            try source.forEachChunk {
                try write($0)
                try progress(offset)
            }
        } catch {
            // Best effort: the error that stopped the write is the one to report.
            try? flush()
            throw error
        }
    }

    /// Verifies, syncs, and gives the blob its name. Nothing may be written afterwards.
    public func finish() throws -> Release.Blob {
        try flush()
        if let expected, offset < expected.size {
            throw OCIError(.blobTruncated, expected.digest.description, "\(offset) bytes, expected \(expected.size)")
        }
        let blob = Release.Blob(digest: hasher.take()?.finish() ?? .sha256([]), size: offset)
        if let expected, blob.digest != expected.digest {
            try discard()
            throw OCIError(.blobDigest, expected.digest.description, "found \(blob.digest)")
        }
        try file.sync()
        try fileSystem.rename(partial, to: Path.join(directory, blob.digest.hex), op: BlobStore.operationLabel)
        return blob
    }

    /// Drops what was written.
    public func discard() throws { try fileSystem.unlink(partial, op: BlobStore.operationLabel) }
}
