import Archive
import Base
import Glibc
import Model
import OCI
import ReleaseBundle
import TestSupport
import Testing
import Trust

@Suite struct BundleTests {
    let fixture: BundleFixture

    init() throws { fixture = try BundleFixture() }

    /// Writes a plan in a form and opens it.
    func bundle(_ plan: BundlePlan, _ form: BundleReader.Form) throws -> BundleReader {
        let path = fixture.directory.file("bundle-\(form.rawValue)")
        switch form {
        case .directory: try fixture.writer.write(plan, directory: path)
        case .tar: try fixture.writer.write(plan, tar: path)
        }
        return try BundleReader(opening: path)
    }

    func root() throws -> [UInt8] {
        try fixture.read(Path.join(fixture.repository.metadataDirectory, "1.root.json"))
    }

    @Test(arguments: [BundleReader.Form.directory, .tar])
    func whatIsWrittenIsOfferedVerifiedAndCopied(form: BundleReader.Form) async throws {
        let entry = try fixture.release()
        let reader = try bundle(BundlePlan([entry]), form)
        #expect(reader.form == form)
        #expect(reader.offers.map(\.version) == [entry.release.version])
        #expect(try reader.verify().isIntact)
        #expect(try await verifiedRelease(reader, root: try root()) == entry.release)
        let device = BlobStore(root: fixture.directory.file("device"))
        try device.prepare()
        var last: (Int64, Int64) = (0, -1)
        try reader.copy(entry.release.requiredBlobs, into: device) { last = ($0, $1) }
        #expect(last.0 == last.1)
        #expect(try device.missing(entry.release.requiredBlobs).isEmpty)
        for blob in try device.list() { try device.verify(blob.digest) }
    }

    @Test(arguments: [true, false])
    func aChangedReleaseDocumentIsRefusedAsTrustDoes(sameLength: Bool) async throws {
        let entry = try fixture.release()
        let reader = try bundle(BundlePlan([entry]), .directory)
        var document = entry.document
        if sameLength { document[document.count / 2] ^= 1 } else { document.removeLast() }
        let path = fixture.directory.file("bundle-directory/blobs/sha256/\(Digest.sha256(entry.document).hex)")
        try FileSystem().replace(path, with: document, op: "test")
        let error = await #expect(throws: TrustError.self) { try await verifiedRelease(reader, root: try root()) }
        #expect(error?.code == (sameLength ? "trust.hash-mismatch" : "trust.length-mismatch"))
        #expect(error?.exitStatus == .notTrusted)
    }

    @Test func theSamePlanMakesTheSameTar() throws {
        let plan = BundlePlan([try fixture.release()])
        let first = fixture.directory.file("a.tar")
        let second = fixture.directory.file("b.tar")
        try fixture.writer.write(plan, tar: first)
        try fixture.writer.write(plan, tar: second)
        #expect(try fixture.read(first) == fixture.read(second))
    }

    @Test(arguments: [BundleReader.Form.directory, .tar])
    func blobsTheReceiverHasStayOutAndAreNamed(form: BundleReader.Form) throws {
        let old = try fixture.release("1.0.0", ctr: 1, seeds: (1, 2))
        let new = try fixture.release("1.1.0", ctr: 2, seeds: (1, 3))
        let have = Set(old.release.requiredBlobs.map(\.digest))
        let reader = try bundle(BundlePlan([new], omitting: have), form)
        let expected = new.release.requiredBlobs.filter { have.contains($0.digest) }
        #expect(Set(try reader.missing(new.release.requiredBlobs)) == Set(expected))
        #expect(!expected.isEmpty)
        let summary = try reader.inspect()
        #expect(Set(summary.releases[0].missing) == Set(expected))
        #expect(try reader.verify().isIntact)
        // A device without them is told so before anything is written; one with them takes the rest.
        let empty = BlobStore(root: fixture.directory.file("empty"))
        try empty.prepare()
        let error = #expect(throws: OCIError.self) { try reader.copy(new.release.requiredBlobs, into: empty) }
        #expect(error?.reason == .blobMissing)
        #expect(try empty.list().isEmpty)
        let device = BlobStore(root: fixture.directory.file("device"))
        try device.prepare()
        try bundle(BundlePlan([old]), .tar).copy(old.release.requiredBlobs, into: device)
        let next = fixture.directory.file("next.tar")
        try fixture.writer.write(BundlePlan([new], omitting: have), tar: next)
        try BundleReader(opening: next).copy(new.release.requiredBlobs, into: device)
        #expect(try device.missing(new.release.requiredBlobs).isEmpty)
    }

    @Test func aFolderIsReplacedByTheNextBundleAndKeepsNothingOfTheLast() throws {
        let old = try fixture.release("1.0.0", ctr: 1, seeds: (1, 2))
        let new = try fixture.release("1.1.0", ctr: 2, seeds: (1, 3))
        let path = fixture.directory.file("stick")
        try FileSystem().makeDirectories(path + "/System Volume Information", op: "test")
        try fixture.writer.write(BundlePlan([old]), directory: path)
        // One of the blobs that both have was damaged on the stick.
        let shared = new.release.images.values.flatMap(\.layers).map(\.blob)
            .filter { blob in old.release.requiredBlobs.contains(blob) }
        let damaged = Path.join(path, LayoutBlobs.path(try #require(shared.first).digest))
        try FileSystem().replace(damaged, with: [UInt8](repeating: 0, count: Int(shared[0].size)), op: "test")
        try fixture.writer.write(BundlePlan([new]), directory: path)
        let reader = try BundleReader(opening: path)
        #expect(try reader.verify().isIntact)
        #expect(reader.offers.map(\.version.description) == ["1.1.0"])
        #expect(try reader.inspect().blobCount == new.release.requiredBlobs.count + 1)
        #expect(try FileSystem().list(path) == ["System Volume Information", "blobs", "index.json", "metadata", "oci-layout"])
    }

    @Test func aFolderWithOtherThingsOfTheSameNamesIsLeftAlone() throws {
        let path = fixture.directory.file("other")
        try FileSystem().makeDirectories(path, op: "test")
        try FileSystem().replace(path + "/index.json", with: [1], op: "test")
        let error = #expect(throws: BundleError.self) {
            try fixture.writer.write(BundlePlan([try fixture.release()]), directory: path)
        }
        #expect(error?.reason == .destination)
        #expect(try FileSystem().list(path) == ["index.json"])
    }

    @Test func verifyFindsTheOneDamagedBlob() throws {
        let entry = try fixture.release()
        let reader = try bundle(BundlePlan([entry]), .directory)
        let victim = entry.release.files["greeting"]?.blob.digest ?? .sha256([])
        let path = Path.join(reader.path, LayoutBlobs.path(victim))
        var bytes = try fixture.read(path)
        bytes[0] ^= 1
        try FileSystem().replace(path, with: bytes, op: "test")
        let result = try reader.verify()
        #expect(result.problems.map(\.code) == ["oci.blob-digest"])
        #expect(result.problems.first?.message.contains(victim.hex) == true)
    }

    @Test func theSummaryNamesServicesImagesAndMetadata() throws {
        let entry = try fixture.release()
        let summary = try bundle(BundlePlan([entry]), .tar).inspect()
        #expect(summary.images.map(\.name) == ["web", "worker"])
        #expect(summary.releases.first?.services.keys.sorted() == ["web", "worker"])
        #expect(summary.metadata.map(\.name).contains("timestamp.json"))
        #expect(summary.metadata.map(\.name).contains("1.root.json"))
        #expect(summary.json["releases"]?.array?.first?["app"] == "shop")
    }

    // MARK: Other tools

    @Test(
        .enabled(if: Tool.isInstalled("skopeo"), "skopeo is not installed"), arguments: ["web", "worker"])
    func skopeoReadsTheImagesOfBothForms(service: String) throws {
        let entry = try fixture.release()
        let directory = try bundle(BundlePlan([entry]), .directory).path
        let archive = try bundle(BundlePlan([entry]), .tar).path
        for source in ["oci:\(directory):\(service)", "oci-archive:\(archive):\(service)"] {
            let inspected = try Tool.run(["skopeo", "inspect", "--raw", source])
            #expect(inspected.status == 0, "\(inspected.output)")
            let config = try Tool.run(["skopeo", "inspect", "--config", source])
            #expect(config.status == 0 && config.output.contains("diff_ids"), "\(config.output)")
            let copy = fixture.directory.file("copy-\(Path.name(source).hashValue.magnitude)")
            let copied = try Tool.run(["skopeo", "copy", "--insecure-policy", source, "oci:\(copy):b"])
            #expect(copied.status == 0, "\(copied.output)")
        }
    }

    @Test(.enabled(if: Tool.isInstalled("skopeo"), "skopeo is not installed"))
    func skopeoTellsTheImagesOfSeveralReleasesApart() throws {
        let plan = BundlePlan([
            try fixture.release("1.0.0", ctr: 1, seeds: (1, 2)), try fixture.release("1.1.0", ctr: 2, seeds: (1, 3)),
        ])
        let reader = try bundle(plan, .directory)
        for offer in reader.offers {
            let result = try Tool.run(["skopeo", "inspect", "--config", "oci:\(reader.path):shop/\(offer.version)/worker"])
            #expect(result.status == 0, "\(result.output)")
        }
    }

    @Test(.enabled(if: Tool.isInstalled("podman"), "podman is not installed"))
    func podmanLoadsAnImageFromTheBundle() throws {
        // Podman makes a repository name of the path, and takes lower case only.
        let folder = "/tmp/holdfast-podman-\(getpid())"
        defer { try? FileSystem().removeTree(folder, op: "test") }
        try fixture.writer.write(BundlePlan([try fixture.release()]), directory: folder)
        let storage = fixture.directory.file("podman")
        let result = try Tool.run([
            "podman", "--root", storage + "/root", "--runroot", storage + "/run", "--storage-driver", "vfs", "pull",
            "oci:\(folder):web",
        ])
        #expect(result.status == 0, "\(result.output)")
    }
}
