import Base
import Model
import Operator
import TestSupport
import Testing

/// What goes into a bundle for receivers that have something already.
@Suite struct BundleSelectionTests {
    private func digest(_ text: String) -> Digest { .sha256(Array(text.utf8)) }

    private func layer(_ name: String, _ size: Int64) -> Release.Layer {
        Release.Layer(
            diffID: digest("diff \(name)"), blob: .init(digest: digest("blob \(name)"), size: size),
            mediaType: "application/vnd.oci.image.layer.v1.tar+zstd", uncompressedSize: size * 3)
    }

    private func release(_ layers: [Release.Layer], deltas: [(base: [String], to: Release.Layer, size: Int64)] = [])
        throws -> Release
    {
        let image = Release.Image(
            manifest: .init(digest: digest("manifest \(layers.count)"), size: 500),
            config: .init(digest: digest("config \(layers.count)"), size: 700), layers: layers, reference: "web:1",
            architecture: "amd64")
        var release = Release(
            app: "shop", version: try #require(SemanticVersion("2.0.0")), ctr: 2,
            services: ["web": Service(image: image.manifest.digest.description)],
            images: [image.manifest.digest.description: image])
        release.deltas = deltas.enumerated().map { number, delta in
            .init(
                base: delta.base.map { digest("diff \($0)") }, target: delta.to.diffID,
                blob: .init(digest: digest("delta \(number)"), size: delta.size))
        }
        return release
    }

    private func device(_ name: String, layers: [String], stored: [String] = [], blobs: [Digest] = []) -> Receiver {
        Receiver(
            DeviceInventory(
                device: name, architecture: "amd64", releases: [], blobs: blobs,
                layers: Set(layers + stored).map {
                    .init(diffID: digest("diff \($0)"), places: ["engine-layers"] + (stored.contains($0) ? ["store"] : []))
                }))
    }

    @Test func whatAllHaveStaysOut() throws {
        let release = try release([layer("a", 100), layer("b", 200)])
        let all = release.images.values.flatMap { [$0.manifest.digest, $0.config.digest] }
        let one = device("one", layers: [], stored: ["a"], blobs: all)
        let two = device("two", layers: [], blobs: all + [digest("blob a")])
        let selection = BundleSelection(release, for: [one, two])
        #expect(selection.omitted == Set(all + [digest("blob a")]))
        // Only one of them has b: it is sent whole.
        let three = device("three", layers: [], stored: ["b"])
        let mixed = BundleSelection(release, for: [one, two, three])
        #expect(mixed.omitted.isEmpty)
        #expect(mixed.choices.filter(\.isWhole).count == 2)
    }

    @Test func aLayerThatOnlyTheEngineHasIsSentAllTheSame() throws {
        // The store is what rebuilds the engine: a layer in the engine alone would be lost with it.
        let release = try release([layer("a", 100)])
        #expect(BundleSelection(release, for: [device("one", layers: ["a"])]).choices.map(\.isWhole) == [true])
    }

    @Test func theCheapestDeltaForEachReceiverGoesIn() throws {
        let new = layer("new", 10_000)
        let release = try release([new], deltas: [(["v1"], new, 400), (["v1"], new, 300), (["v2"], new, 50)])
        let selection = BundleSelection(
            release, for: [device("one", layers: ["v1"]), device("two", layers: ["v2"]), device("three", layers: ["v2"])])
        #expect(selection.deltas == [digest("delta 1"), digest("delta 2")])
        #expect(selection.omitted.contains(new.blob.digest))
        let choice = try #require(selection.choices.first)
        #expect(choice.bytes == 350 && !choice.isWhole && choice.services == ["web"])
        #expect(choice.reason.contains("2 deltas for 3 receivers"))
    }

    @Test func oneDeltaForAllCanBeCheaperThanTheBestForEach() throws {
        let new = layer("new", 10_000)
        let release = try release(
            [new], deltas: [(["v1"], new, 60), (["v2"], new, 60), (["common"], new, 100)])
        let selection = BundleSelection(
            release, for: [device("one", layers: ["v1", "common"]), device("two", layers: ["v2", "common"])])
        #expect(selection.deltas == [digest("delta 2")])
    }

    @Test func oneReceiverWithoutABaseMakesTheWholeLayerTheOnlyCost() throws {
        let new = layer("new", 10_000)
        let release = try release([new], deltas: [(["v1"], new, 60)])
        let selection = BundleSelection(release, for: [device("one", layers: ["v1"]), device("fresh", layers: [])])
        #expect(selection.deltas.isEmpty)
        #expect(!selection.omitted.contains(new.blob.digest))
        #expect(selection.choices.first?.reason.contains("fresh") == true)
    }

    @Test func deltasThatTogetherOutweighTheLayerStayOut() throws {
        let new = layer("new", 100)
        let release = try release([new], deltas: [(["v1"], new, 60), (["v2"], new, 60)])
        let both = BundleSelection(release, for: [device("one", layers: ["v1"]), device("two", layers: ["v2"])])
        #expect(both.deltas.isEmpty && both.choices.first?.isWhole == true)
        let one = BundleSelection(release, for: [device("one", layers: ["v1"])])
        #expect(one.deltas == [digest("delta 0")])
    }

    @Test func noSelectionIsCheaper() throws {
        // Against every subset of the deltas, on random sites.
        var random = SplitMix64(seed: 77)
        for _ in 0..<60 {
            let new = layer("new", 1_000)
            let count = Int.random(in: 1...7, using: &random)
            let deltas = (0..<count).map { number in
                (base: ["v\(number)"], to: new, size: Int64.random(in: 10...600, using: &random))
            }
            let release = try release([new], deltas: deltas)
            let devices = (0..<Int.random(in: 1...6, using: &random)).map { number in
                device("d\(number)", layers: (0..<count).filter { _ in Bool.random(using: &random) }.map { "v\($0)" })
            }
            var best = new.blob.size
            for subset in 0..<(1 << count) {
                let chosen = (0..<count).filter { subset >> $0 & 1 == 1 }
                let serves = devices.allSatisfy { device in
                    chosen.contains { device.bases.contains(digest("diff v\($0)")) }
                }
                if serves { best = min(best, chosen.reduce(0) { $0 + deltas[$1].size }) }
            }
            #expect(BundleSelection(release, for: devices).choices.first?.bytes == best)
        }
    }

    @Test func manyDevicesAndDeltasEndSoon() throws {
        let new = layer("new", 1 << 40)
        let release = try release([new], deltas: (0..<60).map { (["v\($0)"], new, Int64(100 + $0 % 7)) })
        var random = SplitMix64(seed: 5)
        let devices = (0..<400).map { number in
            device("d\(number)", layers: (0..<3).map { _ in "v\(Int.random(in: 0..<60, using: &random))" })
        }
        let selection = BundleSelection(release, for: devices)
        for device in devices {
            #expect(release.deltas.contains { selection.deltas.contains($0.blob.digest) && device.bases.isSuperset(of: $0.base) })
        }
    }

    // MARK: Inventories

    @Test func anInventoryComesBackAsItWasWritten() throws {
        let inventory = DeviceInventory(
            device: "pump-7", architecture: "arm64",
            releases: [.init(app: "shop", version: "1.0.0", digest: digest("r"), role: "current")],
            blobs: [digest("b")], layers: [.init(diffID: digest("l"), places: ["engine-layers", "store"])])
        #expect(try DeviceInventory(decoding: inventory.json.serialized()) == inventory)
    }

    @Test(arguments: [
        "", "[]", "{}", #"{"format":"holdfast.inventory.v2","releases":[],"blobs":[],"layers":[]}"#,
        #"{"format":"holdfast.inventory.v1","releases":[],"blobs":["sha256:00"],"layers":[]}"#,
        #"{"format":"holdfast.inventory.v1","releases":[{}],"blobs":[],"layers":[]}"#,
        #"{"format":"holdfast.inventory.v1","releases":[],"blobs":[],"layers":[{"diffID":7}]}"#,
        #"{"format":"holdfast.inventory.v1","releases":[],"blobs":{}}"#,
    ])
    func whatIsNoInventoryIsRefused(_ text: String) {
        #expect(throws: DeviceInventory.Malformed.self) { try DeviceInventory(decoding: Array(text.utf8)) }
    }
}
