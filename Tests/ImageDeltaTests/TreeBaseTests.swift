import Base
import Glibc
import ImageDelta
import ImageDeltaCreate
import TestSupport
import Testing

@Suite struct TreeBaseTests {
    /// Puts the members of a tar that need no privilege on disk, as an engine extracts a layer.
    private func extract(_ tar: [UInt8], to root: String) throws {
        let fileSystem = FileSystem()
        let archive = root + ".tar"
        try fileSystem.replace(archive, with: tar, op: "test")
        try fileSystem.makeDirectories(root, op: "test")
        let outcome = try Tool.run(["tar", "-C", root, "-xpf", archive])
        #expect(outcome.status == 0, "\(outcome.output)")
    }

    private func layer(seed: UInt64, changed: Bool, sorted: Bool = true) -> [UInt8] {
        var random = SplitMix64(seed: seed)
        var tar = TarBuilder()
        tar.directory("")
        tar.directory("a")
        for number in 10..<60 {
            let content = random.text(2_000 + number)
            tar.file("a/f\(sorted ? number : 69 - number)", changed ? random.edited(content, edits: 1) : content)
        }
        tar.symlink("a/link", to: "f10")
        tar.file("b", random.bytes(3_000), mode: 0o755)
        tar.hardLink("b2", to: "b")
        tar.directory("c", mode: 0o700)
        tar.whiteout("gone", in: "c")
        tar.file("c/empty", [])
        let long = "d/" + String(repeating: "long-name/", count: 11)
        tar.pax([("path", Array("./\(long)one".utf8))])
        tar.file("\(long)one", random.bytes(900))
        tar.pax([("path", Array("./\(long)two".utf8))])
        tar.file("\(long)two", random.bytes(900))
        tar.fifo("e")
        return tar.finish()
    }

    @Test(arguments: [true, false])
    func anExtractedLayerServesAsBase(sorted: Bool) async throws {
        let workshop = try Workshop()
        let old = layer(seed: 1, changed: false, sorted: sorted)
        let new = layer(seed: 1, changed: true, sorted: sorted)
        let made = try await workshop.create(bases: [old], new: new)
        let root = workshop.directory.file("tree")
        try extract(old, to: root)
        let delta = try DeltaApply(path: made.delta)
        let base = try BaseAssembly(delta: delta, scratch: workshop.directory.path)
            .open([.tree(path: root, skeleton: nil)])
        #expect(try Workshop.apply(delta, base: base) == new)
    }

    @Test func theRootsOwnModeAndTimeDoNotMatter() async throws {
        let workshop = try Workshop()
        let old = layer(seed: 11, changed: false)
        let made = try await workshop.create(bases: [old], new: layer(seed: 11, changed: true))
        let root = workshop.directory.file("tree")
        try extract(old, to: root)
        // As an engine leaves the folder of a layer.
        #expect(chmod(root, 0o711) == 0)
        #expect(try Tool.run(["touch", "-d", "@1795552818", root]).status == 0)
        let delta = try DeltaApply(path: made.delta)
        let base = try BaseAssembly(delta: delta, scratch: workshop.directory.path)
            .open([.tree(path: root, skeleton: nil)])
        #expect(try Workshop.apply(delta, base: base) == layer(seed: 11, changed: true))
    }

    @Test func treesAndTarsMixInOneBase() async throws {
        let workshop = try Workshop()
        let layers = [layer(seed: 2, changed: false), layer(seed: 3, changed: false), layer(seed: 4, changed: false)]
        let new = layer(seed: 3, changed: true)
        let made = try await workshop.create(bases: layers, new: new)
        let root = workshop.directory.file("tree")
        try extract(layers[1], to: root)
        let delta = try DeltaApply(path: made.delta)
        let base = try BaseAssembly(delta: delta, scratch: workshop.directory.path)
            .open([.tar(path: made.bases[0]), .tree(path: root, skeleton: nil), .tar(path: made.bases[2])])
        #expect(try Workshop.apply(delta, base: base) == new)
    }

    @Test func sortedNamesNeedAlmostNoHeaderBytes() async throws {
        let workshop = try Workshop()
        let layer = layer(seed: 5, changed: false)
        let made = try await workshop.create(bases: [layer], new: layer)
        let delta = try DeltaApply(path: made.delta)
        #expect(delta.header.bases[0].recipe.byteCount < 900)
    }

    @Test func aChangedTreeIsRefusedByName() async throws {
        let workshop = try Workshop()
        let old = layer(seed: 6, changed: false)
        let made = try await workshop.create(bases: [old], new: layer(seed: 6, changed: true))
        let delta = try DeltaApply(path: made.delta)

        let renamed = workshop.directory.file("renamed")
        try extract(old, to: renamed)
        try FileSystem().rename(Path.join(renamed, "a/f20"), to: Path.join(renamed, "a/f2x"), op: "test")
        #expect(throws: DeltaError.self) {
            _ = try BaseAssembly(delta: delta, scratch: workshop.directory.path)
                .open([.tree(path: renamed, skeleton: nil)])
        }

        let altered = workshop.directory.file("altered")
        try extract(old, to: altered)
        let victim = Path.join(altered, "a/f20")
        var times = [timespec(), timespec()]
        var bytes = try FileSystem().read(victim, limit: 1 << 20)
        bytes[100] ^= 1
        let descriptor = open(victim, O_WRONLY)
        #expect(pwrite(descriptor, bytes, bytes.count, 0) == bytes.count)
        close(descriptor)
        times[0].tv_sec = 1_700_000_000
        times[1].tv_sec = 1_700_000_000
        #expect(utimensat(AT_FDCWD, victim, times, 0) == 0)
        let base = try BaseAssembly(delta: delta, scratch: workshop.directory.path)
            .open([.tree(path: altered, skeleton: nil)])
        do {
            try BaseCheck(header: delta.header).verify(base)
            Issue.record("a changed file was accepted")
        } catch {
            #expect(error.reason == .wrongBase)
            #expect(error.message.contains("altered/"))
        }
    }

    @Test func noSymlinkLeadsOutOfTheTree() async throws {
        let workshop = try Workshop()
        let secret = try workshop.put("secret", Array("outside".utf8))
        var tar = TarBuilder()
        tar.directory("")
        tar.directory("etc")
        tar.file("etc/shadow", Array("outside".utf8))
        let old = tar.finish()
        let made = try await workshop.create(bases: [old], new: old)
        let root = workshop.directory.file("tree")
        for target in [secret, "../../secret"] {
            try FileSystem().removeTree(root, op: "test")
            try FileSystem().makeDirectories(Path.join(root, "etc"), op: "test")
            #expect(symlink(target, Path.join(root, "etc/shadow")) == 0)
            // The right headers, given from outside, so that only the file itself can be wrong.
            var skeleton = Array(old[0..<1536])
            skeleton += old[(1536 + 7)...]
            let headers = try workshop.put("headers", skeleton)
            let delta = try DeltaApply(path: made.delta)
            let base = try BaseAssembly(delta: delta, scratch: workshop.directory.path)
                .open([.tree(path: root, skeleton: headers)])
            #expect(throws: DeltaError.self) { _ = try Workshop.apply(delta, base: base) }
            // And a folder that is a symlink to outside.
            try FileSystem().removeTree(Path.join(root, "etc"), op: "test")
            #expect(symlink(Path.parent(secret), Path.join(root, "etc")) == 0)
            #expect(throws: DeltaError.self) { _ = try Workshop.apply(delta, base: base) }
        }
    }
}
