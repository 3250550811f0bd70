import Archive
import Base
import Model
import OCI

/// An OCI image layout with one image, made without an engine.
public enum ImageFolder {
    /// - Parameter layers: the content of each layer's one file.
    public static func make(_ path: String, layers contents: [[UInt8]], architecture: String = "amd64") throws {
        let fileSystem = FileSystem()
        let store = BlobStore(root: path)
        try store.prepare()
        var diffIDs: [Digest] = []
        var layers: [Descriptor] = []
        for (index, content) in contents.enumerated() {
            var tar: [UInt8] = []
            let writer = TarWriter { tar += $0 }
            try writer.add(TarHeader(path: "file-\(index)", size: Int64(content.count)), content: content)
            try writer.finish()
            diffIDs.append(Digest.sha256(tar))
            layers.append(Descriptor(mediaType: MediaType.layer, blob: try store.put(tar)))
        }
        let config: JSONValue = [
            "architecture": .string(architecture), "os": "linux", "config": ["Cmd": ["/bin/sh"]],
            "rootfs": ["type": "layers", "diff_ids": .array(diffIDs.map { .string($0.description) })],
        ]
        let manifest = ImageManifest(
            config: Descriptor(mediaType: MediaType.config, blob: try store.put(try config.serialized())),
            layers: layers)
        let descriptor = Descriptor(mediaType: MediaType.manifest, blob: try store.put(try manifest.encoded()))
        let index = ImageIndex(manifests: [descriptor])
        try fileSystem.replace(Path.join(path, "oci-layout"), with: try ImageLayout.marker(), op: "test")
        try fileSystem.replace(Path.join(path, "index.json"), with: try index.encoded(), op: "test")
    }
}
