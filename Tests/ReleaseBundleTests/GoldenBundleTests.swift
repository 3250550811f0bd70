import Base
import Glibc
import Model
import OCI
import ReleaseBundle
import TestSupport
import Testing
import Trust

/// Bundles written by earlier versions of this software, one of each format version and form. They are
/// never written again: what a stick in a drawer holds must stay readable.
@Suite struct GoldenBundleTests {
    static let folder = Path.join(TestSupport.Repository.root, "Tests/ReleaseBundleTests/Golden")

    @Test(arguments: ["v1", "v1.tar"])
    func bundlesOfEveryVersionAreReadAndVerified(name: String) async throws {
        let reader = try BundleReader(opening: Path.join(Self.folder, name))
        #expect(reader.version == 1)
        #expect(reader.offers.map { "\($0.app) \($0.version) \($0.ctr)" } == ["shop 1.0.0 1"])
        let report = try reader.verify()
        #expect(report.isIntact && report.missing.isEmpty)
        let root = try FileSystem().read(Path.join(Self.folder, "v1/metadata/release/1.root.json"), limit: 1 << 20)
        let release = try await verifiedRelease(reader, root: root)
        #expect(release.services.keys.sorted() == ["web", "worker"])
        let scratch = try TemporaryDirectory()
        let store = BlobStore(root: scratch.file("store"))
        try store.prepare()
        try reader.copy(release.requiredBlobs, into: store)
        for image in release.images.values {
            let archive = try DockerLoadArchive(image, blobs: store, tags: ["holdfast/shop:1"])
            let stream = try archive.stream()
            var count: Int64 = 0
            while let chunk = try await stream.next() { count += Int64(chunk.count) }
            #expect(try count == archive.length)
        }
    }

    /// Run once, by hand, when a new format version is born.
    @Test(.enabled(if: getenv("HOLDFAST_WRITE_GOLDEN") != nil, "writes only when HOLDFAST_WRITE_GOLDEN names a folder"))
    func writeGoldenBundles() throws {
        let target = try #require(getenv("HOLDFAST_WRITE_GOLDEN").map { String(cString: $0) })
        let fixture = try BundleFixture()
        let plan = BundlePlan([try fixture.release()])
        try fixture.writer.write(plan, directory: Path.join(target, "v\(BundleFormat.version)"))
        try fixture.writer.write(plan, tar: Path.join(target, "v\(BundleFormat.version).tar"))
    }
}
