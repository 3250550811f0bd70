import Archive
import Base
import Model
import OCI
import Trust

/// A release as the bundle's index lists it. Anyone may have written this: it is a hint where to look, and
/// nothing more until `Trust` has verified the release.
public struct BundleOffer: Hashable, Sendable {
    public var app: String
    public var version: SemanticVersion
    public var ctr: Int64
    /// The release document.
    public var document: Release.Blob
    /// Whom the bundle was made for; nil when it is for everyone.
    public var audience: BundleAudience?

    public init(
        app: String, version: SemanticVersion, ctr: Int64, document: Release.Blob, audience: BundleAudience? = nil
    ) {
        self.audience = audience
        self.app = app
        self.version = version
        self.ctr = ctr
        self.document = document
    }
}

/// A bundle opened in place, folder or tar: nothing is extracted, nothing is written.
///
/// Opening reads the index (and, of a tar, all headers) and refuses what breaks the format. Blobs are
/// verified when they are copied or read.
public struct BundleReader: BlobSource {
    public enum Form: String, Sendable { case directory, tar }

    public let path: String
    public let form: Form
    public let layout: ImageLayout
    /// Format version of the bundle.
    public let version: Int
    /// What the index lists, in its order.
    public let offers: [BundleOffer]

    var tree: any FileTree { layout.tree }

    public init(opening path: String) throws {
        self.path = path
        guard let status = try FileSystem().status(path) else {
            throw FileSystemError(operation: "open", path: path, errno: 2)
        }
        switch status.kind {
        case .directory:
            form = .directory
            let directory = ConfinedDirectory(path)
            guard try directory.size(BundleFormat.marker) != nil else {
                throw BundleError(.notABundle, path, "no \(BundleFormat.marker) in it")
            }
            layout = try ImageLayout(directory)
        case .file:
            form = .tar
            let archive = try ArchiveTree(try ReadableFile(path: path))
            try Self.checkOrder(archive)
            layout = try ImageLayout(archive)
        default: throw OCIError(.notRegular, path)
        }
        version = try Self.version(layout.index, path)
        offers = try Self.offers(layout.index, path)
    }

    private static func checkOrder(_ archive: ArchiveTree) throws {
        var last = (rank: -1, name: "")
        for name in archive.names {
            guard let rank = BundleFormat.rank(name) else {
                throw BundleError(.unexpectedFile, archive.location, name)
            }
            guard (last.rank, last.name) < (rank, name) else {
                throw BundleError(.order, archive.location, "\(name) after \(last.name)")
            }
            last = (rank, name)
        }
    }

    private static func version(_ index: ImageIndex, _ path: String) throws -> Int {
        guard let text = index.annotations[BundleFormat.versionAnnotation] else {
            throw BundleError(.notABundle, path, "an image layout without releases")
        }
        guard let version = Int(text), version >= 1 else {
            throw BundleError(.version, path, "version \"\(text)\"")
        }
        guard version <= BundleFormat.version else {
            throw BundleError(.version, path, "version \(version), this software reads up to \(BundleFormat.version)")
        }
        return version
    }

    private static func offers(_ index: ImageIndex, _ path: String) throws -> [BundleOffer] {
        let entries = index.manifests.filter { $0.mediaType == BundleFormat.releaseMediaType }
        guard entries.count <= BundleFormat.maximumReleases else {
            throw BundleError(.limit, path, "\(entries.count) releases, at most \(BundleFormat.maximumReleases)")
        }
        return try entries.map { entry in
            guard let app = entry.annotations[BundleFormat.appAnnotation], Release.isAppName(app),
                let version = entry.annotations[BundleFormat.releaseVersionAnnotation].flatMap(SemanticVersion.init),
                let ctr = entry.annotations[BundleFormat.counterAnnotation].flatMap({ Int64($0) }), ctr > 0,
                (1...Int64(ReleaseLimits.documentSize)).contains(entry.blob.size)
            else { throw BundleError(.release, "\(path): index.json", entry.blob.digest.description) }
            return BundleOffer(
                app: app, version: version, ctr: ctr, document: entry.blob, audience: BundleAudience(entry.annotations))
        }
    }

    // MARK: For Trust

    /// Metadata of one repository; nil when the bundle carries none.
    public func metadataFetcher(_ repository: RepositoryName) throws -> BundleMetadataFetcher? {
        let folder = BundleFormat.metadataFolder(repository)
        return try tree.list(folder).isEmpty ? nil : BundleMetadataFetcher(tree: tree, folder: folder)
    }

    /// Brings release documents to a `ReleaseVerifier`.
    public var targetLoader: TargetLoader {
        { path, digest, length in
            do {
                return try document(Release.Blob(digest: digest, size: length), limit: ReleaseLimits.documentSize)
            } catch let error as OCIError where error.reason == .blobDigest {
                // Found here before Trust looks: it is the same refusal, and carries the same code.
                throw TrustError(.hashMismatch, path, error.message)
            } catch let error as OCIError where error.reason == .blobTruncated {
                throw TrustError(.lengthMismatch, path, error.message)
            }
        }
    }

    // MARK: Blobs

    public func blobSize(_ digest: Digest) throws -> Int64? { try layout.blobs.blobSize(digest) }

    public func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource {
        try layout.blobs.openBlob(digest, from: offset)
    }

    /// Which of the blobs are not in the bundle, or in another size.
    public func missing(_ blobs: some Sequence<Release.Blob>) throws -> [Release.Blob] {
        try blobs.filter { try blobSize($0.digest) != $0.size }
    }

    /// Copies blobs that a store lacks, verified; takes up what an interrupted copy left.
    ///
    /// - Parameter progress: called with bytes there and in all; a throw stops, keeping what is there.
    /// - Throws: ``OCIError`` `blob-missing` before anything is written, when neither side has one of them.
    public func copy(
        _ blobs: [Release.Blob], into store: BlobStore, progress: (_ done: Int64, _ total: Int64) throws -> Void = { _, _ in }
    ) throws {
        let wanted = try store.missing(blobs)
        for blob in wanted { try requireSize(blob) }
        let total = blobs.reduce(0) { $0 + $1.size }
        var done = total - wanted.reduce(0) { $0 + $1.size }
        try progress(done, total)
        for blob in wanted {
            try store.ingest(blob, from: self) { try progress(done + $0, total) }
            done += blob.size
        }
    }
}

/// Reads metadata files out of a bundle.
public struct BundleMetadataFetcher: MetadataFetcher {
    let tree: any FileTree
    let folder: String

    public func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        // A role name is untrusted: encoded, it has no separator and cannot leave the folder.
        try tree.read("\(folder)/\(MetadataName.encoded(name))", limit: maxLength)
    }

    /// Names of the metadata files, as stored.
    public func names() throws -> [String] { try tree.list(folder) }
}
