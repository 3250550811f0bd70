import Base
import DockerEngine
import EngineTestSupport
import Glibc
import Model
import TestSupport
import Testing

/// Updates by deltas alone, on a real engine, by the real programs; the agent stands in a network namespace with
/// nothing in it.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isOwn, PrivateEngine.skipMessage),
    .timeLimit(.minutes(8)))
struct DeltaUpdateTests {
    /// What every site of this suite publishes: two images, of which the second is the first with a few changes.
    private actor Images {
        static let shared = Images()
        private var made: (old: TestImage, new: TestImage)?

        func pair() async throws -> (old: TestImage, new: TestImage) {
            if let made { return made }
            let folder = try TemporaryDirectory()
            let base = try await PrivateEngine.busyboxTar(files: ["opt/hidden/below": "hidden\n", "etc/gone": "gone\n"])
            let root = folder.file("root")
            try fill(root, seed: 41)
            let old = try await PrivateEngine.tar(root)
            try change(root)
            let new = try await PrivateEngine.tar(root)
            let pair = (try TestImage(layers: [base, old]), try TestImage(layers: [base, new]))
            made = pair
            return pair
        }

        private let fileSystem = FileSystem()

        private func put(_ path: String, _ bytes: [UInt8], mode: UInt32 = 0o644) throws {
            try fileSystem.makeDirectories(Path.parent(path), op: "test")
            try fileSystem.replace(path, with: bytes, mode: mode, op: "test")
        }

        /// Everything that an overlay directory shows otherwise than a tar does, and 24 MB that do not compress.
        private func fill(_ root: String, seed: UInt64) throws {
            var random = SplitMix64(seed: seed)
            try put(Path.join(root, "www/index.html"), Array("1.0.0\n".utf8))
            for number in 0..<15 { try put(Path.join(root, "data/blob\(number)"), noise(1_600_000, &random)) }
            try put(Path.join(root, "etc/.wh.gone"), [])
            try put(Path.join(root, "opt/hidden/.wh..wh..opq"), [])
            try put(Path.join(root, "opt/hidden/above"), noise(3_000, &random))
            try put(Path.join(root, "bin/tool"), noise(9_000, &random), mode: 0o4755)
            try put(Path.join(root, "private/key"), noise(700, &random), mode: 0o600)
            try put(Path.join(root, "empty"), [])
            let long = String(repeating: "a-rather-long-folder-name/", count: 7)
            try put(Path.join(root, long + "leaf-with-a-name-of-its-own"), noise(2_000, &random))
            try put(Path.join(root, "data/\u{E9}\u{4E16}"), noise(1_500, &random))
            #expect(symlink("blob1", Path.join(root, "data/current")) == 0)
            #expect(symlink("../../../../etc/passwd", Path.join(root, "data/outside")) == 0)
            #expect(link(Path.join(root, "data/blob2"), Path.join(root, "data/second-name")) == 0)
            #expect(mkfifo(Path.join(root, "queue"), 0o600) == 0)
            #expect(chmod(Path.join(root, "private"), 0o700) == 0)
        }

        private func change(_ root: String) throws {
            var random = SplitMix64(seed: 42)
            try put(Path.join(root, "www/index.html"), Array("2.0.0\n".utf8))
            for number in [1, 6, 12] {
                let path = Path.join(root, "data/blob\(number)")
                var bytes = try fileSystem.read(path, limit: 2 << 20)
                bytes.replaceSubrange(500_000..<500_900, with: noise(1_300, &random))
                try put(path, bytes)
            }
            try put(Path.join(root, "data/fresh"), noise(60_000, &random))
            try fileSystem.unlink(Path.join(root, "empty"), op: "test")
        }

        private func noise(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
            var output: [UInt8] = []
            output.reserveCapacity(count + 8)
            while output.count < count { withUnsafeBytes(of: random.next()) { output += $0 } }
            return Array(output.prefix(count))
        }
    }

    /// A device that serves 1.0.0, without a network, and 2.0.0 in the repository.
    private func serving() async throws -> (site: AgentSite, agent: ChildProcess, images: (old: TestImage, new: TestImage)) {
        let site = try await AgentSite(try PrivateEngine.current)
        let images = try await Images.shared.pair()
        try await site.build("1.0.0", images.old)
        try await site.export("1.0.0")
        try await site.build("2.0.0", images.new, deltaFrom: ["1.0.0"])
        let agent = try await site.start(Self.offline)
        try await site.provision()
        try await take(site, "1.0.0")
        return (site, agent, images)
    }

    private static let offline = ["unshare", "-n"]

    private func take(_ site: AgentSite, _ stick: String, serves version: String? = nil) async throws {
        let result = try await site.agent(["import", site.stick(stick), "--wait"], limit: .seconds(120))
        try #require(result.status == 0, "\(result.errorOutput)\(result.output)")
        #expect(try await site.page() == version ?? stick)
    }

    /// How the layers of the last import came.
    private func lastImport(_ site: AgentSite) async throws -> [JSONValue] {
        let answer = try await site.agent(["why", "--output", "json"])
        return try JSONValue(parsing: Array(answer.output.utf8))["lastImport"]?["layers"]?.array ?? []
    }

    private func end(_ site: AgentSite, _ agent: ChildProcess) async throws {
        agent.send(SIGTERM)
        _ = try await agent.wait(limit: .seconds(20))
        try await site.wipe()
        for image in try await site.engine.client.listImages() {
            try? await site.engine.client.removeImage(image.id, force: true)
        }
    }

    /// The folder of the top layer's extracted files.
    private func upper(_ site: AgentSite, _ image: TestImage) async throws -> String {
        let details = try await site.engine.client.inspectImage(image.id.description)
        #expect(details.layerDirectories.count == image.layers.count)
        return try #require(details.layerDirectories.first)
    }

    /// File name of the blob that 1.0.0 has of a layer.
    private func blob(of diffID: Digest, _ site: AgentSite) async throws -> String {
        let shown = try await site.operate([
            "release", "show", "plant/1.0.0", "--repo", site.folder.file("repo"), "--output", "json",
        ])
        let images = try JSONValue(parsing: Array(shown.utf8))["release"]?["images"]?.object ?? [:]
        let layers = images.values.flatMap { $0["layers"]?.array ?? [] }
        let layer = try #require(layers.first { $0["diffID"]?.string == diffID.description })
        return String(try #require(layer["blob"]?["digest"]?.string).dropFirst("sha256:".count))
    }

    private func isSame(_ site: AgentSite, _ image: TestImage) async throws -> Bool {
        let loaded = try await site.engine.client.findImage(image.id.description)
        return loaded?.id == image.id.description && loaded?.layers == image.diffIDs.map(\.description)
    }

    @Test func fromTheEnginesExtractedLayersToTheSameImage() async throws {
        let (site, agent, images) = try await serving()
        try await site.export("2.0.0", ["--from", "plant/1.0.0"], to: "delta")
        // The stick has the delta and not the layer.
        let blobs = try FileSystem().list(Path.join(site.stick("delta"), "blobs/sha256"))
        let bytes = try blobs.reduce(Int64(0)) {
            $0 + (try FileSystem().status(Path.join(site.stick("delta"), "blobs/sha256/\($1)"))?.size ?? 0)
        }
        #expect(bytes < 200_000)
        try await take(site, "delta", serves: "2.0.0")
        let layers = try await lastImport(site)
        #expect(layers.count == 1)
        #expect(layers.first?["base"]?.string == "engine-layers", "\(layers)")
        #expect(layers.first?["failures"]?.array?.count == 0, "\(layers)")
        #expect(try #require(layers.first?["saved"]?.integer) > 20_000_000)
        #expect(try await isSame(site, images.new))
        // What the store keeps is the layer, compressed, and no tar.
        let made = Path.join(site.folder.file("state"), "store/layers")
        #expect(try FileSystem().list(made) == [images.new.diffIDs[1].hex])

        // The engine loses everything: the device runs again from its own store, with no stick and no network.
        try await site.wipe()
        for id in [images.old.id, images.new.id] {
            try? await site.engine.client.removeImage(id.description, force: true)
        }
        #expect(try await site.engine.client.findImage(images.new.id.description) == nil)
        try await site.eventually("2.0.0 is back") { try await site.page() == "2.0.0" }
        #expect(try await isSame(site, images.new))
        let rollback = try await site.agent(["rollback"])
        #expect(rollback.status == 0, "\(rollback.errorOutput)")
        try await site.eventually("1.0.0 is back") { try await site.page() == "1.0.0" }
        try await end(site, agent)
    }

    @Test func killedAtEveryChapterItGoesOnToTheSameImage() async throws {
        var (site, agent, images) = try await serving()
        try await site.export("2.0.0", ["--from", "plant/1.0.0"], to: "delta")
        let work = Path.join(site.folder.file("state"), "store/work/\(images.new.diffIDs[1].hex)")
        let size = Int64(images.new.layers[1].count)
        func made() -> Int64 {
            let names = (try? FileSystem().list(work)) ?? []
            let partial = names.first { $0.hasSuffix(".partial") }
            return partial.flatMap { try? FileSystem().status(Path.join(work, $0))?.size } ?? 0
        }
        // The layer does not compress, so that the file's size tells the chapter; several kills within each.
        var kills = 0
        for mark in stride(from: Int64(1), to: size, by: 3 << 20) {
            async let cut = site.agent(["import", site.stick("delta")])
            let deadline = ContinuousClock.now + .seconds(60)
            while made() < mark, ContinuousClock.now < deadline, agent.poll() == nil {
                if try await isSame(site, images.new) { break }
                try await Task.sleep(for: .milliseconds(2))
            }
            agent.send(SIGKILL)
            _ = try await agent.wait()
            _ = try await cut
            kills += 1
            #expect(try await site.page() == "1.0.0", "what runs is not touched")
            agent = try await site.start(Self.offline)
        }
        #expect(kills >= 7)
        try await take(site, "delta", serves: "2.0.0")
        let layers = try await lastImport(site)
        #expect((layers.first?["resumedChapters"]?.integer ?? 0) > 0, "\(layers)")
        #expect(try await isSame(site, images.new))
        try await end(site, agent)
    }

    @Test func aDamagedBaseGivesWayToTheNextRoad() async throws {
        let (site, agent, images) = try await serving()
        try await site.export("2.0.0", ["--from", "plant/1.0.0"], to: "delta")
        try await site.export("2.0.0", to: "whole")
        let victim = Path.join(try await upper(site, images.old), "data/blob3")
        func spoil() {
            var times = stat()
            stat(victim, &times)
            let file = open(victim, O_WRONLY)
            #expect(pwrite(file, "damage", 6, 70_000) == 6)
            var stamps = [times.st_atim, times.st_mtim]
            futimens(file, &stamps)
            close(file)
        }
        // The engine's extracted layer is wrong, and its export with it: the store has the base.
        spoil()
        try await take(site, "delta", serves: "2.0.0")
        var layers = try await lastImport(site)
        #expect(layers.first?["base"]?.string == "store", "\(layers)")
        let failure = try #require(layers.first?["failures"]?.array?.first?.string)
        #expect(failure.contains("blob"), "the reason names the file, or the first of its span")

        // Back to 1.0.0; what was made is no longer there, and the store's copy of the base is damaged too.
        _ = try await site.agent(["rollback"])
        try await site.eventually("1.0.0 is back and all is well") {
            guard try await site.page() == "1.0.0" else { return false }
            return try await site.agent(["status"]).status == 0
        }
        let store = Path.join(site.folder.file("state"), "store")
        try FileSystem().unlink(Path.join(store, "layers/\(images.new.diffIDs[1].hex)"), op: "test")
        for image in try await site.engine.client.listImages() where image.id == images.new.id.description {
            try await site.engine.client.removeImage(image.id, force: true)
        }
        let path = Path.join(store, "blobs/sha256/\(try await blob(of: images.old.diffIDs[1], site))")
        let file = open(path, O_WRONLY)
        #expect(pwrite(file, "damage", 6, 400_000) == 6)
        close(file)
        let refused = try await site.agent(["import", site.stick("delta"), "--wait"])
        #expect(refused.status != 0)
        let why = try await site.agent(["why"])
        #expect(why.output.contains("agent.missing-content"), "\(why.output)")
        #expect(why.output.contains("--for"), "\(why.output)")
        #expect(try await site.page() == "1.0.0")

        // A stick with everything mends it; the delta on it is tried first, for it is cheaper.
        try await take(site, "whole", serves: "2.0.0")
        layers = try await lastImport(site)
        #expect(layers.first?["delta"]?.string == nil, "\(layers)")
        #expect(try await isSame(site, images.new))
        let cleared = try await site.agent(["why"])
        #expect(!cleared.output.contains("agent.missing-content"), "\(cleared.output)")
        try await end(site, agent)
    }

    @Test func withoutExtractedLayersAndStoreTheEnginesExportServes() async throws {
        let (site, agent, images) = try await serving()
        try await site.export("2.0.0", ["--from", "plant/1.0.0"], to: "delta")
        // A file of the extracted layer that is gone is found by its name; the engine's record of the layer's headers is
        // whole, so that only a layer whose files are whole can be exported. The file's time is what is wrong here.
        let touched = Path.join(try await upper(site, images.old), "data/blob3")
        #expect(try Tool.run(["touch", "-d", "@1500000000", touched]).status == 0)
        let store = Path.join(site.folder.file("state"), "store/blobs/sha256")
        // The bottom layer stays: no byte of it is needed.
        try FileSystem().unlink(Path.join(store, try await blob(of: images.old.diffIDs[1], site)), op: "test")
        try await take(site, "delta", serves: "2.0.0")
        let layers = try await lastImport(site)
        #expect(layers.first?["base"]?.string == "engine-export", "\(layers)")
        #expect(try await isSame(site, images.new))
        try await end(site, agent)
    }
}
