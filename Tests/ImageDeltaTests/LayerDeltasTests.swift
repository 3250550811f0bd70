import Archive
import Base
import ImageDelta
import ImageDeltaCreate
import Model
import OCI
import ReleaseBundle
import TestSupport
import Testing

@Suite struct LayerDeltasTests {
    private let old = RoundTripTests.layer(seed: 21, changed: false)
    private let new = RoundTripTests.layer(seed: 21, changed: true)

    private struct Site {
        var workshop: Workshop
        var store: BlobStore
        var offered: BlobStore
        var oldLayer: Release.Layer
        var newLayer: Release.Layer
        var release: Release
    }

    private func layer(_ tar: [UInt8], compressed: Release.Blob?) -> Release.Layer {
        Release.Layer(
            diffID: .sha256(tar), blob: compressed ?? Release.Blob(digest: .sha256([1]), size: 1),
            mediaType: MediaType.layerZstd, uncompressedSize: Int64(tar.count))
    }

    /// A device with the old layer, compressed, and a source with a good delta and a smaller one that is wrong.
    private func site() async throws -> Site {
        let workshop = try Workshop()
        let store = BlobStore(root: workshop.directory.file("store"))
        let offered = BlobStore(root: workshop.directory.file("offered"))
        try store.prepare()
        try offered.prepare()
        let writer = try store.writer()
        try writer.fill(from: try ZstdCompressor(MemorySource(old), level: 3, workers: 0))
        let oldLayer = layer(old, compressed: try writer.finish())
        let newLayer = layer(new, compressed: nil)
        _ = try await workshop.create(bases: [old], new: new, effort: 2)
        let good = try offered.put(try workshop.bytes("delta"))
        let wrong = try offered.put(Array(try workshop.bytes("delta").dropLast(40)))
        let image = Release.Image(
            manifest: .init(digest: .sha256([2]), size: 1), config: .init(digest: .sha256([3]), size: 1),
            layers: [newLayer], reference: "demo", architecture: "amd64")
        var release = Release(
            app: "demo", version: try #require(SemanticVersion("2.0.0")), ctr: 2, services: [:],
            images: [image.manifest.digest.description: image])
        release.deltas = [good, wrong].map { .init(base: [oldLayer.diffID], target: newLayer.diffID, blob: $0) }
        return Site(
            workshop: workshop, store: store, offered: offered, oldLayer: oldLayer, newLayer: newLayer, release: release)
    }

    @Test func aLayerIsMadeFromTheStoresCompressedBase() async throws {
        let site = try await site()
        let deltas = LayerDeltas(store: site.store, known: [site.oldLayer])
        let usable = try deltas.usable(for: site.newLayer, of: site.release, offered: site.offered)
        #expect(usable.map(\.blob.size) == usable.map(\.blob.size).sorted())
        #expect(usable.count == 2)
        #expect(try !site.store.holds(site.newLayer))
        #expect(throws: DeltaError.self) { try deltas.make(site.newLayer, by: usable[0], from: site.offered) }
        #expect(try !site.store.holds(site.newLayer))
        try deltas.make(site.newLayer, by: usable[1], from: site.offered)
        #expect(try site.store.holds(site.newLayer))
        try site.store.verify(site.newLayer.diffID)
        try deltas.finish()
        #expect(try FileSystem().list(site.store.stagingDirectory).filter { $0.hasSuffix(".base") }.isEmpty)
    }

    @Test func whatIsMadeStreamsToTheEngineAsALayer() async throws {
        let site = try await site()
        let deltas = LayerDeltas(store: site.store, known: [site.oldLayer])
        let good = try #require(site.release.deltas.first)
        try deltas.make(site.newLayer, by: good, from: site.offered)
        let stream = LayerStream(site.newLayer, in: site.store)
        var bytes: [UInt8] = []
        while let chunk = try await stream.next() { bytes += chunk }
        #expect(bytes == new)
    }

    @Test func aMadeLayerIsTheBaseOfTheNext() async throws {
        let site = try await site()
        let first = LayerDeltas(store: site.store, known: [site.oldLayer])
        try first.make(site.newLayer, by: try #require(site.release.deltas.first), from: site.offered)
        var random = SplitMix64(seed: 9)
        let third = random.edited(new, edits: 10)
        _ = try await site.workshop.create(bases: [new], new: third, effort: 2)
        let delta = Release.LayerDelta(
            base: [site.newLayer.diffID], target: .sha256(third), blob: try site.offered.put(try site.workshop.bytes("delta")))
        let deltas = LayerDeltas(store: site.store, known: [site.newLayer])
        try deltas.make(layer(third, compressed: nil), by: delta, from: site.offered)
        #expect(try site.store.holds(layer(third, compressed: nil)))
    }

    @Test func aDeltaWithoutItsBaseIsNotOffered() async throws {
        let site = try await site()
        let strangers = LayerDeltas(store: site.store, known: [])
        #expect(try strangers.usable(for: site.newLayer, of: site.release, offered: site.offered).isEmpty)
        try site.store.remove(site.oldLayer.blob.digest)
        let deltas = LayerDeltas(store: site.store, known: [site.oldLayer])
        #expect(try deltas.usable(for: site.newLayer, of: site.release, offered: site.offered).isEmpty)
    }
}
