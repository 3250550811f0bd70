import Base
import Model
import OCI
import Trust

/// A repository folder with its releases and blobs, as an operator works in it.
public struct Workspace: Sendable {
    public let path: String
    public let repository: Repository
    public let blobs: BlobStore
    let fileSystem: FileSystem

    /// Opens a folder that holds a repository.
    public init(_ path: String, fileSystem: FileSystem = FileSystem(), clock: SystemClock = .live) throws {
        self.path = path
        self.fileSystem = fileSystem
        repository = Repository(path: path, fileSystem: fileSystem, clock: clock)
        blobs = BlobStore(root: path, fileSystem: fileSystem)
        guard repository.exists else {
            throw OperatorError(
                .noRepository, "there is no release repository in \(path)", hint: "make one with: holdfast repo init \(path)")
        }
    }

    /// Where the director's repository lies, if the folder has one.
    public var director: Repository? {
        let director = Repository(path: path, name: .director, fileSystem: fileSystem)
        return director.exists ? director : nil
    }

    // MARK: Releases

    public func target(_ name: ReleaseName) throws -> ReleaseTarget {
        let all = try repository.releases()
        if let found = all.first(where: { $0.app == name.app && $0.version == name.version }) { return found }
        let known = all.filter { $0.app == name.app }.map(\.version.description)
        throw OperatorError(
            .releaseNotFound, "\(path) has no release \(name)",
            hint: known.isEmpty
                ? "see: holdfast release list --repo \(path)" : "there is \(known.suffix(5).joined(separator: ", "))")
    }

    /// A release with its document, read as a device would read it.
    public func release(_ name: ReleaseName) throws -> StoredRelease {
        let target = try target(name)
        let document = try repository.document(of: target)
        return StoredRelease(target: target, document: document, release: try Release(decoding: document))
    }

    public struct StoredRelease: Sendable {
        public var target: ReleaseTarget
        public var document: [UInt8]
        public var release: Release
    }

    /// Whether enough key holders have signed the listing of a release.
    public func isPublished(_ target: ReleaseTarget) throws -> Bool {
        try repository.publishedReleases().contains(target)
    }

    /// The newest release of an application, by `ctr`.
    public func newest(_ app: String) throws -> ReleaseTarget? {
        try repository.releases().filter { $0.app == app }.max { $0.ctr < $1.ctr }
    }

    /// Layers that releases here have already, by diffID: they need not be compressed again.
    public func knownLayers() throws -> [Digest: Release.Layer] {
        var layers: [Digest: Release.Layer] = [:]
        for target in try repository.releases() {
            // A document that cannot be read is for `repo lint` to report; its layers are simply made again.
            guard let document = try? repository.document(of: target), let release = try? Release(decoding: document)
            else { continue }
            for layer in release.images.values.flatMap(\.layers) { layers[layer.diffID] = layer }
        }
        return layers
    }
}
