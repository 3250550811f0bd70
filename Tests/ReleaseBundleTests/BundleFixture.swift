import Archive
import Base
import Model
import OCI
import ReleaseBundle
import TestSupport
import Testing
import Trust

/// A repository folder with releases of `shop`, signed by a lab root, as an operator has it.
struct BundleFixture {
    static let now = Timestamp(seconds: 1_790_000_000)

    let directory: TemporaryDirectory
    let store: BlobStore
    let repository: Trust.Repository
    let signers: [any Signer]

    init() throws {
        directory = try TemporaryDirectory()
        store = BlobStore(root: directory.file("repo"))
        try store.prepare()
        let keys = try (1...4).map { try Ed25519Signer(seed: [UInt8](repeating: UInt8($0), count: 32)) }
        signers = keys
        let now = Self.now
        repository = try Trust.Repository.initialize(
            path: directory.file("repo"),
            plan: .lab(
                root: keys[0].publicKey, targets: keys[1].publicKey, snapshot: keys[2].publicKey,
                timestamp: keys[3].publicKey),
            signers: keys, clock: SystemClock(now: { now }, monotonic: { 0 }, sleep: { _ in }))
    }

    /// Stores an image of one small layer.
    func image(_ seed: UInt8) throws -> Release.Image {
        let content = [UInt8](repeating: seed, count: 2000)
        let layer =
            try TarEncoder.header(TarHeader(path: "seed", size: 2000)) + content + TarEncoder.padding(2000)
            + TarEncoder.trailer
        let diffID = Digest.sha256(layer)
        var compressed: [UInt8] = []
        try ZstdCompressor(MemorySource(layer), level: 3).forEachChunk { compressed += $0 }
        let blob = try store.put(compressed)
        let config = try store.put(
            try JSONValue.object([
                "architecture": "amd64", "os": "linux", "config": ["Cmd": ["/seed"]],
                "rootfs": ["type": "layers", "diff_ids": [.string(diffID.description)]],
            ]).serialized())
        let manifest = ImageManifest(
            config: Descriptor(mediaType: MediaType.config, blob: config),
            layers: [Descriptor(mediaType: MediaType.layerZstd, blob: blob)])
        return Release.Image(
            manifest: try store.put(try manifest.encoded()), config: config,
            layers: [
                .init(
                    diffID: diffID, blob: blob, mediaType: MediaType.layerZstd, uncompressedSize: Int64(layer.count))
            ], reference: "seed:\(seed)", architecture: "amd64")
    }

    /// Builds, lists and signs a release with the services `web` and `worker`.
    func release(_ version: String = "1.0.0", ctr: Int64 = 1, seeds: (UInt8, UInt8) = (1, 2)) throws -> BundlePlan.Entry {
        let web = try image(seeds.0)
        let worker = try image(seeds.1)
        let file = try store.put(Array("greeting = \"ahoy \(version)\"\n".utf8))
        var service = Service(image: web.manifest.digest.description)
        service.files = [Service.FileMount(file: "greeting", target: "/etc/greeting")]
        let release = Release(
            app: "shop", version: try #require(SemanticVersion(version)), ctr: ctr,
            services: ["web": service, "worker": Service(image: worker.manifest.digest.description)],
            files: ["greeting": Release.ConfigFile(blob: file, secret: false)],
            images: [web.manifest.digest.description: web, worker.manifest.digest.description: worker])
        let document = try release.encoded()
        try repository.add(
            ReleaseTarget(
                app: "shop", version: release.version, ctr: ctr, epoch: 0, digest: .sha256(document),
                length: Int64(document.count)), document: document, signers: signers)
        return BundlePlan.Entry(release: release, document: document)
    }

    var writer: BundleWriter {
        BundleWriter(blobs: store, metadata: [.release: repository.metadataDirectory])
    }

    func read(_ path: String) throws -> [UInt8] { try FileSystem().read(path, limit: 1 << 26) }
}

/// The members of a tar in order.
func members(of path: String) throws -> [(String, [UInt8])] {
    let reader = TarReader(try FileSource(try ReadableFile(path: path)))
    var members: [(String, [UInt8])] = []
    while let header = try reader.next() {
        members.append((header.name ?? "", try reader.read(count: Int(header.size))))
    }
    return members
}

func tar(_ members: [(String, [UInt8])]) throws -> [UInt8] {
    try members.flatMap { name, content in try member(TarHeader(path: name), content) } + TarEncoder.trailer
}

func member(_ header: TarHeader, _ content: [UInt8] = []) throws -> [UInt8] {
    var header = header
    header.size = Int64(content.count)
    return try TarEncoder.header(header) + content + TarEncoder.padding(Int64(content.count))
}

/// Verifies a bundle's release as a device does that was provisioned with the fixture's root.
func verifiedRelease(_ reader: BundleReader, root: [UInt8]) async throws -> Release {
    let state = try TrustState.provision(releaseRoot: root, buildTime: BundleFixture.now)
    let fetcher = try #require(try reader.metadataFetcher(.release))
    let verifier = ReleaseVerifier(
        device: DeviceIdentity(id: "edge-1", labels: [:], architecture: "amd64"),
        policy: TrustPolicy(requiresDirector: false),
        clock: ClockReading(now: BundleFixture.now + 60, isTrusted: true))
    let verified = try await verifier.verify(
        from: TrustSources(release: fetcher, isSideload: true), load: reader.targetLoader, state: state,
        persist: { _ in })
    return verified.value
}
