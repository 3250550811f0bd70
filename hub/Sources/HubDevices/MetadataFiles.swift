import Archive
import Base
import Glibc
import HubHTTP
import HubProtocol
import Model
import NIOConcurrencyHelpers
import NIOCore
import Trust

/// The published metadata of both repositories in memory, as devices fetch it.
public final class MetadataFiles: Sendable {
    /// Bytes of all files together, and files: old versions beyond go, the newest stay.
    public static let sizeLimit = 64 << 20
    public static let fileLimit = 20_000

    public struct File: Sendable {
        public var bytes: ByteBuffer
        /// Compressed; nil where that saves nothing.
        public var zstd: ByteBuffer?
        /// With its quotes.
        public var tag: String
        /// Whether the name always has these bytes: a numbered file.
        public var isImmutable: Bool
    }

    private let files = NIOLockedValueBox<[RepositoryName: [String: File]]>([:])
    private let folders = NIOLockedValueBox<[RepositoryName: String]>([:])

    public init() {}

    public func file(_ name: String, of repository: RepositoryName) -> File? {
        files.withLockedValue { $0[repository]?[name] }
    }

    /// A director's list of one bin of devices, from its folder; nil for any other name.
    public func bin(_ name: String, of repository: RepositoryName) -> OpenedFile? {
        guard repository == .director, DeviceBins.isFile(name), let folder = folders.withLockedValue({ $0[repository] })
        else { return nil }
        return try? OpenedFile(path: Path.join(folder, name))
    }

    /// Replaces what is held of a repository by what its folder has. What did not change is not compressed again.
    public func load(_ repository: RepositoryName, from directory: String, fileSystem: FileSystem) throws {
        var next: [String: File] = [:]
        var size = 0
        let names = try fileSystem.list(directory, limit: Self.fileLimit).filter {
            $0.hasSuffix(".json") && !(repository == .director && DeviceBins.isFile($0))
        }
        // Unnumbered names first, then the highest numbers: a client needs the newest of everything.
        for name in names.sorted(by: { Self.rank($0) > Self.rank($1) }) {
            let bytes: [UInt8]
            do {
                bytes = try fileSystem.read(Path.join(directory, name), limit: TrustLimits.standard.targetsBytes)
            } catch {
                // An old version that went meanwhile: newer ones are there, and their publication loads them.
                if error.errno == ENOENT { continue }
                throw error
            }
            guard size + bytes.count <= Self.sizeLimit else { continue }
            size += bytes.count
            let tag = "\"\(Digest.sha256(bytes).hex.prefix(32))\""
            if let known = file(name, of: repository), known.tag == tag {
                next[name] = known
            } else {
                next[name] = try Self.make(bytes, tag: tag, isImmutable: Self.rank(name) != .max)
            }
        }
        folders.withLockedValue { $0[repository] = directory }
        let loaded = next
        files.withLockedValue { $0[repository] = loaded }
    }

    private static func rank(_ name: String) -> Int64 {
        name.split(separator: ".").first.flatMap { Int64($0) } ?? .max
    }

    private static func make(_ bytes: [UInt8], tag: String, isImmutable: Bool) throws -> File {
        var zstd: [UInt8] = []
        try ZstdCompressor(MemorySource(bytes)).forEachChunk { zstd += $0 }
        return File(
            bytes: ByteBuffer(bytes: bytes), zstd: zstd.count + 64 < bytes.count ? ByteBuffer(bytes: zstd) : nil,
            tag: tag, isImmutable: isImmutable)
    }
}

extension MetadataFiles {
    /// The versions of a repository's published metadata, and of the snapshot that its timestamp names.
    public func versions(of repository: RepositoryName) -> (DeviceStateAnswer.Versions, snapshot: Int64) {
        let roots = files.withLockedValue { files in
            (files[repository] ?? [:]).keys.filter { $0.hasSuffix(".root.json") }.map(Self.rank)
        }
        let signed = file("timestamp.json", of: repository).flatMap { file in
            try? JSONValue(parsing: Array(file.bytes.readableBytesView))["signed"]
        }
        return (
            DeviceStateAnswer.Versions(root: roots.max() ?? 0, timestamp: signed?["version"]?.integer ?? 0),
            signed?["meta"]?["snapshot.json"]?["version"]?.integer ?? 0
        )
    }

    /// Who has to look at the director's repository, as its published metadata has it.
    public func outline() -> DirectorOutline? {
        let (versions, snapshot) = versions(of: .director)
        guard versions.timestamp > 0, let bytes = file("\(snapshot).snapshot.json", of: .director)?.bytes,
            let listed = try? JSONValue(parsing: Array(bytes.readableBytesView))["signed"]?["meta"]?["targets.json"],
            let version = listed["version"]?.integer,
            let targets = file("\(version).targets.json", of: .director)?.bytes
        else { return nil }
        return DirectorOutline(snapshot: Array(bytes.readableBytesView), targets: Array(targets.readableBytesView))
    }
}
