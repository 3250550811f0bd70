import Archive
import Base
import Model
import OCI
import TestSupport

/// A small image that a test makes: layers with files, and a config that signs them.
struct TestImage {
    var layers: [[UInt8]]
    var config: [UInt8]
    var diffIDs: [Digest] { layers.map { .sha256($0) } }

    init(architecture: String = "amd64", seed: UInt64 = 1, layerBytes: [Int] = [40_000, 3_000]) throws {
        var generator = SplitMix64(seed: seed)
        layers = try layerBytes.enumerated().map { index, count in
            let content = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next() % 17) }
            return try TestArchive.tar([("file-\(seed)-\(index)", content)])
        }
        config = try Self.config(layers.map { .sha256($0) }, architecture)
    }

    static func config(_ diffIDs: [Digest], _ architecture: String = "amd64") throws -> [UInt8] {
        try JSONValue.object([
            "architecture": .string(architecture), "os": "linux", "config": ["Cmd": ["/bin/true"]],
            "rootfs": ["type": "layers", "diff_ids": .array(diffIDs.map { .string($0.description) })],
        ]).serialized(.compact)
    }

    /// The form `docker save` wrote up to version 24.
    func legacyArchive(tag: String = "demo:1") throws -> [UInt8] {
        let names = layers.indices.map { "\(String(repeating: "\($0)", count: 64))/layer.tar" }
        return try dockerArchive(tag: tag, config: Digest.sha256(config).hex + ".json", layers: names)
    }

    /// The form `docker save` writes from version 25 on.
    func modernArchive(tag: String = "demo:1") throws -> [UInt8] {
        try dockerArchive(
            tag: tag, config: "blobs/sha256/\(Digest.sha256(config).hex)",
            layers: layers.map { "blobs/sha256/\(Digest.sha256($0).hex)" })
    }

    private func dockerArchive(tag: String, config name: String, layers names: [String]) throws -> [UInt8] {
        let manifest = try JSONValue.array([
            .object([
                "Config": .string(name), "RepoTags": [.string(tag)], "Layers": .array(names.map { .string($0) }),
            ])
        ]).serialized()
        return try TestArchive.tar(
            zip(names, layers).map { ($0, $1) } + [(name, config), ("manifest.json", manifest)])
    }

    /// Files of an OCI layout by path.
    func layoutFiles(tag: String? = "v1", gzip: Bool = false) throws -> [(String, [UInt8])] {
        var files: [(String, [UInt8])] = []
        func blob(_ bytes: [UInt8]) -> Release.Blob {
            files.append(("blobs/sha256/\(Digest.sha256(bytes).hex)", bytes))
            return Release.Blob(digest: .sha256(bytes), size: Int64(bytes.count))
        }
        let manifest = ImageManifest(
            config: Descriptor(mediaType: MediaType.config, blob: blob(config)),
            layers: layers.map { Descriptor(mediaType: MediaType.layer, blob: blob($0)) })
        let descriptor = Descriptor(
            mediaType: MediaType.manifest, blob: blob(try manifest.encoded()),
            annotations: tag.map { [Annotation.refName: $0] } ?? [:])
        files.append(("oci-layout", try ImageLayout.marker()))
        files.append(("index.json", try ImageIndex(manifests: [descriptor]).encoded()))
        return files
    }
}

enum TestArchive {
    static func tar(_ files: [(String, [UInt8])]) throws -> [UInt8] {
        try files.flatMap { name, content in
            try TarEncoder.header(TarHeader(path: name, size: Int64(content.count))) + content
                + TarEncoder.padding(Int64(content.count))
        } + TarEncoder.trailer
    }

    static func write(_ files: [(String, [UInt8])], to directory: String) throws {
        for (name, content) in files {
            let path = Path.join(directory, name)
            try FileSystem().makeDirectories(Path.parent(path), op: "test")
            try FileSystem().replace(path, with: content, op: "test")
        }
    }
}

func collect(_ archive: DockerLoadArchive) async throws -> [UInt8] {
    let stream = try archive.stream()
    var bytes: [UInt8] = []
    while let chunk = try await stream.next() { bytes += chunk }
    return bytes
}
