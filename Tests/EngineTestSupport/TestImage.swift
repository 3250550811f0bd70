import Base
import Model
import TestSupport

/// An image built by hand: layers as tars, a config, and a `docker load` archive of them.
public struct TestImage: Sendable {
    public var layers: [[UInt8]]
    public var config: [UInt8]
    public var reference: String?

    public var diffIDs: [Digest] { layers.map { Digest.sha256($0) } }
    /// The config's digest, which is the image's ID in the engine.
    public var id: Digest { Digest.sha256(config) }

    /// - Parameters:
    ///   - command: what runs when nobody says otherwise.
    ///   - diffIDs: those to state instead of the layers' own.
    public init(
        layers: [[UInt8]], command: [String] = ["/bin/sh"], reference: String? = nil, labels: [String: String] = [:],
        diffIDs: [Digest]? = nil
    ) throws {
        self.layers = layers
        self.reference = reference
        let stated = diffIDs ?? layers.map { Digest.sha256($0) }
        let document: JSONValue = [
            "architecture": "amd64", "os": "linux",
            "config": [
                "Cmd": .array(command.map { .string($0) }), "Env": ["PATH=/bin"],
                "Labels": .object(labels.mapValues { .string($0) }),
            ],
            "rootfs": ["type": "layers", "diff_ids": .array(stated.map { .string($0.description) })],
        ]
        config = try document.serialized()
    }

    /// One layer that holds these files.
    public static func layer(_ files: [String: String]) async throws -> [UInt8] {
        let folder = try TemporaryDirectory()
        let fileSystem = FileSystem()
        try fileSystem.makeDirectories(folder.file("root"), op: "test")
        for (path, text) in files {
            let target = Path.join(folder.path, "root", path)
            try fileSystem.makeDirectories(Path.parent(target), op: "test")
            try fileSystem.replace(target, with: Array(text.utf8), mode: 0o755, op: "test")
        }
        return try await PrivateEngine.tar(folder.file("root"))
    }

    /// The `docker load` archive; `omitting` leaves out the data of layers that its manifest still names.
    public func archive(omitting: Set<Int> = []) async throws -> [UInt8] {
        let folder = try TemporaryDirectory()
        let fileSystem = FileSystem()
        let root = folder.file("root")
        try fileSystem.makeDirectories(root, op: "test")
        let names = layers.indices.map { "\($0)-\(diffIDs[$0].short)/layer.tar" }
        for (index, name) in names.enumerated() where !omitting.contains(index) {
            try fileSystem.makeDirectories(Path.join(root, Path.parent(name)), op: "test")
            try fileSystem.replace(Path.join(root, name), with: layers[index], op: "test")
        }
        try fileSystem.replace(Path.join(root, "\(id.hex).json"), with: config, op: "test")
        let manifest: JSONValue = [
            [
                "Config": .string("\(id.hex).json"), "RepoTags": .array(reference.map { [.string($0)] } ?? []),
                "Layers": .array(names.map { .string($0) }),
            ]
        ]
        try fileSystem.replace(Path.join(root, "manifest.json"), with: try manifest.serialized(), op: "test")
        return try await PrivateEngine.tar(root)
    }
}
