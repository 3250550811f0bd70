import Archive
import Base
import Glibc
import Model
import OCI

/// Blobs as files, in the content-addressed folder that the agent and the operator's tools use too.
public struct FileBlobStore: HubBlobStore {
    private let store: BlobStore

    /// Makes the folders below `root` where they are missing.
    public init(root: String, fileSystem: FileSystem = FileSystem()) throws {
        store = BlobStore(root: root, fileSystem: fileSystem)
        try store.prepare()
    }

    public func put(
        _ blob: Release.Blob, from source: @Sendable (_ offset: Int64) throws -> any ByteSource
    ) async throws {
        try store.ingest(blob, from: source)
    }

    public func stat(_ digest: Digest) async throws -> Int64? { try store.blobSize(digest) }

    public func read(_ digest: Digest, range: Range<Int64>) async throws -> [UInt8] {
        guard let size = try store.blobSize(digest) else {
            throw HubStoreError(.blobMissing, digest.description, "is not in the store")
        }
        guard range.lowerBound >= 0, range.upperBound <= size, range.count <= HubStoreLimits.readSize else {
            throw HubStoreError(.range, digest.description, "bytes \(range) of \(size) cannot be read at once")
        }
        let bytes = try ReadableFile(path: store.path(digest)).read(at: range.lowerBound, count: range.count)
        guard bytes.count == range.count else {
            throw HubStoreError(.blobMissing, digest.description, "was removed while it was read")
        }
        return bytes
    }

    public func localFile(_ digest: Digest) -> String? {
        let path = store.path(digest)
        return access(path, R_OK) == 0 ? path : nil
    }

    public func delete(_ digest: Digest) async throws { try store.remove(digest) }

    public func list(after digest: Digest?, limit: Int) async throws -> [Release.Blob] {
        let all = try store.list().sorted { $0.digest < $1.digest }
        let rest = digest.map { start in all.drop { $0.digest <= start } } ?? all[...]
        return Array(rest.prefix(min(limit, HubStoreLimits.page)))
    }
}
