import Archive
import Base
import ImageDelta
import Model
import OCI

/// A delta that was fetched and opened, and agrees with what the signed release says of it.
public struct OpenedDelta: Sendable {
    public let layer: Release.Layer
    public let delta: Release.LayerDelta
    public let apply: DeltaApply
    /// Where the layer is made.
    let work: String

    /// What is made lies here, whole chapters first, until it is a layer.
    public var partialPath: String { Path.join(work, "\(delta.blob.digest.short).partial") }
    /// Folder of the base's header lists.
    var headersDirectory: String { Path.join(work, "\(delta.blob.digest.short).headers") }

    func spoolPath(_ index: Int, _ kind: LayerPlaceKind) -> String {
        Path.join(work, "\(delta.blob.digest.short).base-\(index)-\(kind.rawValue)")
    }
}

/// Makes layers that a machine lacks by the deltas of a release, from layers that it has.
///
/// The result goes into the store's ``LayerStore``, compressed as it is made, chapter by chapter, each of them synced
/// before the next; its diffID is proven before it gets its name. A run that was cut off goes on after its last whole
/// chapter, reading what it wrote and the delta, not the base.
public struct LayerMaker: Sendable {
    static let operationLabel = "delta.layer"

    private let store: BlobStore
    private let fileSystem: FileSystem
    /// Layers that releases on this machine name, by diffID: what the store may have as a blob.
    private let known: [Digest: Release.Layer]

    public init(store: BlobStore, known: some Sequence<Release.Layer>, fileSystem: FileSystem = FileSystem()) {
        self.store = store
        self.fileSystem = fileSystem
        self.known = Dictionary(known.map { ($0.diffID, $0) }) { first, _ in first }
    }

    /// Whether the store has a base layer.
    public func isStored(_ diffID: Digest) throws -> Bool {
        if try store.layers.contains(diffID) { return true }
        return try known[diffID].map { try store.contains($0.blob) } ?? false
    }

    // MARK: Opening

    /// Fetches a delta into the store and reads its header.
    public func open(
        _ layer: Release.Layer, by delta: Release.LayerDelta, from offered: some BlobSource,
        progress: (Int64) throws -> Void = { _ in }
    ) throws -> OpenedDelta {
        if try !store.contains(delta.blob) { try store.ingest(delta.blob, from: offered, progress: progress) }
        let apply = try DeltaApply(path: store.path(delta.blob.digest))
        guard apply.header.targetDiffID == layer.diffID, apply.header.targetSize == layer.uncompressedSize,
            apply.header.bases.map(\.diffID) == delta.base
        else { throw DeltaError(.malformed, "it makes another layer than the release says") }
        try store.layers.prepareWork(layer.diffID)
        return OpenedDelta(layer: layer, delta: delta, apply: apply, work: store.layers.workDirectory(layer.diffID))
    }

    /// Where each base layer that the delta reads is taken from, by its number: the first place of `kind` or a later
    /// one. Nil when a layer has none.
    public func places(
        _ opened: OpenedDelta, trees: [Digest: LayerPlace], exportable: Set<Digest>, from kind: LayerPlaceKind
    ) throws -> [Int: LayerPlace]? {
        var places: [Int: LayerPlace] = [:]
        for index in opened.apply.header.usedLayers {
            let diffID = opened.delta.base[index]
            if kind <= .tree, let tree = trees[diffID] {
                places[index] = tree
            } else if kind <= .store, try isStored(diffID) {
                places[index] = .stored
            } else if exportable.contains(diffID) {
                places[index] = .exported
            } else {
                return nil
            }
        }
        return places
    }

    /// Keeps of an engine's export what the delta uses of the layers that `places` expects there; nil when all of it
    /// is here already.
    public func exportSpool(_ opened: OpenedDelta, places: [Int: LayerPlace]) throws -> ExportSpool? {
        let wanted = try places.keys.filter { index in
            try places[index] == .exported && fileSystem.status(opened.spoolPath(index, .export)) == nil
        }
        return wanted.isEmpty ? nil : ExportSpool(opened, wanted: Set(wanted), fileSystem: fileSystem)
    }

    // MARK: Making

    public struct Outcome: Sendable, Equatable {
        /// Chapters that an earlier run had made.
        public var resumedChapters: Int
        /// Bytes of the layer's tar.
        public var size: Int64
    }

    /// Makes the layer and takes it into the store; the delta is dropped.
    ///
    /// - Parameter progress: called with the bytes of the layer made so far, after each chapter.
    /// - Throws: `delta.…` for a base that is not the right one or a delta that does not make the layer;
    ///   ``FileSystemError`` when it cannot be written.
    public func make(
        _ opened: OpenedDelta, places: [Int: LayerPlace], progress: @escaping (Int64) -> Void = { _ in }
    ) throws -> Outcome {
        let apply = opened.apply
        let scan =
            try fileSystem.status(opened.partialPath)?.kind == .file
            ? try SeekableZstdWriter.Scan(try ReadableFile(path: opened.partialPath)) : nil
        let resumption = try apply.resumption { (buffer) throws(DeltaError) in
            // What cannot be read back is made anew.
            (try? scan?.readFully(into: buffer)) ?? 0
        }
        guard let frames = scan?.resumption.cut(at: resumption.bytes) ?? (scan == nil ? .init() : nil) else {
            // Every chapter ends a frame; a file where one does not is of no use.
            try fileSystem.unlink(opened.partialPath, op: Self.operationLabel)
            return try make(opened, places: places, progress: progress)
        }
        let resumedChapters = resumption.chapters
        let base = try assemble(opened, places)
        // A base was checked before the first chapter; what it yields is checked chapter by chapter.
        if resumedChapters == 0 { try BaseCheck(header: apply.header).verify(base) }
        let file = try fileSystem.append(opened.partialPath, mode: 0o600, op: Self.operationLabel)
        try file.truncate(to: frames.fileSize)
        let output = Output(try SeekableZstdWriter(file, resuming: frames), file)
        do {
            try apply.run(
                base: base, resumption: resumption,
                sink: DeltaApply.Sink(
                    write: { (bytes) throws(DeltaError) in try output.attempt { try output.writer.write(bytes) } },
                    chapterDone: { (end) throws(DeltaError) in
                        try output.attempt {
                            try output.writer.endFrame()
                            try file.sync()
                        }
                        progress(end)
                    }))
        } catch {
            throw output.failure ?? error
        }
        try output.writer.finish()
        try file.sync()
        try store.layers.adopt(opened.partialPath, as: opened.layer.diffID)
        try fileSystem.unlink(store.path(opened.delta.blob.digest), op: Self.operationLabel)
        return Outcome(resumedChapters: resumedChapters, size: apply.header.targetSize)
    }

    /// Gives up a delta that cannot make its layer: what it made so far is dropped.
    public func giveUp(_ opened: OpenedDelta) throws {
        for name in try fileSystem.list(opened.work) where name.hasPrefix(opened.delta.blob.digest.short) {
            try fileSystem.removeTree(Path.join(opened.work, name), op: Self.operationLabel)
        }
    }

    /// Keeps the error of a write apart from those of the delta: a full disk is not the delta's fault.
    private final class Output {
        let writer: SeekableZstdWriter
        private let file: WritableFile
        private(set) var failure: (any Error)?

        init(_ writer: SeekableZstdWriter, _ file: WritableFile) {
            self.writer = writer
            self.file = file
        }

        func attempt(_ body: () throws -> Void) throws(DeltaError) {
            do {
                try body()
            } catch {
                failure = error
                throw DeltaError(.inputOutput, (error as? any CodedError)?.message ?? file.path)
            }
        }
    }

    // MARK: The base

    private func assemble(_ opened: OpenedDelta, _ places: [Int: LayerPlace]) throws -> any BaseSource {
        let header = opened.apply.header
        var parts: [any BaseSource] = []
        for index in header.bases.indices {
            switch places[index] {
            case nil: parts.append(SpooledBase(size: header.bases[index].size))
            case .tree(let path, let parent): parts.append(try tree(opened, index, path: path, below: parent))
            case .exported: parts.append(try spooled(opened, index, .export))
            case .stored: parts.append(try stored(opened, index))
            }
        }
        return parts.count == 1 ? parts[0] : JoinedBase(parts)
    }

    private func tree(
        _ opened: OpenedDelta, _ index: Int, path: String, below parent: String
    ) throws -> any BaseSource {
        try fileSystem.makeDirectories(opened.headersDirectory, mode: 0o700, op: Self.operationLabel)
        let assembly = BaseAssembly(delta: opened.apply, scratch: opened.headersDirectory, fileSystem: fileSystem)
        let root = try TreeRoot(path: path, below: parent)
        // Headers that an interrupted run has made need no second walk through the tree; their digest is checked.
        let kept = assembly.skeletonPath(index)
        if try fileSystem.status(kept)?.size == opened.apply.header.bases[index].skeletonSize,
            let base = try? assembly.tree(index, root: root, skeleton: kept)
        {
            return base
        }
        return try assembly.tree(index, root: root, skeleton: nil)
    }

    private func stored(_ opened: OpenedDelta, _ index: Int) throws -> any BaseSource {
        let diffID = opened.delta.base[index]
        if try store.layers.contains(diffID) { return MadeLayerBase(try store.layers.reader(diffID)) }
        guard let layer = known[diffID] else {
            throw DeltaError(.missingBase, "layer \(diffID) is of no release on this device")
        }
        if layer.blob.digest == diffID { return try TarFileBase(paths: [store.path(diffID)]) }
        let path = opened.spoolPath(index, .store)
        if try fileSystem.status(path) == nil { try unpack(layer, opened, index, to: path) }
        return try spooled(opened, index, .store)
    }

    /// One pass through a compressed layer keeps what the delta uses of it.
    private func unpack(_ layer: Release.Layer, _ opened: OpenedDelta, _ index: Int, to path: String) throws {
        let file = try fileSystem.create(path + ".new", mode: 0o600, truncate: true, op: Self.operationLabel)
        var spool = RunSpool(runs: opened.apply.header.usedRuns(ofLayer: index), file: file)
        do {
            try store.layerTar(layer).forEachChunk { try spool.write($0) }
        } catch let error as any CodedError where !(error is FileSystemError) {
            throw DeltaError(.missingBase, "the store's layer \(layer.diffID.short) is damaged: \(error.message)")
        }
        try spool.finish()
        try fileSystem.rename(path + ".new", to: path, op: Self.operationLabel)
    }

    private func spooled(_ opened: OpenedDelta, _ index: Int, _ kind: LayerPlaceKind) throws -> any BaseSource {
        SpooledBase(
            size: opened.apply.header.bases[index].size, runs: opened.apply.header.usedRuns(ofLayer: index),
            file: try ReadableFile(path: opened.spoolPath(index, kind)))
    }
}
