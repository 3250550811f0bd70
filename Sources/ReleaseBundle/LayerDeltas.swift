import Archive
import Base
import ImageDelta
import Model
import OCI

/// Makes layers that a receiver has not from layers that it has, by the deltas of a release.
///
/// The result goes into the store as a plain tar named by its diffID, checked against it. Everything in between
/// lies in the store's staging and is taken up again after a power cut.
public struct LayerDeltas: Sendable {
    private static let operationLabel = "delta.layer"

    private let store: BlobStore
    private let fileSystem: FileSystem
    /// Layers that releases on this device have, by diffID.
    private let known: [Digest: Release.Layer]

    public init(store: BlobStore, known: some Sequence<Release.Layer>, fileSystem: FileSystem = FileSystem()) {
        self.store = store
        self.fileSystem = fileSystem
        self.known = Dictionary(known.map { ($0.diffID, $0) }) { first, _ in first }
    }

    /// The deltas that can make `layer` here, cheapest first: offered whole, with every base layer in the store.
    public func usable(
        for layer: Release.Layer, of release: Release, offered: some BlobSource
    ) throws -> [Release.LayerDelta] {
        try release.deltas.filter { delta in
            guard delta.target == layer.diffID else { return false }
            let isOffered =
                try offered.blobSize(delta.blob.digest) == delta.blob.size || store.contains(delta.blob)
            return try isOffered && delta.base.allSatisfy { try known[$0].map { try store.holds($0) } ?? false }
        }.sorted { $0.blob.size < $1.blob.size }
    }

    /// Bytes of disk that making `layer` by `delta` may take at most, beside what is there.
    public func space(for layer: Release.Layer, by delta: Release.LayerDelta) throws -> Int64 {
        // The result twice: as it is made, and as it is taken into the store.
        var bytes = 2 * layer.uncompressedSize + delta.blob.size
        for base in delta.base.compactMap({ known[$0] }) where try !store.contains(base.plainBlob) {
            bytes += base.uncompressedSize
        }
        return bytes
    }

    /// Makes `layer` and takes it into the store.
    /// - Throws: `delta.…` for a delta that does not fit its base or does not make the layer.
    public func make(
        _ layer: Release.Layer, by delta: Release.LayerDelta, from offered: some BlobSource,
        progress: @escaping (Int64) -> Void = { _ in }
    ) throws {
        if try store.contains(layer.plainBlob) { return }
        if try !store.contains(delta.blob) { try store.ingest(delta.blob, from: offered) }
        let opened = try DeltaApply(path: store.path(delta.blob.digest))
        guard opened.header.targetDiffID == layer.diffID, opened.header.targetSize == layer.uncompressedSize,
            opened.header.bases.map(\.diffID) == delta.base
        else { throw DeltaError(.malformed, "it makes another layer than the release says") }
        let base = try TarFileBase(paths: try delta.base.map { try plainPath($0) })
        try BaseCheck(header: opened.header).verify(base)
        let output = DeltaFileOutput(
            path: Path.join(store.stagingDirectory, "\(layer.diffID.hex).made"), fileSystem: fileSystem)
        _ = try output.run(opened, base: base, progress: progress)
        try store.ingest(layer.plainBlob, from: { offset in
            FileSource(try ReadableFile(path: output.path), range: offset..<layer.uncompressedSize)
        })
        try fileSystem.unlink(output.path, op: Self.operationLabel)
        try fileSystem.unlink(store.path(delta.blob.digest), op: Self.operationLabel)
    }

    /// Removes the base layers that were unpacked for deltas.
    public func finish() throws {
        for digest in known.keys { try fileSystem.unlink(unpackedPath(digest), op: Self.operationLabel) }
    }

    private func unpackedPath(_ diffID: Digest) -> String {
        Path.join(store.stagingDirectory, "\(diffID.hex).base")
    }

    /// A file with a base layer's plain tar, unpacked if the store has only the compressed form.
    private func plainPath(_ diffID: Digest) throws -> String {
        guard let layer = known[diffID] else {
            throw DeltaError(.missingBase, "layer \(diffID) is of no release on this device")
        }
        if try store.contains(layer.plainBlob) { return store.path(diffID) }
        let path = unpackedPath(diffID)
        // A whole one stays from an earlier delta of this import; its spans are checked like any base.
        if try fileSystem.status(path)?.size == layer.uncompressedSize { return path }
        guard let compression = MediaType.layerCompression(layer.mediaType) else {
            throw OCIError(.mediaType, layer.diffID.description, layer.mediaType)
        }
        let source = try compression.decompressor(
            try store.reader(layer.blob), outputCap: layer.uncompressedSize, windowLog: Zstd.foreignWindowLog,
            subject: "layer \(layer.diffID)")
        let file = try fileSystem.create(path, mode: 0o600, truncate: true, op: Self.operationLabel)
        while true {
            let chunk = try source.read(count: ByteSources.chunkSize)
            if chunk.isEmpty { return path }
            try file.write(chunk)
        }
    }
}
