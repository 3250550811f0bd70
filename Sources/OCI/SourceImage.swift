import Archive
import Base
import Glibc
import Model

/// Where an operator says an image comes from.
public enum ImageSource: Hashable, Sendable, CustomStringConvertible {
    /// `oci:DIR[:TAG]`
    case layout(directory: String, tag: String?)
    /// `oci-archive:FILE[:TAG]`
    case layoutArchive(file: String, tag: String?)
    /// `docker-archive:FILE[:REPOSITORY:TAG]`
    case dockerArchive(file: String, reference: String?)
    /// `docker:REFERENCE`, from the local engine.
    case engine(reference: String)

    /// Parses what stands after `--image SERVICE=`.
    public init(_ text: String) throws(OCIError) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[1].isEmpty else {
            throw OCIError(
                .reference, "image source \"\(text)\"",
                "expected oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REFERENCE] or docker:REFERENCE")
        }
        let rest = String(parts[1])
        switch parts[0] {
        case "oci":
            let (path, tag) = Self.splitPath(rest)
            self = .layout(directory: path, tag: tag)
        case "oci-archive":
            let (path, tag) = Self.splitPath(rest)
            self = .layoutArchive(file: path, tag: tag)
        case "docker-archive":
            let (path, reference) = Self.splitPath(rest)
            self = .dockerArchive(file: path, reference: reference)
        case "docker":
            // `docker://host/…` is a registry in other tools; nothing here downloads.
            guard !rest.hasPrefix("//") else {
                throw OCIError(.reference, "image source \"\(text)\"", "registries are not read; pull the image first")
            }
            self = .engine(reference: rest)
        default:
            throw OCIError(.reference, "image source \"\(text)\"", "unknown kind \"\(parts[0])\"")
        }
    }

    /// A path may have colons: what exists as written is the path. Otherwise the first colon ends it.
    private static func splitPath(_ text: String) -> (String, String?) {
        guard access(text, F_OK) != 0, let colon = text.firstIndex(of: ":") else { return (text, nil) }
        let tag = text[text.index(after: colon)...]
        return (String(text[..<colon]), tag.isEmpty ? nil : String(tag))
    }

    public var description: String {
        switch self {
        case .layout(let path, let tag): "oci:\(path)" + (tag.map { ":" + $0 } ?? "")
        case .layoutArchive(let path, let tag): "oci-archive:\(path)" + (tag.map { ":" + $0 } ?? "")
        case .dockerArchive(let path, let reference): "docker-archive:\(path)" + (reference.map { ":" + $0 } ?? "")
        case .engine(let reference): "docker:\(reference)"
        }
    }
}

/// An image opened for import: its config and, for each layer, a way to read it. Not verified yet.
public struct SourceImage: Sendable {
    public struct Layer: Sendable {
        public var diffID: Digest
        /// Bytes as stored, for progress.
        public var storedSize: Int64
        /// The layer as stored, plain or compressed.
        public var open: @Sendable () throws -> any ByteSource

        public init(diffID: Digest, storedSize: Int64, open: @escaping @Sendable () throws -> any ByteSource) {
            self.diffID = diffID
            self.storedSize = storedSize
            self.open = open
        }
    }

    /// What the operator wrote, for people.
    public var reference: String
    /// As in the source, byte for byte: its digest is the image's ID.
    public var configBytes: [UInt8]
    public var config: ImageConfig
    /// From the bottom up.
    public var layers: [Layer]

    init(
        reference: String, configBytes: [UInt8], config: ImageConfig, architecture: String?, layers: [Layer]
    ) throws {
        if let architecture, config.platform.architecture != architecture {
            throw OCIError(.platform, reference, "wanted \(architecture), it is \(config.platform.architecture)")
        }
        self.reference = reference
        self.configBytes = configBytes
        self.config = config
        self.layers = layers
    }

    /// Opens an image from files.
    ///
    /// - Parameters:
    ///   - source: any but ``ImageSource/engine(reference:)``, whose `docker save` stream the caller first
    ///     writes to a file and then opens as ``ImageSource/dockerArchive(file:reference:)``.
    ///   - architecture: OCI name of the wanted one; an image of another is refused. Nil takes what is there.
    public init(opening source: ImageSource, architecture: String?) throws {
        switch source {
        case .layout(let directory, let tag):
            try self.init(
                layout: ImageLayout(ConfinedDirectory(directory)), tag: tag, architecture: architecture,
                reference: source.description)
        case .layoutArchive(let file, let tag):
            try self.init(
                layout: ImageLayout(ArchiveTree(try ReadableFile(path: file))), tag: tag, architecture: architecture,
                reference: source.description)
        case .dockerArchive(let file, let reference):
            try self.init(
                dockerArchive: try ReadableFile(path: file), image: reference, architecture: architecture,
                reference: source.description)
        case .engine:
            throw OCIError(.reference, source.description, "save it to a file first")
        }
    }

    public init(layout: ImageLayout, tag: String?, architecture: String?, reference: String) throws {
        let (descriptor, manifest) = try layout.manifest(tag: tag, architecture: architecture)
        let configBytes = try layout.blobs.document(manifest.config.blob, limit: OCILimits.configBytes)
        let config = try ImageConfig(decoding: configBytes, subject: manifest.config.blob.digest.description)
        guard config.diffIDs.count == manifest.layers.count else {
            throw OCIError(
                .layerCount, descriptor.blob.digest.description,
                "\(manifest.layers.count) layers, \(config.diffIDs.count) diffIDs")
        }
        let blobs = layout.blobs
        let layers = try zip(manifest.layers, config.diffIDs).map { layer, diffID in
            // Found now rather than after minutes of work on the layers before it.
            try blobs.requireSize(layer.blob)
            return Layer(diffID: diffID, storedSize: layer.blob.size) { try blobs.reader(layer.blob) }
        }
        try self.init(
            reference: reference, configBytes: configBytes, config: config, architecture: architecture, layers: layers)
    }

    /// The archive `docker save` writes, in both its forms: `<id>/layer.tar` folders, or blobs by digest.
    ///
    /// - Parameter image: one of the archive's names; nil takes the only image.
    public init(
        dockerArchive file: ReadableFile, image: String?, architecture: String?, reference: String
    ) throws {
        let tree = try ArchiveTree(file, links: .withinArchive)
        guard let bytes = try tree.read("manifest.json", limit: OCILimits.manifestBytes) else {
            throw OCIError(.layout, file.path, "manifest.json is missing: not an archive of docker save")
        }
        let entry = try DockerArchiveEntry.choose(bytes, image: image, subject: "\(file.path): manifest.json")
        guard let configBytes = try tree.read(entry.config, limit: OCILimits.configBytes) else {
            throw OCIError(.blobMissing, "\(file.path): \(entry.config)")
        }
        // The name says the digest in both forms.
        let name = Path.name(entry.config).split(separator: ".").first.map(String.init) ?? ""
        if let digest = Digest(hex: name), digest != .sha256(configBytes) {
            throw OCIError(.blobDigest, "\(file.path): \(entry.config)", "found \(Digest.sha256(configBytes))")
        }
        let config = try ImageConfig(decoding: configBytes, subject: "\(file.path): \(entry.config)")
        guard config.diffIDs.count == entry.layers.count else {
            throw OCIError(
                .layerCount, file.path, "\(entry.layers.count) layers, \(config.diffIDs.count) diffIDs")
        }
        let layers = try zip(entry.layers, config.diffIDs).map { path, diffID in
            guard let size = try tree.size(path) else { throw OCIError(.blobMissing, "\(file.path): \(path)") }
            return Layer(diffID: diffID, storedSize: size) { try tree.open(path, from: 0) }
        }
        try self.init(
            reference: reference, configBytes: configBytes, config: config, architecture: architecture, layers: layers)
    }
}

/// One element of the `manifest.json` of a `docker save` archive.
struct DockerArchiveEntry {
    var config: String
    var names: [String]
    var layers: [String]

    static func choose(_ bytes: [UInt8], image: String?, subject: String) throws -> DockerArchiveEntry {
        // The document is an array; wrapped, so that one reader serves all documents.
        let reader = try DocumentReader(
            Array("{\"images\":".utf8) + bytes + Array("}".utf8), limit: OCILimits.manifestBytes + 16, subject: subject)
        let entries = try reader.list(reader.value["images"], "images", limit: OCILimits.manifests).map {
            try DockerArchiveEntry($0, reader)
        }
        let names = entries.flatMap(\.names).sorted().joined(separator: ", ")
        if let image {
            let wanted = try ImageReference(image).familiar
            guard let entry = entries.first(where: { entry in
                entry.names.contains { (try? ImageReference($0).familiar) == wanted }
            }) else { throw OCIError(.tag, subject, "no \"\(image)\"; there is \(names)") }
            return entry
        }
        guard let entry = entries.first, entries.count == 1 else {
            throw OCIError(.tag, subject, entries.isEmpty ? "no image" : "one of \(names)")
        }
        return entry
    }

    private init(_ value: JSONValue, _ reader: DocumentReader) throws {
        guard let config = value["Config"]?.string, Path.isPlainRelative(config) else {
            throw reader.fail("Config", "expected a path inside the archive")
        }
        self.config = config
        names = value["RepoTags"]?.array?.compactMap(\.string) ?? []
        layers = try reader.list(value["Layers"], "Layers", limit: OCILimits.layers).map {
            guard let path = $0.string, Path.isPlainRelative(path) else {
                throw reader.fail("Layers", "expected paths inside the archive")
            }
            return path
        }
    }
}
