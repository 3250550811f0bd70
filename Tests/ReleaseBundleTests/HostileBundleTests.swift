import Archive
import Base
import Glibc
import Model
import OCI
import ReleaseBundle
import TestSupport
import Testing
import Trust

/// Bundles that an accident or an enemy made, as tar files and as folders. Each is refused with its own
/// code, and outside the store's staging nothing is written.
@Suite struct HostileBundleTests {
    typealias Members = [(String, [UInt8])]

    struct TarCase: CustomTestStringConvertible, Sendable {
        var name: String
        var code: String
        var make: @Sendable (_ good: Members, _ release: Release) throws -> [UInt8]
        var testDescription: String { name }
    }

    struct FolderCase: CustomTestStringConvertible, Sendable {
        var name: String
        var code: String
        var spoil: @Sendable (_ folder: String, _ release: Release) throws -> Void
        var testDescription: String { name }
    }

    // MARK: Making

    static func layerPath(_ release: Release) -> String {
        LayoutBlobs.path(release.images.values.flatMap(\.layers).map(\.blob.digest).sorted()[0])
    }

    /// The good bundle with one member's content changed.
    static func edited(_ good: Members, _ path: String, _ edit: (inout [UInt8]) throws -> Void) throws -> [UInt8] {
        try tar(
            good.map { name, content in
                var content = content
                if name == path { try edit(&content) }
                return (name, content)
            })
    }

    /// The good bundle with bytes put before its end-of-archive marker.
    static func appended(_ good: Members, _ bytes: [UInt8]) throws -> [UInt8] {
        Array(try tar(good).dropLast(TarEncoder.trailer.count)) + bytes + TarEncoder.trailer
    }

    /// The good bundle with `index.json` replaced.
    static func indexed(_ good: Members, _ text: String) throws -> [UInt8] {
        try edited(good, "index.json") { $0 = Array(text.utf8) }
    }

    static func replacing(_ good: Members, _ path: String, _ old: String, _ new: String) throws -> [UInt8] {
        try edited(good, path) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            guard let range = text.firstRange(of: old) else { throw OCIError(.document, path, "no \(old)") }
            bytes = Array((text[..<range.lowerBound] + new + text[range.upperBound...]).utf8)
        }
    }

    static func sealed(_ header: TarHeader, _ edit: (inout [UInt8]) -> Void) throws -> [UInt8] {
        var bytes = try TarEncoder.header(header)
        edit(&bytes)
        bytes.replaceSubrange(148..<156, with: Array(repeating: 0x20, count: 8))
        let sum = String(bytes.reduce(0) { $0 + Int($1) }, radix: 8)
        bytes.replaceSubrange(
            148..<156, with: Array((String(repeating: "0", count: 6 - sum.count) + sum).utf8) + [0, 0x20])
        return bytes
    }

    static func special(_ kind: TarHeader.Kind, _ path: String, to target: String = "") throws -> [UInt8] {
        try member(TarHeader(kind: kind, path: path, linkPath: target))
    }

    /// A name that sorts behind every other.
    static let lastBlob = "blobs/sha256/" + String(repeating: "f", count: 64)

    static let tarCases: [TarCase] = [
        TarCase(name: "empty file", code: "archive.truncated") { _, _ in [] },
        TarCase(name: "cut in the middle", code: "archive.truncated") { good, _ in
            let bytes = try tar(good)
            return Array(bytes.prefix(bytes.count / 2))
        },
        TarCase(name: "cut before the end marker", code: "archive.truncated") { good, _ in
            Array(try tar(good).dropLast(1024))
        },
        TarCase(name: "bytes after the end marker", code: "archive.trailing-data") { good, _ in
            try tar(good) + [UInt8](repeating: 1, count: 512)
        },
        TarCase(name: "a layer cut short", code: "oci.blob-truncated") { good, release in
            try edited(good, layerPath(release)) { $0.removeLast(10) }
        },
        TarCase(name: "a layer with bytes added", code: "oci.blob-oversized") { good, release in
            try edited(good, layerPath(release)) { $0.append(0) }
        },
        TarCase(name: "a layer with one bit changed", code: "oci.blob-digest") { good, release in
            try edited(good, layerPath(release)) { $0[$0.count / 2] ^= 1 }
        },
        TarCase(name: "a layer left out", code: "oci.blob-missing") { good, release in
            try tar(good.filter { $0.0 != layerPath(release) })
        },
        TarCase(name: "the release document left out", code: "oci.blob-missing") { good, release in
            let path = LayoutBlobs.path(.sha256(try release.encoded()))
            return try tar(good.filter { $0.0 != path })
        },
        TarCase(name: "the release document with one byte changed", code: "oci.blob-digest") { good, release in
            try edited(good, LayoutBlobs.path(.sha256(try release.encoded()))) { $0[10] ^= 1 }
        },
        TarCase(name: "a path that climbs out", code: "oci.path-escape") { good, _ in
            try appended(good, try member(TarHeader(path: "blobs/sha256/../../../etc/passwd"), [1]))
        },
        TarCase(name: "an absolute path", code: "oci.path-escape") { good, _ in
            try appended(good, try member(TarHeader(path: "/etc/passwd"), [1]))
        },
        TarCase(name: "a path with an empty component", code: "oci.path-escape") { good, _ in
            try appended(good, try member(TarHeader(path: "blobs//x"), [1]))
        },
        TarCase(name: "a name that is not UTF-8", code: "oci.path-escape") { good, _ in
            var header = TarHeader(path: "x")
            header.path = [0xFF, 0xFE]
            return try appended(good, try member(header))
        },
        TarCase(name: "a symlink for a blob", code: "oci.not-regular") { good, _ in
            try appended(good, try special(.symlink, lastBlob, to: "/etc/shadow"))
        },
        TarCase(name: "a symlink for metadata", code: "oci.not-regular") { good, _ in
            try appended(good, try special(.symlink, "metadata/release/9.root.json", to: "/etc/shadow"))
        },
        TarCase(name: "a hard link", code: "oci.not-regular") { good, _ in
            try appended(good, try special(.hardLink, lastBlob, to: "/etc/shadow"))
        },
        TarCase(name: "a character device", code: "oci.not-regular") { good, _ in
            try appended(good, try special(.characterDevice, lastBlob))
        },
        TarCase(name: "a block device", code: "oci.not-regular") { good, _ in
            try appended(good, try special(.blockDevice, lastBlob))
        },
        TarCase(name: "a pipe", code: "oci.not-regular") { good, _ in try appended(good, try special(.fifo, lastBlob)) },
        TarCase(name: "a folder in the place of a file", code: "oci.duplicate-entry") { good, _ in
            try appended(good, try special(.directory, "index.json/"))
        },
        TarCase(name: "index.json twice", code: "oci.duplicate-entry") { good, _ in
            try appended(good, try member(TarHeader(path: "index.json"), Array("{}".utf8)))
        },
        TarCase(name: "a blob twice", code: "oci.duplicate-entry") { good, _ in
            let last = try #require(good.last)
            return try appended(good, try member(TarHeader(path: "./" + last.0), last.1))
        },
        TarCase(name: "one entry more than the limit", code: "archive.too-many-entries") { good, _ in
            let one = try special(.directory, "d/")
            return try appended(good, Array([[UInt8]](repeating: one, count: OCILimits.entries + 1).joined()))
        },
        TarCase(name: "members in reverse", code: "bundle.order") { good, _ in try tar(good.reversed()) },
        TarCase(name: "the index at the end", code: "bundle.order") { good, _ in
            try tar(good.filter { $0.0 != "index.json" } + good.filter { $0.0 == "index.json" })
        },
        TarCase(name: "two blobs swapped", code: "bundle.order") { good, _ in
            var members = good
            members.swapAt(members.count - 1, members.count - 2)
            return try tar(members)
        },
        TarCase(name: "a file that no bundle has", code: "bundle.unexpected-file") { good, _ in
            try appended(good, try member(TarHeader(path: "autorun.inf"), [1]))
        },
        TarCase(name: "metadata of an unknown repository", code: "bundle.unexpected-file") { good, _ in
            try appended(good, try member(TarHeader(path: "metadata/other/1.root.json"), [1]))
        },
        TarCase(name: "an extended header of two megabytes", code: "archive.extended-header-too-large") { good, _ in
            var header = TarHeader(path: "x")
            header.records = ["comment": [UInt8](repeating: 0x61, count: 2 << 20)]
            return try appended(good, try member(header))
        },
        TarCase(name: "a name of 5000 bytes", code: "archive.name-too-long") { good, _ in
            try appended(good, try member(TarHeader(path: String(repeating: "n", count: 5000))))
        },
        TarCase(name: "a negative size", code: "archive.negative-size") { good, _ in
            try appended(
                good, try sealed(TarHeader(path: lastBlob)) { $0.replaceSubrange(124..<136, with: [UInt8](repeating: 0xFF, count: 12)) })
        },
        TarCase(name: "a size of eight exbibytes", code: "archive.entry-too-large") { good, _ in
            try appended(
                good,
                try sealed(TarHeader(path: lastBlob)) {
                    $0.replaceSubrange(124..<136, with: [0x80, 0, 0, 0, 0x7F] + [UInt8](repeating: 0xFF, count: 7))
                })
        },
        TarCase(name: "a size beyond the file", code: "archive.truncated") { good, _ in
            try appended(good, try TarEncoder.header(TarHeader(path: lastBlob, size: 1 << 30)))
        },
        TarCase(name: "a wrong header checksum", code: "archive.checksum") { good, _ in
            var bytes = try tar(good)
            bytes[0] ^= 1
            return bytes
        },
        TarCase(name: "a sparse member", code: "archive.sparse") { good, _ in
            try appended(good, try sealed(TarHeader(path: lastBlob)) { $0[156] = UInt8(ascii: "S") })
        },
        TarCase(name: "no oci-layout", code: "oci.layout") { good, _ in try tar(good.filter { $0.0 != "oci-layout" }) },
        TarCase(name: "another layout version", code: "oci.layout") { good, _ in
            try replacing(good, "oci-layout", "1.0.0", "2.0.0")
        },
        TarCase(name: "no index.json", code: "oci.layout") { good, _ in try tar(good.filter { $0.0 != "index.json" }) },
        TarCase(name: "an index that is no JSON", code: "oci.document") { good, _ in try indexed(good, "{") },
        TarCase(name: "an index nested a thousand deep", code: "oci.document") { good, _ in
            try indexed(good, String(repeating: "[", count: 1000) + String(repeating: "]", count: 1000))
        },
        TarCase(name: "an index with a key twice", code: "oci.document") { good, _ in
            try replacing(good, "index.json", "\"schemaVersion\": 2", "\"schemaVersion\": 2,\n\"schemaVersion\": 2")
        },
        TarCase(name: "an index of schema 1", code: "oci.document") { good, _ in
            try replacing(good, "index.json", "\"schemaVersion\": 2", "\"schemaVersion\": 1")
        },
        TarCase(name: "an index that says it is a manifest", code: "oci.media-type") { good, _ in
            try replacing(good, "index.json", MediaType.index, MediaType.manifest)
        },
        TarCase(name: "a million manifests in the index", code: "oci.limit") { good, _ in
            try indexed(
                good, "{\"schemaVersion\":2,\"manifests\":[" + String(repeating: "0,", count: 1_000_000) + "0]}")
        },
        TarCase(name: "a negative blob size in the index", code: "oci.document") { good, _ in
            try replacing(good, "index.json", "\"size\": ", "\"size\": -")
        },
        TarCase(name: "a later format version", code: "bundle.version") { good, _ in
            try replacing(good, "index.json", "\"holdfast.bundle.version\": \"1\"", "\"holdfast.bundle.version\": \"2\"")
        },
        TarCase(name: "an image layout that is no bundle", code: "bundle.not-a-bundle") { good, _ in
            try indexed(good, "{\"schemaVersion\":2,\"manifests\":[]}")
        },
        TarCase(name: "a release entry without a version", code: "bundle.release") { good, _ in
            try replacing(good, "index.json", "holdfast.release.version", "holdfast.release.other")
        },
        TarCase(name: "a release listed under another name", code: "bundle.release") { good, _ in
            try replacing(good, "index.json", "\"holdfast.release.app\": \"shop\"", "\"holdfast.release.app\": \"ship\"")
        },
    ]

    static let folderCases: [FolderCase] = [
        FolderCase(name: "a blob that is a symlink", code: "oci.not-regular") { folder, release in
            let path = Path.join(folder, layerPath(release))
            _ = rename(path, folder + "/elsewhere")
            _ = symlink(folder + "/elsewhere", path)
        },
        FolderCase(name: "a blob folder that is a symlink", code: "oci.not-regular") { folder, _ in
            _ = rename(folder + "/blobs/sha256", folder + "/elsewhere")
            _ = symlink(folder + "/elsewhere", folder + "/blobs/sha256")
        },
        FolderCase(name: "metadata that is a symlink", code: "oci.not-regular") { folder, _ in
            _ = rename(folder + "/metadata/release", folder + "/elsewhere")
            _ = symlink("/etc", folder + "/metadata/release")
        },
        FolderCase(name: "an index that is a symlink", code: "oci.not-regular") { folder, _ in
            _ = rename(folder + "/index.json", folder + "/elsewhere")
            _ = symlink(folder + "/elsewhere", folder + "/index.json")
        },
        FolderCase(name: "a blob that is a pipe", code: "oci.not-regular") { folder, release in
            let path = Path.join(folder, layerPath(release))
            _ = unlink(path)
            _ = mkfifo(path, 0o644)
        },
        FolderCase(name: "a blob that is a folder", code: "oci.not-regular") { folder, release in
            let path = Path.join(folder, layerPath(release))
            _ = unlink(path)
            _ = mkdir(path, 0o755)
        },
        FolderCase(name: "an index of five megabytes", code: "oci.limit") { folder, _ in
            _ = truncate(folder + "/index.json", 5 << 20)
        },
        FolderCase(name: "a layer cut short", code: "oci.blob-truncated") { folder, release in
            _ = truncate(Path.join(folder, layerPath(release)), 10)
        },
        FolderCase(name: "a layer with a tail of zeros", code: "oci.blob-oversized") { folder, release in
            _ = truncate(Path.join(folder, layerPath(release)), 1 << 20)
        },
        FolderCase(name: "a layer removed", code: "oci.blob-missing") { folder, release in
            _ = unlink(Path.join(folder, layerPath(release)))
        },
        FolderCase(name: "no index, as after an interrupted export", code: "oci.layout") { folder, _ in
            _ = unlink(folder + "/index.json")
        },
        FolderCase(name: "an empty folder", code: "bundle.not-a-bundle") { folder, _ in
            try FileSystem().removeTree(folder, op: "test")
            try FileSystem().makeDirectories(folder, op: "test")
        },
    ]

    // MARK: Taking in

    /// What a device does with a bundle, up to the store. Throws what stops it.
    func take(_ path: String, release: Release, into store: BlobStore) async throws {
        let reader = try BundleReader(opening: path)
        if let fault = try reader.verify().problems.first { throw Refused(code: fault.code) }
        _ = try reader.inspect()
        if let fetcher = try reader.metadataFetcher(.release) {
            _ = try await fetcher.fetchMetadata("timestamp.json", maxLength: 1 << 20)
        }
        try reader.copy(release.requiredBlobs, into: store)
    }

    /// The same without the courtesy of a verification first: the copy alone must refuse.
    func takeUnseen(_ path: String, release: Release, into store: BlobStore) async throws {
        let reader = try BundleReader(opening: path)
        guard let offer = reader.offers.first else { return }
        let document = try reader.document(offer.document, limit: ReleaseLimits.documentSize)
        let found = try Release(decoding: document)
        guard found.app == offer.app else { throw BundleError(.release, path) }
        if let fetcher = try reader.metadataFetcher(.release) {
            _ = try await fetcher.fetchMetadata("timestamp.json", maxLength: 1 << 20)
        }
        try reader.copy(release.requiredBlobs, into: store)
    }

    struct Refused: CodedError {
        var code: String
        var message: String { code }
        var exitStatus: Base.ExitStatus { .dataError }
    }

    func expectRefusal(_ path: String, code: String, release: Release, scratch: TemporaryDirectory) async throws {
        let before = try Self.listing(scratch.path)
        for (name, take) in [("seen", take), ("unseen", takeUnseen)] {
            let store = BlobStore(root: scratch.file("device-\(name)"))
            try store.prepare()
            do {
                try await take(path, release, store)
                Issue.record("the bundle was taken")
            } catch let error as any CodedError {
                #expect(error.code == code, "\(name): \(error)")
            }
            // Whatever was copied before the fault is whole; the rest is in staging.
            for blob in try store.list() { try store.verify(blob.digest) }
            try FileSystem().removeTree(store.root, op: "test")
        }
        #expect(try Self.listing(scratch.path) == before)
    }

    static func listing(_ root: String) throws -> [String] {
        var found: [String] = []
        var pending = [root]
        while let next = pending.popLast() {
            for name in try FileSystem().list(next) {
                let path = Path.join(next, name)
                found.append(path)
                if try FileSystem().status(path)?.kind == .directory { pending.append(path) }
            }
        }
        return found.sorted()
    }

    @Test(arguments: tarCases)
    func aTarIsRefused(_ item: TarCase) async throws {
        let fixture = try BundleFixture()
        let entry = try fixture.release()
        let path = fixture.directory.file("bundle.tar")
        try fixture.writer.write(BundlePlan([entry]), tar: path)
        let bytes = try item.make(try members(of: path), entry.release)
        try FileSystem().replace(path, with: bytes, op: "test")
        try await expectRefusal(path, code: item.code, release: entry.release, scratch: fixture.directory)
    }

    /// The whole file of half a gigabyte: what lies behind the limit is not read, let alone kept.
    @Test func aTarOfAMillionEntriesIsRefused() async throws {
        let fixture = try BundleFixture()
        let entry = try fixture.release()
        let path = fixture.directory.file("bundle.tar")
        try fixture.writer.write(BundlePlan([entry]), tar: path)
        let good = try fixture.read(path)
        let entries = 1_000_000
        let perPiece = 2000
        let piece = Array([[UInt8]](repeating: try Self.special(.directory, "d/"), count: perPiece).joined())
        let file = open(path, O_WRONLY | O_TRUNC)
        func add(_ bytes: [UInt8]) { #expect(write(file, bytes, bytes.count) == bytes.count) }
        add(good.dropLast(TarEncoder.trailer.count))
        for _ in 0..<entries / perPiece { add(piece) }
        add(TarEncoder.trailer)
        close(file)
        #expect(try FileSystem().status(path)?.size ?? 0 > Int64(entries * 512))
        try await expectRefusal(
            path, code: "archive.too-many-entries", release: entry.release, scratch: fixture.directory)
    }

    @Test(arguments: folderCases)
    func aFolderIsRefused(_ item: FolderCase) async throws {
        let fixture = try BundleFixture()
        let entry = try fixture.release()
        let path = fixture.directory.file("bundle")
        try fixture.writer.write(BundlePlan([entry]), directory: path)
        try item.spoil(path, entry.release)
        try await expectRefusal(path, code: item.code, release: entry.release, scratch: fixture.directory)
    }

    /// Seeded: every mutation of a good tar is either refused with a code, or what it yields is what was signed.
    @Test func mutatedBundlesAreRefusedOrHarmless() async throws {
        let fixture = try BundleFixture()
        let entry = try fixture.release()
        let path = fixture.directory.file("bundle.tar")
        try fixture.writer.write(BundlePlan([entry]), tar: path)
        let original = try fixture.read(path)
        var generator = SplitMix64(seed: 0xB0_0D1E)
        var refused = 0
        for round in 0..<150 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[position] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.removeSubrange(position..<min(bytes.count, position + 512))
                default:
                    let start = position / 512 * 512
                    bytes.insert(contentsOf: bytes[start..<min(bytes.count, start + 512)], at: start)
                }
            }
            let mutated = fixture.directory.file("mutated.tar")
            try FileSystem().replace(mutated, with: bytes, op: "test")
            let store = BlobStore(root: fixture.directory.file("device-\(round)"))
            try store.prepare()
            do {
                try await take(mutated, release: entry.release, into: store)
                for blob in entry.release.requiredBlobs { try store.verify(blob.digest) }
            } catch is any CodedError {
                refused += 1
            }
            try FileSystem().removeTree(store.root, op: "test")
        }
        #expect(refused > 50)
    }
}
