import Archive
import Base
import Model

/// A layer's tar, pulled chunk by chunk.
public struct LayerStream: Sendable {
    /// The next bytes; nil at the end. One caller at a time.
    public var next: @Sendable () async throws -> [UInt8]?

    public init(next: @escaping @Sendable () async throws -> [UInt8]?) { self.next = next }

    /// Reads a source that is made on the first call.
    public init(opening open: @escaping @Sendable () throws -> any ByteSource) {
        let reader = ChunkReader(open)
        self.init { try await reader.next() }
    }

    /// The layer's tar as `blobs` has it.
    public init(_ layer: Release.Layer, in blobs: some BlobSource) {
        self.init { try blobs.layerTar(layer) }
    }
}

private actor ChunkReader {
    private let open: @Sendable () throws -> any ByteSource
    private var source: (any ByteSource)?

    init(_ open: @escaping @Sendable () throws -> any ByteSource) { self.open = open }

    func next() throws -> [UInt8]? {
        let source = try self.source ?? open()
        self.source = source
        let chunk = try source.read(count: ByteSources.chunkSize)
        return chunk.isEmpty ? nil : chunk
    }
}

/// The archive that an engine's `POST /images/load` takes, made as it is sent: nothing of it is stored,
/// memory is a few chunks. Layers that the engine has may be left out.
///
/// Layers are named in `manifest.json` all the same: the engine looks each up by its chain of diffIDs first
/// and opens its file only when it does not know it. That is why only layers from the bottom up can be
/// missing: a layer is known only on top of those below it.
public struct DockerLoadArchive: Sendable {
    public struct Layer: Sendable {
        public var diffID: Digest
        /// Bytes of the tar.
        public var size: Int64
        public var open: @Sendable () async throws -> LayerStream

        public init(diffID: Digest, size: Int64, open: @escaping @Sendable () async throws -> LayerStream) {
            self.diffID = diffID
            self.size = size
            self.open = open
        }
    }

    public let configBytes: [UInt8]
    public let layers: [Layer]
    public let tags: [String]
    /// Layers, counted from the bottom, whose content is left out.
    public let omitted: Int

    /// - Parameters:
    ///   - tags: full names, `repository:tag`, that the image gets.
    ///   - omitted: how many layers from the bottom the engine has; see ``commonLayers(_:with:)``.
    public init(configBytes: [UInt8], layers: [Layer], tags: [String], omitted: Int = 0) {
        self.configBytes = configBytes
        self.layers = layers
        self.tags = tags
        self.omitted = min(max(0, omitted), layers.count)
    }

    /// An image of a release from stored blobs.
    ///
    /// - Parameter replacing: other sources for some layers, by diffID: a delta's output, an engine's export.
    public init(
        _ image: Release.Image, blobs: some BlobSource, tags: [String], omitted: Int = 0,
        replacing: [Digest: @Sendable () async throws -> LayerStream] = [:]
    ) throws {
        let config = try blobs.document(image.config, limit: OCILimits.configBytes)
        // Both are signed by the release; a disagreement is a defect of the release, found before the engine is asked.
        guard try ImageConfig(decoding: config).diffIDs == image.layers.map(\.diffID) else {
            throw OCIError(.diffID, image.config.digest.description, "config and release name different layers")
        }
        self.init(
            configBytes: config,
            layers: image.layers.map { layer in
                Layer(diffID: layer.diffID, size: layer.uncompressedSize, open: replacing[layer.diffID] ?? {
                    LayerStream(layer, in: blobs)
                })
            },
            tags: tags, omitted: omitted)
    }

    /// How many layers from the bottom an engine has, given the layers of the images it holds.
    public static func commonLayers(_ diffIDs: [Digest], with images: some Sequence<[Digest]>) -> Int {
        images.map { image in zip(diffIDs, image).prefix { $0 == $1 }.count }.max() ?? 0
    }

    /// Bytes of the whole archive.
    public var length: Int64 {
        get throws {
            try parts().reduce(Int64(TarEncoder.trailer.count)) { $0 + Int64($1.header.count) + $1.size + Tar.padding($1.size) }
        }
    }

    /// Starts to produce; may be called again for another attempt.
    public func stream() throws -> DockerLoadStream { DockerLoadStream(parts: try parts()) }

    struct Part: Sendable {
        var header: [UInt8]
        var size: Int64
        /// Nil for content that is in memory.
        var digest: Digest?
        var open: @Sendable () async throws -> LayerStream
    }

    private func parts() throws -> [Part] {
        let configName = Digest.sha256(configBytes).hex + ".json"
        let manifest = try JSONValue.array([
            .object([
                "Config": .string(configName), "RepoTags": .array(tags.map { .string($0) }),
                "Layers": .array(layers.map { .string("\($0.diffID.hex).tar") }),
            ])
        ]).serialized(.compact)
        var parts = [try Self.part("manifest.json", manifest), try Self.part(configName, configBytes)]
        var sent: Set<Digest> = []
        for layer in layers.dropFirst(omitted) where sent.insert(layer.diffID).inserted {
            let header = try TarEncoder.header(TarHeader(path: "\(layer.diffID.hex).tar", size: layer.size))
            parts.append(Part(header: header, size: layer.size, digest: layer.diffID, open: layer.open))
        }
        return parts
    }

    private static func part(_ name: String, _ bytes: [UInt8]) throws -> Part {
        let header = try TarEncoder.header(TarHeader(path: name, size: Int64(bytes.count)))
        return Part(header: header, size: Int64(bytes.count), digest: nil) {
            LayerStream { MemorySource(bytes) }
        }
    }
}

/// One run through a ``DockerLoadArchive``.
///
/// Each layer is hashed as it passes. Its last chunk is held back until size and diffID are known to be right,
/// so that an engine never gets a wrong layer whole, whatever it checks itself.
public actor DockerLoadStream {
    private var parts: ArraySlice<DockerLoadArchive.Part>
    private var current: DockerLoadArchive.Part?
    private var content: LayerStream?
    private var hasher: SHA256Hasher?
    private var received: Int64 = 0
    private var held: [UInt8]?
    private var ended = false

    init(parts: [DockerLoadArchive.Part]) { self.parts = parts[...] }

    /// The next bytes of the archive; nil at its end. After an error the archive must not be continued.
    public func next() async throws -> [UInt8]? {
        while true {
            if let content, let part = current {
                if let chunk = try await content.next() {
                    if let ready = try accept(chunk, of: part) { return ready }
                    continue
                }
                let tail = try finish(part)
                current = nil
                self.content = nil
                if !tail.isEmpty { return tail }
                continue
            }
            guard let part = parts.popFirst() else {
                if ended { return nil }
                ended = true
                return TarEncoder.trailer
            }
            current = part
            content = try await part.open()
            hasher = part.digest == nil ? nil : SHA256Hasher()
            received = 0
            return part.header
        }
    }

    /// Takes a chunk in and gives out the one before it.
    private func accept(_ chunk: [UInt8], of part: DockerLoadArchive.Part) throws -> [UInt8]? {
        received += Int64(chunk.count)
        guard received <= part.size else {
            throw OCIError(.blobOversized, subject(part), "more than \(part.size) bytes")
        }
        hasher?.update(chunk)
        let ready = held
        held = chunk
        return ready
    }

    private func finish(_ part: DockerLoadArchive.Part) throws -> [UInt8] {
        guard received == part.size else {
            throw OCIError(.blobTruncated, subject(part), "\(received) bytes, expected \(part.size)")
        }
        if let digest = part.digest, let found = hasher.take()?.finish(), found != digest {
            throw OCIError(.diffID, subject(part), "found \(found)")
        }
        let tail = (held ?? []) + TarEncoder.padding(part.size)
        held = nil
        return tail
    }

    private func subject(_ part: DockerLoadArchive.Part) -> String {
        part.digest.map { "layer \($0)" } ?? "image archive"
    }
}
