import AgentCore
import Archive
import Base
import Model
import OCI
import Synchronization
import Trust

/// Blobs in memory.
public final class MemoryBlobs: BlobSource {
    private let blobs = Mutex<[Digest: [UInt8]]>([:])
    public init() {}

    public func put(_ bytes: [UInt8]) -> Release.Blob {
        let digest = Digest.sha256(bytes)
        blobs.withLock { $0[digest] = bytes }
        return Release.Blob(digest: digest, size: Int64(bytes.count))
    }
    /// Puts other bytes under a digest, as an attacker would.
    public func replace(_ digest: Digest, with bytes: [UInt8]?) { blobs.withLock { $0[digest] = bytes } }

    public func blobSize(_ digest: Digest) throws -> Int64? { blobs.withLock { $0[digest].map { Int64($0.count) } } }
    public func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource {
        MemorySource(Array((blobs.withLock { $0[digest] } ?? []).dropFirst(Int(offset))))
    }
}

/// An operator in a folder: a signed repository, and images whose blobs are real if small.
public struct Lab: Sendable {
    public let repository: Repository
    public let signers: [any Signer]
    public let blobs = MemoryBlobs()

    public init(path: String, clock: SystemClock) throws {
        let keys = try (1...4).map { try Ed25519Signer(seed: [UInt8](repeating: UInt8($0), count: 32)) }
        signers = keys
        repository = try Repository.initialize(
            path: path, name: .release,
            plan: .lab(
                root: keys[0].publicKey, targets: keys[1].publicKey, snapshot: keys[2].publicKey,
                timestamp: keys[3].publicKey),
            signers: keys, clock: clock)
    }

    /// An image of a common base layer and one of its own, with a file of `content` in it.
    public func image(_ name: String, content: [UInt8]? = nil) throws -> Release.Image {
        let layers = try [Array("layer base".utf8), content ?? Array("layer \(name)".utf8)].map { content in
            let tar = try Self.tar(["content": content])
            return Release.Layer(
                diffID: Digest.sha256(tar), blob: blobs.put(tar), mediaType: MediaType.layer,
                uncompressedSize: Int64(tar.count))
        }
        let config: JSONValue = [
            "architecture": "amd64", "os": "linux", "config": ["Labels": ["name": .string(name)]],
            "rootfs": ["type": "layers", "diff_ids": .array(layers.map { .string($0.diffID.description) })],
        ]
        let configBlob = blobs.put(try config.serialized(.compact))
        let manifest: JSONValue = ["schemaVersion": 2, "config": .string(configBlob.digest.description)]
        return Release.Image(
            manifest: blobs.put(try manifest.serialized(.compact)), config: configBlob, layers: layers,
            reference: "\(name):1",
            architecture: "amd64")
    }

    public static func tar(_ files: [String: [UInt8]]) throws -> [UInt8] {
        var bytes: [UInt8] = []
        let writer = TarWriter { bytes += $0 }
        for (name, content) in files.sorted(by: { $0.key < $1.key }) {
            try writer.add(TarHeader(path: name, size: Int64(content.count)), content: content)
        }
        try writer.finish()
        return bytes
    }

    /// Services by name with the name of their image.
    public func release(
        app: String = "shop", _ version: String, ctr: Int64, epoch: Int64 = 0, services: [String: String],
        configure: (inout Release) throws -> Void = { _ in }
    ) throws -> Release {
        guard let semantic = SemanticVersion(version) else { preconditionFailure("no version: \(version)") }
        let images = try services.mapValues { try image($0) }
        var release = Release(
            app: app, version: semantic, ctr: ctr, epoch: epoch,
            services: images.mapValues { Service(image: $0.manifest.digest.description) },
            images: Dictionary(images.values.map { ($0.manifest.digest.description, $0) }, uniquingKeysWith: { $1 }),
            update: Release.UpdatePolicy(healthWindowSeconds: 30, stableSeconds: 5))
        try configure(&release)
        return release
    }

    /// - Parameter signers: instead of those that the repository was made with.
    public func publish(_ release: Release, signers: [any Signer]? = nil) throws {
        let bytes = try release.encoded()
        let target = ReleaseTarget(
            app: release.app, version: release.version, ctr: release.ctr, epoch: release.epoch,
            architectures: release.requirements.architectures, digest: Digest.sha256(bytes), length: Int64(bytes.count))
        try repository.add(target, document: bytes, signers: signers ?? self.signers)
    }

    /// A release of the agent itself, whose program is `content`.
    public func agentRelease(_ version: String, ctr: Int64, program: [UInt8]) throws -> Release {
        try release(app: "holdfast-agent", version, ctr: ctr, services: [:]) { release in
            release.requirements.architectures = ["amd64"]
            release.agent = .init(binary: blobs.put(program))
        }
    }

    /// What is imported: the repository's folder with the blobs.
    ///
    /// - Parameter carried: see `Candidate`; the whole repository where nil.
    public func source(carried: Set<String>? = nil) -> ImportSource {
        let path = repository.path
        return ImportSource(
            trust: TrustSources(release: DirectoryFetcher(repository.metadataDirectory), isSideload: true),
            document: { target, digest, length in
                let version = Path.name(target).dropLast(".release.json".count)
                return try FileSystem().read(
                    Path.join(path, "targets", Path.parent(target), "\(digest.hex).\(version).release.json"),
                    limit: Int(length))
            }, blobs: blobs, carried: carried)
    }

    /// Reads a `docker load` archive as the engine does: config by digest, each layer sent or known already.
    public static func readArchive(
        _ archive: PullSequence<[UInt8]>, known: @Sendable () -> [[Digest]]
    ) async throws -> [EngineImage] {
        var bytes: [UInt8] = []
        for try await chunk in archive { bytes += chunk }
        var files: [String: [UInt8]] = [:]
        var offset = 0
        while offset + 512 <= bytes.count, bytes[offset] != 0 {
            let name = String(decoding: bytes[offset..<offset + 100].prefix { $0 != 0 }, as: UTF8.self)
            let size = Int(String(decoding: bytes[offset + 124..<offset + 135], as: UTF8.self), radix: 8) ?? 0
            files[name] = Array(bytes[offset + 512..<offset + 512 + size])
            offset += 512 + (size + 511) / 512 * 512
        }
        guard let manifest = try files["manifest.json"].map({ try JSONValue(parsing: $0) })?.array else {
            throw AgentError(.badAnswer, "no manifest.json in the archive")
        }
        return try manifest.map { entry in
            guard let config = entry["Config"]?.string.flatMap({ files[$0] }) else {
                throw AgentError(.badAnswer, "no config in the archive")
            }
            let diffIDs = try ImageConfig(decoding: config).diffIDs
            for (index, layer) in (entry["Layers"]?.array ?? []).enumerated() {
                if let tar = layer.string.flatMap({ files[$0] }) {
                    guard Digest.sha256(tar) == diffIDs[index] else {
                        throw AgentError(.badAnswer, "layer \(index) is wrong")
                    }
                } else if !known().contains(where: { $0.starts(with: diffIDs.prefix(index + 1)) }) {
                    throw AgentError(.badAnswer, "layer \(index) is neither sent nor known")
                }
            }
            return EngineImage(id: Digest.sha256(config), tags: [], size: Int64(config.count), diffIDs: diffIDs)
        }
    }
}
