import Archive
import Base
import Model

/// Takes images into a ``BlobStore`` in the form releases have: zstd layers, an OCI manifest, the config
/// byte for byte. The same image and level give the same manifest digest, wherever it came from.
public struct ImageImporter: Sendable {
    public struct Progress: Sendable {
        /// From 0.
        public var layer: Int
        public var layerCount: Int
        /// Bytes read of all layers as stored, and how many there are.
        public var done: Int64
        public var total: Int64
    }

    public let store: BlobStore
    /// zstd level, 1 to 19.
    public var level: Int
    /// Threads that compress.
    public var workers: Int
    /// Bytes that one uncompressed layer may have.
    public var layerBytes: Int64
    /// Layers stored before, by diffID: reused when their blob is still there and not compressed again.
    public var known: [Digest: Release.Layer]

    public init(
        store: BlobStore, level: Int = Zstd.defaultLevel, workers: Int = 2,
        layerBytes: Int64 = OCILimits.layerBytes, known: [Digest: Release.Layer] = [:]
    ) {
        self.store = store
        self.level = level
        self.workers = workers
        self.layerBytes = layerBytes
        self.known = known
    }

    /// Stores an image's layers, config and manifest. Blocks while it works.
    ///
    /// Every layer is decompressed, and its SHA-256 compared with the config's diffID, before its blob
    /// gets a name.
    ///
    /// - Parameter progress: called as bytes are read; a throw stops the import.
    public func add(
        _ image: SourceImage, progress: @escaping (Progress) throws -> Void = { _ in }
    ) throws -> Release.Image {
        try store.prepare()
        var state = Progress(
            layer: 0, layerCount: image.layers.count, done: 0,
            total: image.layers.reduce(0) { $0 + $1.storedSize })
        var layers: [Release.Layer] = []
        var added: [Digest: Release.Layer] = [:]
        for (index, layer) in image.layers.enumerated() {
            state.layer = index
            let before = state.done
            let stored: Release.Layer
            if let reusable = try added[layer.diffID] ?? reusable(layer.diffID) {
                stored = reusable
            } else {
                stored = try add(layer) { count in
                    state.done = before + count
                    try progress(state)
                }
            }
            added[layer.diffID] = stored
            layers.append(stored)
            state.done = before + layer.storedSize
            try progress(state)
        }
        return try finish(image, layers)
    }

    private func reusable(_ diffID: Digest) throws -> Release.Layer? {
        guard let layer = known[diffID], layer.mediaType == MediaType.layerZstd, try store.contains(layer.blob) else {
            return nil
        }
        return layer
    }

    private func add(_ layer: SourceImage.Layer, progress: @escaping (Int64) throws -> Void) throws -> Release.Layer {
        let stored = CountingSource(try layer.open(), progress)
        let peeked = PeekedSource(stored, prefix: try stored.read(count: Compression.prefixBytes))
        let plain = HashingSource(
            try Compression(prefix: peeked.prefix).decompressor(
                peeked, outputCap: layerBytes, windowLog: Zstd.foreignWindowLog, subject: "layer \(layer.diffID)"))
        let writer = try store.writer()
        do {
            try writer.fill(from: try ZstdCompressor(plain, level: level, workers: workers))
            let found = plain.finish()
            guard found == layer.diffID else { throw OCIError(.diffID, layer.diffID.description, "found \(found)") }
            let blob = try writer.finish()
            return Release.Layer(
                diffID: layer.diffID, blob: blob, mediaType: MediaType.layerZstd, uncompressedSize: plain.count)
        } catch {
            // Content that failed a check is of no use to a later attempt.
            try? writer.discard()
            throw error
        }
    }

    private func finish(_ image: SourceImage, _ layers: [Release.Layer]) throws -> Release.Image {
        let config = try store.put(image.configBytes)
        let manifest = ImageManifest(
            config: Descriptor(mediaType: MediaType.config, blob: config),
            layers: layers.map { Descriptor(mediaType: $0.mediaType, blob: $0.blob) })
        return Release.Image(
            manifest: try store.put(try manifest.encoded()), config: config, layers: layers,
            reference: image.reference, architecture: image.config.platform.architecture)
    }
}

/// Reports how many bytes went by.
final class CountingSource: ByteSource {
    private let source: any ByteSource
    private let report: (Int64) throws -> Void
    private var count: Int64 = 0

    init(_ source: any ByteSource, _ report: @escaping (Int64) throws -> Void) {
        self.source = source
        self.report = report
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let read = try source.read(into: buffer)
        count += Int64(read)
        try report(count)
        return read
    }
}

/// A source some of whose first bytes were looked at.
final class PeekedSource: ByteSource {
    let prefix: [UInt8]
    private let source: any ByteSource
    private var given = 0

    init(_ source: any ByteSource, prefix: [UInt8]) {
        self.source = source
        self.prefix = prefix
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard given < prefix.count else { return try source.read(into: buffer) }
        let count = min(buffer.count, prefix.count - given)
        buffer.copyBytes(from: prefix[given..<given + count])
        given += count
        return count
    }
}
