import AgentTestSupport
import Base
import ImageDeltaCreate
import Model
import TestSupport

/// Two releases whose web images differ in a few bytes of a large layer, and the delta that makes the second.
struct DeltaPair {
    let old: Release
    let new: Release
    private let layers: (old: Release.Layer, new: Release.Layer)
    private let tars: (old: [UInt8], new: [UInt8])

    /// Bytes of the layer's file: some writes of the store, and a few chapters of nothing special.
    private static let size = 96 << 10

    private static func contents() -> (old: [UInt8], new: [UInt8]) {
        var generator = SeededGenerator(seed: 42)
        let content = (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
        var changed = content
        for _ in 0..<20 { changed[Int.random(in: 0..<size, using: &generator)] ^= 0x55 }
        return (content, changed)
    }

    /// The layers' tars by digest, as an engine has them.
    static func tars() throws -> [Digest: [UInt8]] {
        let (old, new) = contents()
        let tars = [try Lab.tar(["content": old]), try Lab.tar(["content": new])]
        return Dictionary(tars.map { (Digest.sha256($0), $0) }) { $1 }
    }

    init(_ bench: Bench) throws {
        let (content, changed) = Self.contents()
        let images = (
            old: try bench.lab.image("web-1", content: content), new: try bench.lab.image("web-2", content: changed)
        )
        old = Self.with(images.old, in: try bench.v1())
        new = Self.with(images.new, in: try bench.v2())
        layers = (images.old.layers[1], images.new.layers[1])
        tars = (try Lab.tar(["content": content]), try Lab.tar(["content": changed]))
    }

    /// The release with `image` as its web service's.
    private static func with(_ image: Release.Image, in release: Release) -> Release {
        var release = release
        if let before = release.services["web"]?.image { release.images[before] = nil }
        release.images[image.manifest.digest.description] = image
        release.services["web"]?.image = image.manifest.digest.description
        return release
    }

    /// The new release with its delta; the lab then offers the delta and not the layer.
    func withDelta(in bench: Bench) async throws -> Release {
        let fileSystem = FileSystem()
        let paths = ["old.tar", "new.tar", "delta"].map { bench.directory.file($0) }
        try fileSystem.replace(paths[0], with: tars.old, op: "test")
        try fileSystem.replace(paths[1], with: tars.new, op: "test")
        _ = try await DeltaCreate(effort: Effort(2) ?? .standard)
            .run(bases: [paths[0]], new: paths[1], output: paths[2])
        let delta = bench.lab.blobs.put(try fileSystem.read(paths[2], limit: Self.size))
        for path in paths { try fileSystem.unlink(path, op: "test") }
        bench.lab.blobs.replace(layers.new.blob.digest, with: nil)
        var release = new
        release.deltas = [.init(base: [layers.old.diffID], target: layers.new.diffID, blob: delta)]
        return release
    }
}
