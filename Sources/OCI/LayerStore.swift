import Archive
import Base
import Model

/// Layers that were made on this machine, from a delta or from an engine: no signed blob has their bytes, only the
/// signed diffID names them. `ROOT/layers/<hex of the diffID>` holds one in ``SeekableZstd`` form.
///
/// A name there means whole, synced content whose SHA-256 was the diffID when it was made. What is being made lies in
/// `ROOT/work/<hex of the diffID>/` and is taken up again after a power cut.
public struct LayerStore: Sendable {
    public static let operationLabel = "store.layer"

    public let root: String
    private let fileSystem: FileSystem

    public init(root: String, fileSystem: FileSystem = FileSystem()) {
        self.root = root
        self.fileSystem = fileSystem
    }

    public var layerDirectory: String { Path.join(root, "layers") }
    private var workRoot: String { Path.join(root, "work") }

    public func path(_ diffID: Digest) -> String { Path.join(layerDirectory, diffID.hex) }

    /// Where a layer is made; see ``prepareWork(_:)``.
    public func workDirectory(_ diffID: Digest) -> String { Path.join(workRoot, diffID.hex) }

    // MARK: Reading

    /// Bytes that a layer takes on disk; nil when it is not there.
    public func storedSize(_ diffID: Digest) throws -> Int64? {
        guard let status = try fileSystem.status(path(diffID)) else { return nil }
        guard status.kind == .file else { throw OCIError(.notRegular, path(diffID)) }
        return status.size
    }

    public func contains(_ diffID: Digest) throws -> Bool { try storedSize(diffID) != nil }

    /// The layer's tar from start to end, never more than `size` bytes.
    public func open(_ diffID: Digest, size: Int64) throws -> any ByteSource {
        try ZstdDecompressor(
            try FileSource(try ReadableFile(path: path(diffID))), outputCap: size, subject: "layer \(diffID)")
    }

    /// The layer's tar at random.
    public func reader(_ diffID: Digest) throws -> SeekableZstdReader {
        try SeekableZstdReader(try ReadableFile(path: path(diffID)))
    }

    /// All layers, by diffID.
    public func list() throws -> [Digest] {
        guard try fileSystem.status(layerDirectory)?.kind == .directory else { return [] }
        return try fileSystem.list(layerDirectory).compactMap { Digest(hex: $0) }
    }

    /// Reads a layer through and throws unless its content has its diffID.
    ///
    /// - Parameter paced: called with the bytes read at a time; may wait to spare the disk, or throw to stop.
    public func verify(_ diffID: Digest, paced: (Int) throws -> Void = { _ in }) throws {
        var hasher = SHA256Hasher()
        try open(diffID, size: OCILimits.layerBytes).forEachChunk {
            hasher.update($0)
            try paced($0.count)
        }
        let found = hasher.finish()
        guard found == diffID else { throw OCIError(.diffID, diffID.description, "found \(found)") }
    }

    // MARK: Writing

    /// Makes the folder in which a layer is made.
    public func prepareWork(_ diffID: Digest) throws {
        try makeDirectory(layerDirectory)
        try makeDirectory(workDirectory(diffID))
    }

    /// Where a layer without a name yet is written.
    private var unnamed: String { Path.join(workRoot, "unnamed") }

    /// Starts the writing of a layer whose diffID is not known yet. There is one such writer at a time: what an earlier
    /// one left is dropped.
    public func writer() throws -> LayerWriter {
        try dropUnnamed()
        try makeDirectory(layerDirectory)
        try makeDirectory(unnamed)
        return try LayerWriter(
            self, try fileSystem.create(Path.join(unnamed, "layer"), mode: 0o600, op: Self.operationLabel))
    }

    /// Removes what a ``writer()`` that did not end left.
    public func dropUnnamed() throws { try fileSystem.removeTree(unnamed, op: Self.operationLabel) }

    private func makeDirectory(_ path: String) throws {
        guard try fileSystem.status(path)?.kind != .directory else { return }
        try fileSystem.makeDirectories(path, op: Self.operationLabel)
        // A new folder's name must survive a power cut too.
        for parent in [Path.parent(path), Path.parent(Path.parent(path))] {
            try fileSystem.syncDirectory(parent, op: Self.operationLabel)
        }
    }

    /// Gives a finished, synced file in the work folder its name as a layer, and drops the work folder.
    public func adopt(_ file: String, as diffID: Digest) throws {
        try fileSystem.rename(file, to: path(diffID), op: Self.operationLabel)
        try fileSystem.removeTree(workDirectory(diffID), op: Self.operationLabel)
    }

    // MARK: Keeping house

    /// Removes a layer and what was begun of it; a missing one is no error.
    public func remove(_ diffID: Digest) throws {
        try fileSystem.unlink(path(diffID), op: Self.operationLabel)
        try fileSystem.removeTree(workDirectory(diffID), op: Self.operationLabel)
    }

    /// Removes every layer whose diffID is not kept; returns the bytes freed.
    public func prune(keeping kept: Set<Digest>) throws -> Int64 {
        var freed: Int64 = 0
        for diffID in try list() where !kept.contains(diffID) {
            freed += try storedSize(diffID) ?? 0
            try fileSystem.unlink(path(diffID), op: Self.operationLabel)
        }
        return freed
    }

    /// Removes what was begun, but for the given layers.
    public func clearWork(keeping wanted: Set<Digest> = []) throws {
        guard try fileSystem.status(workRoot)?.kind == .directory else { return }
        let kept = Set(wanted.map(\.hex))
        for name in try fileSystem.list(workRoot) where !kept.contains(name) {
            try fileSystem.removeTree(Path.join(workRoot, name), op: Self.operationLabel)
        }
    }

    /// Bytes that lie in a layer's work folder; 0 when nothing was begun.
    public func workSize(_ diffID: Digest) throws -> Int64 {
        let folder = workDirectory(diffID)
        guard try fileSystem.status(folder)?.kind == .directory else { return 0 }
        return try fileSystem.list(folder).reduce(0) {
            $0 + (try fileSystem.status(Path.join(folder, $1))?.size ?? 0)
        }
    }
}

extension BlobStore {
    /// The layers that were made on this machine.
    public var layers: LayerStore { LayerStore(root: root, fileSystem: fileSystem) }

    /// Whether a layer is here, as its signed blob or made.
    public func holds(_ layer: Release.Layer) throws -> Bool {
        try contains(layer.blob) || layers.contains(layer.diffID)
    }
}
