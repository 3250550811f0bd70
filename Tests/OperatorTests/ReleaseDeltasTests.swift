import Base
import Model
import TestSupport
import Testing

/// Deltas from the release command to the bundle, by the real `holdfast`.
@Suite struct ReleaseDeltasTests {
    private let bench: Bench
    init() throws { bench = try Bench() }

    /// Text of which a delta finds most again.
    private static func content(_ change: Int?) -> String {
        var random = SplitMix64(seed: 3)
        var lines = (0..<4_000).map { _ in String(random.next(), radix: 36) }
        if let change { lines[change] = "changed in \(change)" }
        return lines.joined(separator: "\n")
    }

    /// Three versions whose upper layer differs a little, and a fourth that has nothing in common.
    private func prepare() async throws {
        try await bench.prepare()
        for (name, change) in [("one", nil), ("two", 100), ("three", 200)] as [(String, Int?)] {
            try bench.makeImage("web-\(name)", layers: ["base layer", Self.content(change)])
        }
        var random = SplitMix64(seed: 99)
        let other = (0..<4_000).map { _ in String(random.next(), radix: 36) }.joined(separator: "\n")
        try bench.makeImage("web-other", layers: ["base layer", other])
    }

    private func build(_ version: String, _ image: String, _ more: String = "") async throws -> JSONValue {
        try await bench.json(
            "release build @compose.yaml --app shop --version \(version) --repo @repo --image web=oci:@\(image) "
                + "--image worker=oci:@worker --delta-effort 3" + (more.isEmpty ? "" : " " + more))
    }

    private func deltas(_ version: String) async throws -> [JSONValue] {
        try await bench.json("release show shop/\(version) --repo @repo")["deltas"]?.array ?? []
    }

    @Test func aReleaseHasADeltaFromEachVersionThatIsNamed() async throws {
        try await prepare()
        _ = try await build("1.0.0", "web-one")
        _ = try await build("1.1.0", "web-two")
        let built = try await build("1.2.0", "web-three", "--delta-from 1.0.0 --delta-from 1.1.0")
        #expect(built["deltas"]?.integer == 2)
        let shown = try await deltas("1.2.0")
        #expect(shown.map { $0["from"]?.array?.compactMap(\.string) ?? [] } == [["shop/1.0.0"], ["shop/1.1.0"]])
        for delta in shown {
            #expect(delta["services"]?.array?.compactMap(\.string) == ["web"])
            #expect(try #require(delta["size"]?.integer) < 2_000)
            #expect(try #require(delta["wholeSize"]?.integer) > 10_000)
        }
        let text = try await bench.succeed("release show shop/1.2.0 --repo @repo")
        #expect(text.contains("shop/1.1.0"))
        // The same build again gives the same document.
        let again = try await build("1.2.0", "web-three", "--delta-from 1.0.0 --delta-from 1.1.0")
        #expect(again["wasThere"]?.bool == true)
    }

    @Test func oneVersionNamedTwiceGivesOneDelta() async throws {
        try await prepare()
        _ = try await build("1.0.0", "web-one")
        let built = try await build("1.1.0", "web-two", "--delta-from 1.0.0 --delta-from 1.0.0")
        #expect(built["deltas"]?.integer == 1)
    }

    @Test func aDeltaThatSavesTooLittleIsLeftOut() async throws {
        try await prepare()
        _ = try await build("1.0.0", "web-other")
        let built = try await build("1.1.0", "web-two", "--delta-from 1.0.0")
        #expect(built["deltas"]?.integer == 0)
    }

    @Test func aVersionThatIsNotThereIsNamedInTheError() async throws {
        try await prepare()
        _ = try await build("1.0.0", "web-one")
        let result = try await bench.run(
            "release build @compose.yaml --app shop --version 1.1.0 --repo @repo --image web=oci:@web-two "
                + "--image worker=oci:@worker --delta-from 0.9.0")
        #expect(result.status != 0)
        #expect(result.errorOutput.contains("0.9.0"))
        #expect(try bench.fileSystem.status(bench.path("repo/delta-work")) == nil)
    }

    // MARK: Bundles

    private func summary(_ options: String, to path: String) async throws -> (export: JSONValue, entry: JSONValue) {
        let export = try await bench.json("bundle export @repo --release shop/1.2.0 -o @\(path) \(options)")
        let inspected = try await bench.json("bundle inspect @\(path)")
        return (export, try #require(inspected["releases"]?.array?.first))
    }

    private func threeVersions() async throws {
        try await prepare()
        _ = try await build("1.0.0", "web-one")
        _ = try await build("1.1.0", "web-two")
        _ = try await build("1.2.0", "web-three", "--delta-from 1.0.0 --delta-from 1.1.0")
    }

    @Test func aBundleForSeveralVersionsSaysWhomItServes() async throws {
        try await threeVersions()
        let whole = try await summary("", to: "whole")
        #expect(whole.entry["serves"]?.string == "all")
        let one = try await summary("--from shop/1.0.0", to: "one.tar")
        #expect(one.entry["deltas"]?.array?.count == 1)
        #expect(one.entry["serves"]?["bases"]?.array?.compactMap(\.string) == ["shop/1.0.0"])
        let two = try await summary("--from shop/1.0.0 --from shop/1.1.0", to: "two")
        #expect(two.entry["deltas"]?.array?.count == 2)
        #expect(two.entry["serves"]?["bases"]?.array?.compactMap(\.string) == ["shop/1.0.0", "shop/1.1.0"])
        let bytes = [whole, two, one].compactMap { $0.export["bytes"]?.integer }
        #expect(bytes == bytes.sorted(by: >) && Set(bytes).count == 3)
        let text = try await bench.succeed("bundle inspect @two")
        #expect(text.contains("shop/1.0.0 shop/1.1.0"))
    }

    @Test func aBundleForASiteIsTheSmallestThatServesAllItsDevices() async throws {
        try await threeVersions()
        func write(_ name: String, from version: String?) async throws {
            var layers: [DeviceInventory.HeldLayer] = []
            var blobs: [Digest] = []
            var releases: [DeviceInventory.HeldRelease] = []
            if let version {
                let shown = try await bench.json("release show shop/\(version) --repo @repo")["release"]
                for image in shown?["images"]?.object?.values.map({ $0 }) ?? [] {
                    for layer in image["layers"]?.array ?? [] {
                        let diffID = try #require(layer["diffID"]?.string.flatMap { Digest($0) })
                        layers.append(.init(diffID: diffID, places: ["engine-layers", "store"]))
                        blobs.append(try #require(layer["blob"]?["digest"]?.string.flatMap { Digest($0) }))
                    }
                }
                releases = [.init(app: "shop", version: version, digest: .sha256([1]), role: "current")]
            }
            let inventory = DeviceInventory(
                device: name, architecture: "amd64", releases: releases, blobs: blobs, layers: layers)
            try bench.write("\(name).json", String(decoding: try inventory.json.serialized(), as: UTF8.self))
        }
        try await write("pump-1", from: "1.0.0")
        try await write("pump-2", from: "1.1.0")
        try await write("fresh", from: nil)

        let site = try await summary("--for @pump-1.json @pump-2.json", to: "site")
        #expect(site.entry["deltas"]?.array?.count == 2)
        #expect(site.entry["serves"]?["devices"]?.array?.compactMap(\.string) == ["pump-1", "pump-2"])
        #expect(site.entry["serves"]?["bases"]?.array?.compactMap(\.string) == ["shop/1.0.0", "shop/1.1.0"])
        let chosen = (site.export["layers"]?.array ?? []).filter { $0["form"]?.string == "deltas" }
        #expect(chosen.count == 1)
        #expect(chosen.first?["reason"]?.string?.contains("2 deltas for 2 receivers") == true)

        // One device without a base: the layer goes in whole, and no delta beside it.
        let mixed = try await summary("--for @pump-1.json --for @fresh.json", to: "mixed")
        #expect(mixed.entry["deltas"]?.array?.count == 0)
        let text = try await bench.succeed("bundle export @repo --release shop/1.2.0 -o @again --for @pump-1.json @fresh.json")
        #expect(text.contains("fresh: no base of a delta"))

        try bench.write("bad.json", "{}")
        let refused = try await bench.run("bundle export @repo --release shop/1.2.0 -o @bad --for @bad.json")
        #expect(refused.status == 65 || refused.status == 64)
        #expect(refused.errorOutput.contains("bad.json"))
    }
}
