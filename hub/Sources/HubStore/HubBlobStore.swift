import Archive
import Base
import Model

/// Where a hub keeps what is large: bytes by their digest, never changed. Five calls, so that an object store
/// can stand behind them.
public protocol HubBlobStore: Sendable {
    /// Takes a blob in, durable when it returns and only if size and digest are right. One that is there
    /// is left as it is. `source` gives the bytes from an offset, where an interrupted put goes on.
    func put(_ blob: Release.Blob, from source: @Sendable (_ offset: Int64) throws -> any ByteSource) async throws

    /// Bytes of a blob; nil when it is not there.
    func stat(_ digest: Digest) async throws -> Int64?

    /// Bytes `range` of a blob, at most ``HubStoreLimits/readSize``.
    /// - Throws: `hub-store.blob-missing`, `hub-store.range` when the range does not lie within the blob.
    func read(_ digest: Digest, range: Range<Int64>) async throws -> [UInt8]

    /// Removes a blob; a missing one is no error.
    func delete(_ digest: Digest) async throws

    /// Blobs by digest after one.
    func list(after digest: Digest?, limit: Int) async throws -> [Release.Blob]

    /// Where the blob lies as a file, to be sent without being read; nil where it is no file, or not there.
    func localFile(_ digest: Digest) -> String?
}

extension HubBlobStore {
    public func localFile(_ digest: Digest) -> String? { nil }

    public func put(_ bytes: [UInt8]) async throws -> Release.Blob {
        let blob = Release.Blob(digest: .sha256(bytes), size: Int64(bytes.count))
        try await put(blob) { MemorySource(Array(bytes[Int($0)...])) }
        return blob
    }
}
