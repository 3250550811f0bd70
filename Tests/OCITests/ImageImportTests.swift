import Archive
import Base
import Model
import OCI
import TestSupport
import Testing

@Suite struct ImageImportTests {
    let directory: TemporaryDirectory
    let store: BlobStore

    init() throws {
        directory = try TemporaryDirectory()
        store = BlobStore(root: directory.file("repo"))
    }

    func open(_ bytes: [UInt8], _ kind: String, name: String = "a.tar") throws -> SourceImage {
        try FileSystem().replace(directory.file(name), with: bytes, op: "test")
        return try SourceImage(opening: ImageSource("\(kind):\(directory.file(name))"), architecture: "amd64")
    }

    @Test func everySourceGivesTheSameImage() throws {
        let image = try TestImage()
        try TestArchive.write(try image.layoutFiles(), to: directory.file("layout"))
        let sources = [
            try open(try image.legacyArchive(), "docker-archive", name: "legacy.tar"),
            try open(try image.modernArchive(), "docker-archive", name: "modern.tar"),
            try open(try TestArchive.tar(try image.layoutFiles()), "oci-archive", name: "oci.tar"),
            try SourceImage(opening: ImageSource("oci:\(directory.file("layout")):v1"), architecture: "amd64"),
        ]
        var results: [Release.Image] = []
        for source in sources {
            var added = try ImageImporter(store: store, level: 3).add(source)
            added.reference = ""
            results.append(added)
        }
        #expect(Set(results).count == 1)
        let result = try #require(results.first)
        #expect(result.config.digest == .sha256(image.config))
        #expect(result.layers.map(\.diffID) == image.diffIDs)
        #expect(result.layers.map(\.uncompressedSize) == image.layers.map { Int64($0.count) })
        let manifest = try ImageManifest(decoding: try store.document(result.manifest, limit: 1 << 20))
        #expect(manifest.layers.map(\.blob) == result.layers.map(\.blob))
        #expect(manifest.layers.allSatisfy { $0.mediaType == MediaType.layerZstd })
        // Two layers, config, manifest.
        #expect(try store.list().count == 4)
    }

    @Test func aLayerKnownBeforeIsNotCompressedAgain() throws {
        let image = try TestImage()
        let first = try ImageImporter(store: store, level: 3).add(try open(try image.modernArchive(), "docker-archive"))
        let known = Dictionary(first.layers.map { ($0.diffID, $0) }) { $1 }
        let again = try ImageImporter(store: store, level: 19, known: known)
            .add(try open(try image.modernArchive(), "docker-archive"))
        #expect(again.layers == first.layers)
        try store.remove(first.layers[0].blob.digest)
        let restored = try ImageImporter(store: store, level: 3, known: known)
            .add(try open(try image.modernArchive(), "docker-archive"))
        #expect(restored.layers == first.layers)
    }

    @Test func progressReachesTheTotal() throws {
        var last: ImageImporter.Progress?
        _ = try ImageImporter(store: store, level: 1).add(try open(try TestImage().legacyArchive(), "docker-archive")) {
            last = $0
        }
        #expect(last?.done == last?.total)
        #expect(last?.layer == 1)
    }

    @Test func anIndexIsChosenFromByArchitecture() throws {
        var files: [(String, [UInt8])] = []
        var descriptors: [Descriptor] = []
        for (index, architecture) in ["amd64", "arm64"].enumerated() {
            let image = try TestImage(architecture: architecture, seed: UInt64(index + 1))
            let layout = try image.layoutFiles().filter { $0.0.hasPrefix("blobs/") }
            files += layout
            let manifest = try #require(layout.last)
            descriptors.append(
                Descriptor(
                    mediaType: MediaType.manifest,
                    blob: Release.Blob(digest: .sha256(manifest.1), size: Int64(manifest.1.count)),
                    platform: Platform(architecture: architecture, os: "linux")))
        }
        let inner = try ImageIndex(manifests: descriptors).encoded()
        files.append(("blobs/sha256/\(Digest.sha256(inner).hex)", inner))
        files.append(("oci-layout", try ImageLayout.marker()))
        let outer = Descriptor(
            mediaType: MediaType.index, blob: Release.Blob(digest: .sha256(inner), size: Int64(inner.count)),
            annotations: [Annotation.refName: "multi"])
        files.append(("index.json", try ImageIndex(manifests: [outer]).encoded()))
        try TestArchive.write(files, to: directory.file("multi"))
        let source = ImageSource.layout(directory: directory.file("multi"), tag: "multi")
        for architecture in ["amd64", "arm64"] {
            #expect(
                try SourceImage(opening: source, architecture: architecture).config.platform.architecture
                    == architecture)
        }
        let missing = #expect(throws: OCIError.self) { _ = try SourceImage(opening: source, architecture: "riscv64") }
        #expect(missing?.reason == .platform)
        let unclear = #expect(throws: OCIError.self) { _ = try SourceImage(opening: source, architecture: nil) }
        #expect(unclear?.reason == .tag)
    }

    @Test(
        .enabled(if: Tool.isInstalled("skopeo"), "skopeo is not installed"),
        arguments: ["docker-archive", "oci-archive", "oci"])
    func whatSkopeoWritesIsRead(kind: String) throws {
        let image = try TestImage()
        try TestArchive.write(try image.layoutFiles(), to: directory.file("layout"))
        let target = directory.file("copy")
        let suffix = kind == "docker-archive" ? "demo:1" : "v1"
        let copied = try Tool.run([
            "skopeo", "copy", "--insecure-policy", "oci:\(directory.file("layout")):v1", "\(kind):\(target):\(suffix)",
        ])
        try #require(copied.status == 0, "\(copied.output)")
        let source = try SourceImage(opening: ImageSource("\(kind):\(target):\(suffix)"), architecture: "amd64")
        let result = try ImageImporter(store: store, level: 3).add(source)
        #expect(result.layers.map(\.diffID) == image.diffIDs)
    }

    // MARK: Load archive

    @Test func theLoadArchiveIsWhatDockerSaveWouldWrite() async throws {
        let image = try TestImage(layerBytes: [40_000, 3_000, 3_000])
        let added = try ImageImporter(store: store, level: 3).add(try open(try image.legacyArchive(), "docker-archive"))
        let archive = try DockerLoadArchive(added, blobs: store, tags: ["holdfast/demo:abc"])
        let bytes = try await collect(archive)
        #expect(try archive.length == Int64(bytes.count))
        let again = try open(bytes, "docker-archive", name: "again.tar")
        #expect(again.configBytes == image.config)
        var loaded = try ImageImporter(store: BlobStore(root: directory.file("other")), level: 3).add(again)
        loaded.reference = added.reference
        #expect(loaded == added)
    }

    @Test func layersTheEngineHasAreNamedButNotSent() async throws {
        let image = try TestImage()
        let added = try ImageImporter(store: store, level: 3).add(try open(try image.legacyArchive(), "docker-archive"))
        let omitted = DockerLoadArchive.commonLayers(image.diffIDs, with: [[], [image.diffIDs[1]], [image.diffIDs[0]]])
        #expect(omitted == 1)
        let archive = try DockerLoadArchive(added, blobs: store, tags: ["a:b"], omitted: omitted)
        let bytes = try await collect(archive)
        try FileSystem().replace(directory.file("part.tar"), with: bytes, op: "test")
        let tree = try ArchiveTree(try ReadableFile(path: directory.file("part.tar")))
        #expect(try tree.size("\(image.diffIDs[0].hex).tar") == nil)
        #expect(try tree.size("\(image.diffIDs[1].hex).tar") == Int64(image.layers[1].count))
        let manifest = String(decoding: try #require(try tree.read("manifest.json", limit: 10_000)), as: UTF8.self)
        #expect(manifest.contains(image.diffIDs[0].hex))
    }

    @Test func anotherSourceCanSupplyALayerAndIsHeldToItsDiffID() async throws {
        let image = try TestImage()
        let added = try ImageImporter(store: store, level: 3).add(try open(try image.legacyArchive(), "docker-archive"))
        try store.remove(added.layers[1].blob.digest)
        let right = image.layers[1]
        var wrong = right
        wrong[700] ^= 1
        for (bytes, reason) in [
            (right, nil), (wrong, OCIError.Reason.diffID), (right + [0], .blobOversized),
            (Array(right.dropLast()), .blobTruncated),
        ] {
            let archive = try DockerLoadArchive(
                added, blobs: store, tags: ["a:b"],
                replacing: [image.diffIDs[1]: { LayerStream { MemorySource(bytes) } }])
            let stream = try archive.stream()
            var sent: [UInt8] = []
            do {
                while let chunk = try await stream.next() { sent += chunk }
                #expect(reason == nil)
                #expect(try archive.length == Int64(sent.count))
            } catch let error as OCIError {
                #expect(error.reason == reason)
                // The wrong layer's last bytes were held back.
                #expect(Int64(sent.count) < (try archive.length) - 1024)
            }
        }
    }

    @Test func aDamagedStoredLayerStopsTheLoad() async throws {
        let image = try TestImage()
        let added = try ImageImporter(store: store, level: 3).add(try open(try image.legacyArchive(), "docker-archive"))
        let path = store.path(added.layers[0].blob.digest)
        var bytes = try FileSystem().read(path, limit: 1 << 20)
        bytes[bytes.count / 2] ^= 4
        try FileSystem().replace(path, with: bytes, op: "test")
        await #expect(throws: (any Error).self) {
            _ = try await collect(try DockerLoadArchive(added, blobs: store, tags: []))
        }
    }
}
