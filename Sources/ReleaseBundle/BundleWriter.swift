import Archive
import Base
import Model
import OCI
import Trust

/// What goes into a bundle.
public struct BundlePlan: Sendable {
    public struct Entry: Sendable {
        public var release: Release
        /// The signed document, byte for byte.
        public var document: [UInt8]
        /// Whom the bundle serves, when that is not everyone.
        public var audience: BundleAudience?
        public init(release: Release, document: [UInt8], audience: BundleAudience? = nil) {
            self.release = release
            self.document = document
            self.audience = audience
        }
    }

    public var entries: [Entry]
    /// Blobs besides the release documents, each once.
    public var blobs: [Release.Blob]

    /// - Parameters:
    ///   - omitting: digests that every receiver has already; their blobs stay out.
    ///   - deltas: which of a release's deltas go in.
    public init(
        _ entries: [Entry], omitting: Set<Digest> = [], deltas: (Release.LayerDelta) -> Bool = { _ in false }
    ) {
        self.entries = entries
        var seen = omitting
        blobs = entries.flatMap { entry in
            entry.release.requiredBlobs + entry.release.deltas.filter(deltas).map(\.blob)
        }.filter { seen.insert($0.digest).inserted }
    }

    /// Bytes of all blobs.
    public var totalBytes: Int64 {
        blobs.reduce(0) { $0 + $1.size } + entries.reduce(0) { $0 + Int64($1.document.count) }
    }
}

/// Writes bundles: as a folder that is taken up and finished after an interruption, or as one tar file.
/// Every blob is hashed as it is copied.
public struct BundleWriter: Sendable {
    private let blobs: BlobStore
    private let metadata: [RepositoryName: String]
    private let fileSystem: FileSystem

    static let operationLabel = "bundle.export"

    /// - Parameters:
    ///   - blobs: where the releases' blobs lie.
    ///   - metadata: folders of published TUF metadata.
    public init(blobs: BlobStore, metadata: [RepositoryName: String], fileSystem: FileSystem = FileSystem()) {
        self.blobs = blobs
        self.metadata = metadata
        self.fileSystem = fileSystem
    }

    public typealias Progress = (_ done: Int64, _ total: Int64) throws -> Void

    // MARK: Folder

    /// Writes the bundle as a folder: blobs first, `index.json` last, so that a folder with an index is whole.
    ///
    /// A bundle that is there already is replaced; blobs that both have are verified and kept.
    /// - Throws: ``BundleError/Reason/destination`` when the folder holds anything else.
    public func write(_ plan: BundlePlan, directory: String, progress: Progress = { _, _ in }) throws {
        try checkDestination(directory)
        let files = try smallFiles(plan)
        let target = BlobStore(root: directory, fileSystem: fileSystem)
        // Without an index nobody takes a half-changed folder for a bundle.
        try fileSystem.unlink(Path.join(directory, BundleFormat.index), op: Self.operationLabel)
        try target.prepare()
        try copyBlobs(plan, to: target, progress: progress)
        let keep = Set(plan.blobs.map(\.digest) + plan.entries.map { Digest.sha256($0.document) })
        try target.prune(keeping: keep)
        try fileSystem.removeTree(target.stagingDirectory, op: Self.operationLabel)
        try fileSystem.removeTree(Path.join(directory, "metadata"), op: Self.operationLabel)
        for (name, bytes) in files where name != BundleFormat.index {
            try put(bytes, at: Path.join(directory, name))
        }
        for (name, bytes) in files where name == BundleFormat.index {
            try put(bytes, at: Path.join(directory, name))
        }
    }

    private func checkDestination(_ directory: String) throws {
        guard let status = try fileSystem.status(directory) else { return }
        guard status.kind == .directory else { throw BundleError(.destination, directory, "it is no folder") }
        let names = try fileSystem.list(directory)
        // A stick's own folders do not count.
        let own: Set = ["blobs", "metadata", "staging", BundleFormat.marker, BundleFormat.index]
        guard names.contains("blobs") || Set(names).isDisjoint(with: own) else {
            throw BundleError(.destination, directory, "it holds \(names.prefix(3).joined(separator: ", "))")
        }
    }

    private func copyBlobs(_ plan: BundlePlan, to target: BlobStore, progress: Progress) throws {
        let total = plan.totalBytes
        var done: Int64 = 0
        for entry in plan.entries { done += try target.put(entry.document).size }
        for blob in plan.blobs {
            if try target.contains(blob) {
                do {
                    try target.verify(blob.digest) { count in
                        done += Int64(count)
                        try progress(done, total)
                    }
                    continue
                } catch let error as OCIError where error.reason == .blobDigest {
                    // A stick that lost bits: written anew.
                    try target.remove(blob.digest)
                    done -= blob.size
                }
            }
            try target.ingest(blob, from: blobs) { try progress(done + $0, total) }
            done += blob.size
        }
        try progress(done, total)
    }

    private func put(_ bytes: [UInt8], at path: String) throws {
        try fileSystem.makeDirectories(Path.parent(path), op: Self.operationLabel)
        try fileSystem.replace(path, with: bytes, op: Self.operationLabel)
    }

    // MARK: Tar

    /// Writes the bundle as one uncompressed tar file: beside its name first, renamed when whole.
    public func write(_ plan: BundlePlan, tar path: String, progress: Progress = { _, _ in }) throws {
        if let status = try fileSystem.status(path), status.kind != .file {
            throw BundleError(.destination, path, "it is no plain file")
        }
        let temporary = path + ".partial"
        let file = try fileSystem.create(temporary, truncate: true, op: Self.operationLabel)
        do {
            try writeArchive(plan, to: file, progress: progress)
            try file.sync()
        } catch {
            try? fileSystem.unlink(temporary, op: Self.operationLabel)
            throw error
        }
        try fileSystem.rename(temporary, to: path, op: Self.operationLabel)
    }

    private func writeArchive(_ plan: BundlePlan, to file: WritableFile, progress: Progress) throws {
        let output = BufferedOutput(file)
        let writer = TarWriter { try output.write($0) }
        for (name, bytes) in try smallFiles(plan) {
            try writer.add(TarHeader(path: name, size: Int64(bytes.count)), content: bytes)
        }
        var documents: [Digest: [UInt8]] = [:]
        for entry in plan.entries { documents[.sha256(entry.document)] = entry.document }
        let all = plan.blobs + documents.map { Release.Blob(digest: $0.key, size: Int64($0.value.count)) }
        let total = plan.totalBytes
        var done: Int64 = 0
        for blob in all.sorted(by: { $0.digest < $1.digest }) {
            let header = TarHeader(path: LayoutBlobs.path(blob.digest), size: blob.size)
            if let document = documents[blob.digest] {
                try writer.add(header, content: document)
            } else {
                try writer.add(header, content: try blobs.reader(blob))
            }
            done += blob.size
            try progress(done, total)
        }
        try writer.finish()
        try output.flush()
    }

    // MARK: Index and metadata

    /// `oci-layout`, `index.json` and metadata, in the order of the tar form.
    private func smallFiles(_ plan: BundlePlan) throws -> [(String, [UInt8])] {
        var files = [
            (BundleFormat.marker, try ImageLayout.marker()), (BundleFormat.index, try index(plan).encoded()),
        ]
        for repository in metadata.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            guard let folder = metadata[repository] else { continue }
            let published = try PublishedMetadata(folder: folder, fileSystem: fileSystem).files()
            for (name, bytes) in published.sorted(by: { $0.0 < $1.0 }) {
                files.append(("\(BundleFormat.metadataFolder(repository))/\(name)", bytes))
            }
        }
        return files
    }

    private func index(_ plan: BundlePlan) throws -> ImageIndex {
        guard plan.entries.count <= BundleFormat.maximumReleases else {
            throw BundleError(
                .limit, "bundle", "\(plan.entries.count) releases, at most \(BundleFormat.maximumReleases)")
        }
        var manifests: [Descriptor] = []
        for entry in plan.entries {
            let release = entry.release
            manifests.append(
                Descriptor(
                    mediaType: BundleFormat.releaseMediaType,
                    blob: Release.Blob(digest: .sha256(entry.document), size: Int64(entry.document.count)),
                    annotations: [
                        BundleFormat.appAnnotation: release.app,
                        BundleFormat.releaseVersionAnnotation: release.version.description,
                        BundleFormat.counterAnnotation: String(release.ctr),
                    ].merging(try entry.audience?.annotations() ?? [:]) { $1 }))
            for (service, value) in release.services.sorted(by: { $0.key < $1.key }) {
                guard let image = release.images[value.image] else { continue }
                // One release: its services' names. Several: names that tell them apart.
                let name = plan.entries.count == 1 ? service : "\(release.app)/\(release.version)/\(service)"
                manifests.append(
                    Descriptor(
                        mediaType: MediaType.manifest, blob: image.manifest, annotations: [Annotation.refName: name],
                        platform: Platform(architecture: image.architecture, os: "linux")))
            }
        }
        return ImageIndex(
            manifests: manifests, annotations: [BundleFormat.versionAnnotation: String(BundleFormat.version)])
    }
}

/// Gathers small writes into large ones.
private final class BufferedOutput {
    private static let capacity = 1 << 20
    private let file: WritableFile
    private var buffer: [UInt8] = []

    init(_ file: WritableFile) { self.file = file }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        buffer += bytes
        if buffer.count >= Self.capacity { try flush() }
    }

    func flush() throws {
        guard !buffer.isEmpty else { return }
        try file.write(buffer)
        buffer.removeAll(keepingCapacity: true)
    }
}
