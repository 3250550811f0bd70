import Archive
import Base
import Glibc
import ImageDelta
import ImageDeltaCreate
import Model
import OCI
import ReleaseBundle
import Synchronization
import TestSupport
import Testing

@Suite struct LayerMakerTests {
    private let old = RoundTripTests.layer(seed: 21, changed: false)
    private let new = RoundTripTests.layer(seed: 21, changed: true)

    /// A device's store with the old layer, and a source with deltas to the new one.
    private struct Site {
        var workshop: Workshop
        var store: BlobStore
        var offered: BlobStore
        var oldLayer: Release.Layer
        var newLayer: Release.Layer
        var release: Release
        /// Of the delta that works.
        var good: Release.LayerDelta

        func maker(_ fileSystem: FileSystem = FileSystem()) -> LayerMaker {
            LayerMaker(
                store: BlobStore(root: store.root, fileSystem: fileSystem), known: [oldLayer], fileSystem: fileSystem)
        }

        func tar(_ layer: Release.Layer) throws -> [UInt8] {
            try store.layerTar(layer).read(count: Int(layer.uncompressedSize) + 1)
        }
    }

    private static func layer(_ tar: [UInt8], compressed: Release.Blob?) -> Release.Layer {
        Release.Layer(
            diffID: .sha256(tar), blob: compressed ?? Release.Blob(digest: .sha256([1]), size: 1 << 20),
            mediaType: MediaType.layerZstd, uncompressedSize: Int64(tar.count))
    }

    private func site(old: [UInt8]? = nil, new: [UInt8]? = nil, effort: Int = 2) async throws -> Site {
        let (old, new) = (old ?? self.old, new ?? self.new)
        let workshop = try Workshop()
        let store = BlobStore(root: workshop.directory.file("store"))
        let offered = BlobStore(root: workshop.directory.file("offered"))
        try store.prepare()
        try offered.prepare()
        let writer = try store.writer()
        try writer.fill(from: try ZstdCompressor(MemorySource(old), level: 3, workers: 0))
        let oldLayer = Self.layer(old, compressed: try writer.finish())
        let newLayer = Self.layer(new, compressed: nil)
        _ = try await workshop.create(bases: [old], new: new, effort: effort)
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
            workshop: workshop, store: store, offered: offered, oldLayer: oldLayer, newLayer: newLayer,
            release: release, good: release.deltas[0])
    }

    private func make(_ site: Site, _ maker: LayerMaker? = nil, from kind: LayerPlaceKind = .store) throws
        -> LayerMaker.Outcome
    {
        let maker = maker ?? site.maker()
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        let places = try #require(try maker.places(opened, trees: [:], exportable: [], from: kind))
        return try maker.make(opened, places: places)
    }

    @Test func aLayerIsMadeFromTheStoresCompressedBase() async throws {
        let site = try await site()
        let outcome = try make(site)
        #expect(outcome.resumedChapters == 0 && outcome.size == Int64(new.count))
        #expect(try site.store.holds(site.newLayer))
        #expect(try site.tar(site.newLayer) == new)
        try site.store.layers.verify(site.newLayer.diffID)
        // The delta and everything that was needed on the way are gone, and no tar is kept.
        #expect(try !site.store.contains(site.good.blob))
        #expect(try FileSystem().status(site.store.layers.workDirectory(site.newLayer.diffID)) == nil)
        #expect(try #require(try site.store.layers.storedSize(site.newLayer.diffID)) < Int64(new.count))
    }

    @Test func whatIsMadeStreamsToTheEngineAsALayer() async throws {
        let site = try await site()
        _ = try make(site)
        let stream = LayerStream(site.newLayer, in: site.store)
        var bytes: [UInt8] = []
        while let chunk = try await stream.next() { bytes += chunk }
        #expect(bytes == new)
    }

    @Test func aMadeLayerIsTheBaseOfTheNext() async throws {
        let site = try await site()
        _ = try make(site)
        var random = SplitMix64(seed: 9)
        let third = random.edited(new, edits: 10)
        _ = try await site.workshop.create(bases: [new], new: third, effort: 2)
        let layer = Self.layer(third, compressed: nil)
        let delta = Release.LayerDelta(
            base: [site.newLayer.diffID], target: layer.diffID,
            blob: try site.offered.put(try site.workshop.bytes("delta")))
        // Nothing but the diffID names it: no release on this machine needs to know it.
        let maker = LayerMaker(store: site.store, known: [])
        let opened = try maker.open(layer, by: delta, from: site.offered)
        let places = try #require(try maker.places(opened, trees: [:], exportable: [], from: .tree))
        _ = try maker.make(opened, places: places)
        #expect(try site.tar(layer) == third)
    }

    @Test func anExtractedLayerIsTheBase() async throws {
        let site = try await site()
        try site.store.remove(site.oldLayer.blob.digest)
        let root = site.workshop.directory.file("engine")
        try FileSystem().makeDirectories(Path.join(root, "layer/diff"), op: "test")
        #expect(try Tool.run(["tar", "-C", Path.join(root, "layer/diff"), "-xpf", site.workshop.directory.file("base0.tar")]).status == 0)
        let maker = site.maker()
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        let trees: [Digest: LayerPlace] = [site.oldLayer.diffID: .tree(path: "layer/diff", below: root)]
        #expect(try maker.places(opened, trees: trees, exportable: [], from: .store) == nil)
        let places = try #require(try maker.places(opened, trees: trees, exportable: [], from: .tree))
        _ = try maker.make(opened, places: places)
        #expect(try site.tar(site.newLayer) == new)
    }

    @Test func aTreeIsNotReachedThroughASymlink() async throws {
        let site = try await site()
        let root = site.workshop.directory.file("engine")
        try FileSystem().makeDirectories(Path.join(root, "real/diff"), op: "test")
        #expect(try Tool.run(["tar", "-C", Path.join(root, "real/diff"), "-xpf", site.workshop.directory.file("base0.tar")]).status == 0)
        #expect(symlink("real", Path.join(root, "layer")) == 0)
        #expect(symlink("diff", Path.join(root, "real/link")) == 0)
        let maker = site.maker()
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        for path in ["layer/diff", "real/link", "../engine/real/diff", "real/../real/diff"] {
            let error = #expect(throws: DeltaError.self) {
                try maker.make(opened, places: [0: .tree(path: path, below: root)])
            }
            #expect(error?.reason == .missingBase, "\(path)")
        }
        // The engine's own folder may be a symlink: that is its administrator's choice.
        #expect(symlink("engine", site.workshop.directory.file("alias")) == 0)
        _ = try maker.make(opened, places: [0: .tree(path: "real/diff", below: site.workshop.directory.file("alias"))])
    }

    @Test func anEnginesExportIsTheBase() async throws {
        let site = try await site()
        let maker = LayerMaker(store: site.store, known: [])
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        let exportable: Set = [site.oldLayer.diffID]
        let places = try #require(try maker.places(opened, trees: [:], exportable: exportable, from: .tree))
        #expect(places == [0: .exported])
        // An archive as `docker save` writes it, with another file of the same size before the layer.
        var archive: [UInt8] = []
        let writer = TarWriter { archive += $0 }
        let decoy = [UInt8](repeating: 7, count: old.count)
        try writer.add(TarHeader(kind: .directory, path: "a/"))
        try writer.add(TarHeader(path: "a/layer.tar", size: Int64(decoy.count)), content: decoy)
        try writer.add(TarHeader(path: "b/layer.tar", size: Int64(old.count)), content: old)
        try writer.add(TarHeader(path: "manifest.json", size: 2), content: Array("[]".utf8))
        try writer.finish()
        let spool = try #require(try maker.exportSpool(opened, places: places))
        var random = SplitMix64(seed: 4)
        var rest = archive[...]
        while !rest.isEmpty {
            let piece = rest.prefix(Int.random(in: 1...300_000, using: &random))
            try spool.feed(Array(piece))
            rest = rest.dropFirst(piece.count)
        }
        #expect(spool.missing.isEmpty)
        _ = try maker.make(opened, places: places)
        #expect(try site.tar(site.newLayer) == new)
    }

    @Test func anExportWithoutTheLayerGivesNothing() async throws {
        let site = try await site()
        let maker = LayerMaker(store: site.store, known: [])
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        var archive: [UInt8] = []
        let writer = TarWriter { archive += $0 }
        var other = old
        other[100_000] ^= 1
        try writer.add(TarHeader(path: "b/layer.tar", size: Int64(other.count)), content: other)
        try writer.finish()
        let spool = try #require(try maker.exportSpool(opened, places: [0: .exported]))
        try spool.feed(archive)
        #expect(spool.missing == [0])
    }

    @Test func aDamagedBaseIsFoundBeforeAnythingIsMade() async throws {
        let site = try await site()
        let root = site.workshop.directory.file("engine")
        try FileSystem().makeDirectories(Path.join(root, "diff"), op: "test")
        #expect(try Tool.run(["tar", "-C", Path.join(root, "diff"), "-xpf", site.workshop.directory.file("base0.tar")]).status == 0)
        let found = try Tool.run(["find", Path.join(root, "diff"), "-type", "f", "-size", "+5k"]).output
        let victim = try #require(found.split(separator: "\n").sorted().first.map { String($0) })
        let file = open(victim, O_WRONLY)
        #expect(pwrite(file, "damage", 6, 2_000) == 6)
        close(file)
        // As an engine's layer looks that somebody wrote into: times and sizes are right.
        #expect(try Tool.run(["touch", "-d", "@1700000000", victim]).status == 0)
        let maker = site.maker()
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        let error = #expect(throws: DeltaError.self) {
            try maker.make(opened, places: [0: .tree(path: "diff", below: root)])
        }
        #expect([.wrongBase, .missingBase].contains(error?.reason))
        #expect(try FileSystem().status(opened.partialPath) == nil)
        // The store's copy serves.
        _ = try maker.make(opened, places: [0: .stored])
        #expect(try site.tar(site.newLayer) == new)
    }

    @Test func theCheapestOpenRoadComesFirst() async throws {
        var site = try await site()
        let has: (Digest) throws -> Bool = { $0 == site.oldLayer.diffID }
        var roads = try site.store.roads(to: site.newLayer, of: site.release, offered: site.offered, bases: has)
        #expect(roads == [.delta(site.release.deltas[1]), .delta(site.release.deltas[0])])
        // A whole layer that is smaller than its deltas is taken, a larger one is the last resort.
        let whole = try site.offered.put([UInt8](repeating: 3, count: 100))
        site.newLayer.blob = whole
        roads = try site.store.roads(to: site.newLayer, of: site.release, offered: site.offered, bases: has)
        #expect(roads.first == .whole(whole))
        site.newLayer.blob = try site.offered.put([UInt8](repeating: 3, count: 9 << 20))
        roads = try site.store.roads(to: site.newLayer, of: site.release, offered: site.offered, bases: has)
        #expect(roads.last == .whole(site.newLayer.blob))
        #expect(roads.count == 3)
        // A delta that is here already costs nothing.
        try site.store.ingest(site.good.blob, from: site.offered)
        roads = try site.store.roads(to: site.newLayer, of: site.release, offered: site.offered, bases: has)
        #expect(roads.first == .delta(site.good))
        // Without its base none is open.
        roads = try site.store.roads(to: site.newLayer, of: site.release, offered: site.offered, bases: { _ in false })
        #expect(roads == [.whole(site.newLayer.blob)])
    }

    // MARK: Interruptions

    /// Layers of several chapters.
    private static let large: (old: [UInt8], new: [UInt8]) = {
        var random = SplitMix64(seed: 31)
        var old = TarBuilder()
        var new = TarBuilder()
        for number in 0..<16 {
            let content = random.bytes(1_600_000)
            old.file("blob\(number)", content)
            new.file("blob\(number)", number % 7 == 0 ? random.edited(content, edits: 6) : content)
            new.file("fresh\(number)", random.text(10_000))
        }
        return (old.finish(), new.finish())
    }()

    /// Lets the first `count` durable operations happen, and nothing after them: a power cut.
    private final class Cut: Sendable {
        private let state: Mutex<(left: Int, kinds: [DurableOperation.Kind], tears: Bool)>
        init(after count: Int, tears: Bool = false) { state = Mutex((count, [], tears)) }
        var kinds: [DurableOperation.Kind] { state.withLock { $0.kinds } }
        var fileSystem: FileSystem {
            FileSystem(
                monitor: DurabilityMonitor { [self] operation in
                    state.withLock { state in
                        state.kinds.append(operation.kind)
                        state.left -= 1
                        if state.left >= 0 { return .perform }
                        return state.left == -1 && state.tears && operation.kind == .write
                            ? .tear(count: 5_000) : .fail(errno: EIO)
                    }
                })
        }
    }

    @Test func aPowerCutAtAnyOperationLeadsToTheSameLayer() async throws {
        let site = try await site(old: Self.large.old, new: Self.large.new, effort: 1)
        let dry = Cut(after: .max)
        _ = try make(site, site.maker(dry.fileSystem))
        #expect(try site.tar(site.newLayer) == Self.large.new)
        let kinds = dry.kinds
        #expect(kinds.count > 20)
        var resumed: Set<Int> = []
        // Every operation but the many writes of frames, of which some are cut short in the middle.
        for operation in kinds.indices where kinds[operation] != .write || operation % 7 == 0 {
            try site.store.layers.remove(site.newLayer.diffID)
            try? site.store.remove(site.good.blob.digest)
            let cut = Cut(after: operation, tears: true)
            _ = try? make(site, site.maker(cut.fileSystem))
            // The last operations only tidy up behind a layer that is there.
            if try site.store.holds(site.newLayer) { continue }
            resumed.insert(try make(site).resumedChapters)
            #expect(try Digest.sha256(site.tar(site.newLayer)) == site.newLayer.diffID, "cut at \(operation)")
        }
        #expect(resumed.count >= 4, "cuts fell between chapters: \(resumed)")
    }

    @Test func aResumeDoesNotReadTheBaseOfWhatIsThere() async throws {
        let site = try await site(old: Self.large.old, new: Self.large.new, effort: 1)
        // Stop after three chapters; then break the base bytes that only they needed.
        let maker = site.maker()
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        let plain = try site.store.put(Self.large.old)
        let known = Release.Layer(
            diffID: plain.digest, blob: plain, mediaType: MediaType.layer, uncompressedSize: plain.size)
        let fromPlain = LayerMaker(store: site.store, known: [known])
        struct Stop: Error {}
        let chapters = Mutex(0)
        let cut = FileSystem(
            monitor: DurabilityMonitor { operation in
                guard operation.label == "delta.layer", operation.kind == .sync else { return .perform }
                return chapters.withLock { count in
                    count += 1
                    return count <= 3 ? .perform : .fail(errno: EIO)
                }
            })
        #expect(throws: (any Error).self) {
            try LayerMaker(store: site.store, known: [known], fileSystem: cut).make(opened, places: [0: .stored])
        }
        let path = site.store.path(plain.digest)
        let file = Glibc.open(path, O_WRONLY)
        #expect(pwrite(file, "damage", 6, 5_000) == 6)
        close(file)
        let outcome = try fromPlain.make(opened, places: [0: .stored])
        #expect(outcome.resumedChapters >= 3)
        #expect(try site.tar(site.newLayer) == Self.large.new)
    }

    @Test func aBaseThatChangesMidwayIsFoundAndAnotherGoesOn() async throws {
        let site = try await site(old: Self.large.old, new: Self.large.new, effort: 1)
        let plain = try site.store.put(Self.large.old)
        let changing = LayerMaker(
            store: site.store,
            known: [.init(diffID: plain.digest, blob: plain, mediaType: MediaType.layer, uncompressedSize: plain.size)])
        let opened = try changing.open(site.newLayer, by: site.good, from: site.offered)
        let path = site.store.path(plain.digest)
        let error = #expect(throws: DeltaError.self) {
            try changing.make(opened, places: [0: .stored]) { done in
                guard done < 10 << 20 else { return }
                let file = Glibc.open(path, O_WRONLY)
                _ = pwrite(file, "damage", 6, 22_000_000)
                close(file)
            }
        }
        #expect(error?.reason == .outputMismatch)
        // The store's compressed copy goes on after the last chapter that is right.
        try site.store.remove(plain.digest)
        let outcome = try site.maker().make(opened, places: [0: .stored])
        #expect(outcome.resumedChapters > 0)
        #expect(try site.tar(site.newLayer) == Self.large.new)
    }

    @Test func aFullDiskIsNotTheDeltasFault() async throws {
        let site = try await site()
        let full = FileSystem(
            monitor: DurabilityMonitor { $0.kind == .write && $0.label == "delta.layer" ? .fail(errno: ENOSPC) : .perform })
        let error = #expect(throws: FileSystemError.self) { try make(site, site.maker(full)) }
        #expect(error?.code == "file.no-space")
    }

    @Test func aDeltaThatIsGivenUpLeavesNothing() async throws {
        let site = try await site(old: Self.large.old, new: Self.large.new, effort: 1)
        let maker = site.maker()
        let opened = try maker.open(site.newLayer, by: site.good, from: site.offered)
        #expect(throws: (any Error).self) { try make(site, site.maker(Cut(after: 20).fileSystem)) }
        try maker.giveUp(opened)
        #expect(try site.store.layers.workSize(site.newLayer.diffID) == 0)
    }

    @Test func whatNoReleaseNeedsIsPruned() async throws {
        let site = try await site()
        _ = try make(site)
        #expect(try site.store.layers.prune(keeping: [site.newLayer.diffID]) == 0)
        #expect(try site.store.layers.prune(keeping: []) > 0)
        #expect(try site.store.layers.list().isEmpty)
    }

    @Test func aLayerDamagedOnDiskIsFound() async throws {
        let site = try await site()
        _ = try make(site)
        let path = site.store.layers.path(site.newLayer.diffID)
        let file = Glibc.open(path, O_WRONLY)
        #expect(pwrite(file, "damage", 6, 3_000) == 6)
        close(file)
        #expect(throws: (any Error).self) { try site.store.layers.verify(site.newLayer.diffID) }
    }
}
