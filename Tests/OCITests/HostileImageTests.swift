import Archive
import Base
import Model
import OCI
import TestSupport
import Testing

/// Images that lie: about their layers, their sizes, their documents. Each is refused with its own code and
/// leaves nothing in the store but whole, verified blobs.
@Suite struct HostileImageTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var name: String
        var code: String
        /// A `docker save` archive.
        var make: @Sendable () throws -> [UInt8]
        var testDescription: String { name }
    }

    static func archive(
        config: [UInt8], layers: [[UInt8]], manifest: JSONValue? = nil, extra: [UInt8] = []
    ) throws -> [UInt8] {
        let names = layers.indices.map { "layer-\($0).tar" }
        let document =
            manifest
            ?? [["Config": "config.json", "RepoTags": ["a:b"], "Layers": .array(names.map { .string($0) })]]
        let body = try TestArchive.tar(
            zip(names, layers).map { ($0, $1) } + [
                ("config.json", config), ("manifest.json", try document.serialized()),
            ])
        return Array(body.dropLast(TarEncoder.trailer.count)) + extra + TarEncoder.trailer
    }

    /// A layer's compressed form that yields 64 MiB of zeros.
    static func bomb(_ tool: String) throws -> [UInt8] {
        let directory = try TemporaryDirectory()
        let made = try Tool.run(["sh", "-c", "head -c 67108864 /dev/zero | \(tool) > out"], in: directory.path)
        guard made.status == 0 else { throw OCIError(.document, made.output) }
        return try FileSystem().read(directory.file("out"), limit: 1 << 20)
    }

    static let cases: [Case] = [
        Case(name: "a layer that is not the config's", code: "oci.diff-id") {
            let image = try TestImage()
            return try archive(config: image.config, layers: [image.layers[0], image.layers[0]])
        },
        Case(name: "two layers swapped", code: "oci.diff-id") {
            let image = try TestImage()
            return try archive(config: image.config, layers: image.layers.reversed())
        },
        Case(name: "a layer with one bit changed", code: "oci.diff-id") {
            var image = try TestImage()
            image.layers[1][700] ^= 1
            return try archive(config: image.config, layers: image.layers)
        },
        Case(name: "fewer layers than diffIDs", code: "oci.layer-count") {
            let image = try TestImage()
            return try archive(config: image.config, layers: [image.layers[0]])
        },
        Case(name: "more layers than diffIDs", code: "oci.layer-count") {
            let image = try TestImage()
            return try archive(config: image.config, layers: image.layers + [image.layers[0]])
        },
        Case(name: "a million layers", code: "oci.limit") {
            let image = try TestImage()
            return try archive(
                config: image.config, layers: [],
                manifest: [["Config": "config.json", "Layers": .array(.init(repeating: "x", count: 1_000_000))]])
        },
        Case(name: "300 diffIDs", code: "oci.limit") {
            try archive(config: try TestImage.config(.init(repeating: .sha256([]), count: 300)), layers: [])
        },
        Case(name: "a gzip bomb", code: "archive.output-cap") {
            try archive(config: try TestImage.config([.sha256([])]), layers: [try bomb("gzip -9")])
        },
        Case(name: "a zstd bomb", code: "archive.output-cap") {
            try archive(config: try TestImage.config([.sha256([])]), layers: [try bomb("zstd -q -c")])
        },
        Case(name: "a zstd frame with a window of 512 MiB", code: "archive.window") {
            // Magic, a frame header descriptor without single segment, and a window of 2^29 bytes.
            try archive(
                config: try TestImage.config([.sha256([])]),
                layers: [[0x28, 0xB5, 0x2F, 0xFD, 0x00, 19 << 3, 1, 0, 0]])
        },
        Case(name: "a gzip layer cut short", code: "archive.truncated") {
            try archive(config: try TestImage.config([.sha256([])]), layers: [[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]])
        },
        Case(name: "gzip garbage", code: "archive.gzip") {
            try archive(config: try TestImage.config([.sha256([])]), layers: [[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 7, 7]])
        },
        Case(name: "a config that is no JSON", code: "oci.document") {
            try archive(config: Array("{]".utf8), layers: [])
        },
        Case(name: "a config nested a thousand deep", code: "oci.document") {
            let deep = String(repeating: "{\"a\":", count: 1000) + "1" + String(repeating: "}", count: 1000)
            return try archive(config: Array(deep.utf8), layers: [])
        },
        Case(name: "a config without an architecture", code: "oci.document") {
            try archive(config: Array("{\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\"}}".utf8), layers: [])
        },
        Case(name: "a config with sha512 diffIDs", code: "oci.document") {
            let text = """
                {"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha512:00"]}}
                """
            return try archive(config: Array(text.utf8), layers: [[1]])
        },
        Case(name: "an image of another architecture", code: "oci.platform") {
            let image = try TestImage(architecture: "s390x")
            return try archive(config: image.config, layers: image.layers)
        },
        Case(name: "a config path that climbs out", code: "oci.document") {
            try archive(config: [], layers: [], manifest: [["Config": "../../etc/passwd", "Layers": []]])
        },
        Case(name: "a layer path that is absolute", code: "oci.document") {
            let image = try TestImage()
            return try archive(
                config: image.config, layers: [], manifest: [["Config": "config.json", "Layers": ["/etc/passwd"]]])
        },
        Case(name: "a config that is not there", code: "oci.blob-missing") {
            try archive(config: [], layers: [], manifest: [["Config": "other.json", "Layers": []]])
        },
        Case(name: "a config whose name is another digest", code: "oci.blob-digest") {
            let image = try TestImage()
            return try TestArchive.tar([
                (Digest.sha256([1]).hex + ".json", image.config),
                (
                    "manifest.json",
                    try JSONValue.array([
                        ["Config": .string(Digest.sha256([1]).hex + ".json"), "Layers": []]
                    ]).serialized()
                ),
            ])
        },
        Case(name: "a layer that links out of the archive", code: "oci.path-escape") {
            try archive(
                config: [], layers: [],
                extra: try TarEncoder.header(
                    TarHeader(kind: .symlink, path: "x/layer.tar", linkPath: "../../etc/shadow")))
        },
        Case(name: "a layer that links to an absolute path", code: "oci.path-escape") {
            try archive(
                config: [], layers: [],
                extra: try TarEncoder.header(TarHeader(kind: .symlink, path: "x", linkPath: "/etc/shadow")))
        },
        Case(name: "links that lead in a circle", code: "oci.not-regular") {
            let image = try TestImage()
            return try archive(
                config: image.config, layers: [],
                manifest: [["Config": "config.json", "Layers": ["a", "b"]]],
                extra: try TarEncoder.header(TarHeader(kind: .symlink, path: "a", linkPath: "b"))
                    + TarEncoder.header(TarHeader(kind: .symlink, path: "b", linkPath: "a")))
        },
        Case(name: "no manifest.json", code: "oci.layout") { try TestArchive.tar([("x", [1])]) },
        Case(name: "a manifest.json with no image", code: "oci.tag") {
            try archive(config: [], layers: [], manifest: [])
        },
        Case(name: "a manifest.json that closes early", code: "oci.document") {
            try TestArchive.tar([("manifest.json", Array("[]},{\"x\":[]".utf8))])
        },
    ]

    @Test(.enabled(if: Tool.isInstalled("zstd"), "zstd is not installed"), arguments: cases)
    func isRefused(_ item: Case) throws {
        let directory = try TemporaryDirectory()
        try FileSystem().replace(directory.file("a.tar"), with: try item.make(), op: "test")
        let store = BlobStore(root: directory.file("store"))
        do {
            let image = try SourceImage(
                opening: .dockerArchive(file: directory.file("a.tar"), reference: nil), architecture: "amd64")
            _ = try ImageImporter(store: store, level: 1, layerBytes: 1 << 20).add(image)
            Issue.record("the image was taken")
        } catch let error as any CodedError {
            #expect(error.code == item.code, "\(error)")
        }
        guard try FileSystem().status(store.root) != nil else { return }
        #expect(try FileSystem().list(store.stagingDirectory).isEmpty)
        for blob in try store.list() { try store.verify(blob.digest) }
    }

    /// Seeded: documents with random edits are read or refused with a code; the process stays up.
    @Test func mutatedDocumentsNeverCrashTheReaders() throws {
        let image = try TestImage()
        let files = try image.layoutFiles()
        let documents = [
            image.config, try #require(files.first { $0.0 == "index.json" }?.1),
            try #require(files.dropLast(2).last?.1),
        ]
        var generator = SplitMix64(seed: 0xD0C5)
        var refused = 0
        for _ in 0..<1500 {
            var bytes = try #require(documents.randomElement(using: &generator))
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[position] = UInt8.random(in: 0x20...0x7E, using: &generator)
                case 1: bytes.removeSubrange(position..<min(bytes.count, position + 8))
                default: bytes.insert(contentsOf: bytes[0..<min(bytes.count, 20)], at: position)
                }
            }
            for read in [
                { _ = try ImageConfig(decoding: bytes) }, { _ = try ImageManifest(decoding: bytes) },
                { _ = try ImageIndex(decoding: bytes) },
            ] {
                do { try read() } catch is OCIError { refused += 1 }
            }
        }
        #expect(refused > 1500)
    }
}
