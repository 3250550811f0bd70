import Base
import Glibc
import Model
import Testing

@testable import Trust

/// A folder that goes away with the test.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/holdfast-trust-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw FileSystemError(operation: "mkdtemp", path: "/tmp", errno: errno) }
        path = String(cString: made)
    }

    deinit { try? FileSystem().removeTree(path, op: "test.cleanup") }

    func sub(_ name: String) -> String { Path.join(path, name) }
}

/// A time that tests own.
let testNow = Timestamp(seconds: 1_790_000_000)

func fixedClock(_ now: Timestamp = testNow) -> SystemClock {
    SystemClock(now: { now }, monotonic: { 0 }, sleep: { _ in })
}

/// The signer whose seed is `number` repeated.
func signer(_ number: UInt8) throws -> Ed25519Signer {
    try Ed25519Signer(seed: [UInt8](repeating: number, count: 32))
}

/// A lab repository with one release of `web`, and the keys that made it.
struct LabRepository: Sendable {
    let repository: Repository
    let signers: [any Signer]
    /// Kept, so that the folder lives as long as the repository.
    private let scratch: Scratch

    init(_ scratch: Scratch, name: RepositoryName = .release, now: Timestamp = testNow, seeds: UInt8 = 1) throws {
        self.scratch = scratch
        let keys = try (0..<4).map { try signer(seeds + UInt8($0)) }
        signers = keys
        repository = try Repository.initialize(
            path: scratch.sub("repo"), name: name,
            plan: .lab(
                root: keys[0].publicKey, targets: keys[1].publicKey, snapshot: keys[2].publicKey,
                timestamp: keys[3].publicKey),
            signers: keys, clock: fixedClock(now))
    }

    @discardableResult
    func add(
        _ app: String = "web", _ version: String = "1.0.0", ctr: Int64 = 1, epoch: Int64 = 0,
        selector: [String: String] = [:], architectures: [String] = [], role: String = "targets"
    ) throws -> ReleaseTarget {
        let (target, bytes) = try releaseFixture(app, version, ctr: ctr, epoch: epoch, selector: selector, architectures: architectures)
        try repository.add(target, document: bytes, role: role, signers: signers)
        return target
    }

    func fetcher() -> DirectoryFetcher { DirectoryFetcher(repository.metadataDirectory) }

    /// Documents of all releases listed, by path.
    func documents() throws -> [String: [UInt8]] {
        try repository.releases().reduce(into: [:]) { $0[$1.path] = try repository.document(of: $1) }
    }

    /// Loads documents from the repository's folder by digest.
    func loader() -> TargetLoader {
        let path = repository.path
        return { target, digest, length in
            let app = Path.parent(target)
            let version = Path.name(target).dropLast(".release.json".count)
            return try FileSystem().read(
                Path.join(path, "targets", app, "\(digest.hex).\(version).release.json"), limit: Int(length))
        }
    }
}

func releaseFixture(
    _ app: String = "web", _ version: String = "1.0.0", ctr: Int64 = 1, epoch: Int64 = 0,
    selector: [String: String] = [:], architectures: [String] = []
) throws -> (ReleaseTarget, [UInt8]) {
    let semantic = try #require(SemanticVersion(version))
    let digest = Digest.sha256(Array("\(app) \(version)".utf8))
    let blob = Release.Blob(digest: digest, size: 10)
    let image = Release.Image(
        manifest: blob, config: blob,
        layers: [
            .init(
                diffID: digest, blob: blob, mediaType: "application/vnd.oci.image.layer.v1.tar+zstd",
                uncompressedSize: 10)
        ], reference: "web:1", architecture: "amd64")
    let release = Release(
        app: app, version: semantic, ctr: ctr, epoch: epoch,
        services: ["web": Service(image: digest.description)], images: [digest.description: image])
    let bytes = try release.encoded()
    let target = ReleaseTarget(
        app: app, version: semantic, ctr: ctr, epoch: epoch, selector: selector, architectures: architectures,
        digest: Digest.sha256(bytes), length: Int64(bytes.count))
    return (target, bytes)
}

func testDevice(_ labels: [String: String] = ["fleet": "harbour"]) -> DeviceIdentity {
    DeviceIdentity(id: "edge-7", labels: labels, architecture: "amd64")
}

func verifier(
    _ clock: ClockReading = ClockReading(now: testNow + 60, isTrusted: true), director: Bool = false,
    labels: [String: String] = ["fleet": "harbour"]
) -> ReleaseVerifier {
    ReleaseVerifier(device: testDevice(labels), policy: TrustPolicy(requiresDirector: director), clock: clock)
}

/// The code of the error that `body` throws; nil when it throws none.
func code(_ body: () async throws -> Void) async -> String? {
    do {
        try await body()
        return nil
    } catch {
        return (error as? any CodedError)?.code ?? "other: \(error)"
    }
}

/// Metadata in memory, by name.
struct StageFetcher: MetadataFetcher {
    let served: [String: [UInt8]]

    func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        guard let bytes = served[name] else { return nil }
        guard bytes.count <= maxLength else { throw TrustError(.tooLarge, name, "\(bytes.count) bytes") }
        return bytes
    }
}
