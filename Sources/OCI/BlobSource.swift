import Archive
import Base
import Model

/// Blobs by digest, from wherever they lie. What it yields is not verified; see ``reader(_:)``.
public protocol BlobSource: Sendable {
    /// Bytes of the stored blob; nil when it is not there.
    func blobSize(_ digest: Digest) throws -> Int64?
    func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource
    /// The tar of a layer that was made here rather than fetched, at most `size` bytes; nil where there is none.
    func openMade(_ diffID: Digest, size: Int64) throws -> (any ByteSource)?
}

extension BlobSource {
    public func openMade(_ diffID: Digest, size: Int64) throws -> (any ByteSource)? { nil }

    /// A layer's tar: its signed blob, read as verified and decompressed, never more than its signed size; or what was
    /// made of it here.
    public func layerTar(_ layer: Release.Layer) throws -> any ByteSource {
        if try blobSize(layer.blob.digest) == nil,
            let made = try openMade(layer.diffID, size: layer.uncompressedSize)
        {
            return made
        }
        guard let compression = MediaType.layerCompression(layer.mediaType) else {
            throw OCIError(.mediaType, layer.diffID.description, layer.mediaType)
        }
        return try compression.decompressor(
            try reader(layer.blob), outputCap: layer.uncompressedSize, windowLog: Zstd.foreignWindowLog,
            subject: "layer \(layer.diffID)")
    }

    /// The blob's bytes, refused unless they have exactly its size and digest.
    ///
    /// Presence and size are checked now; the digest at the end: nothing may be believed before the
    /// source has said that it ends.
    public func reader(_ blob: Release.Blob) throws -> VerifyingSource {
        try requireSize(blob)
        return VerifyingSource(try openBlob(blob.digest, from: 0), blob: blob)
    }

    /// Throws unless the blob is there with exactly its size.
    public func requireSize(_ blob: Release.Blob) throws {
        guard let size = try blobSize(blob.digest) else {
            throw OCIError(.blobMissing, blob.digest.description, "\(blob.size) bytes")
        }
        guard size == blob.size else {
            throw OCIError(
                size < blob.size ? .blobTruncated : .blobOversized, blob.digest.description,
                "\(size) bytes, expected \(blob.size)")
        }
    }

    /// A small blob whole, verified. A blob declared larger than `limit` is refused unread.
    public func document(_ blob: Release.Blob, limit: Int) throws -> [UInt8] {
        guard blob.size <= limit else {
            throw OCIError(.limit, blob.digest.description, "\(blob.size) bytes, at most \(limit)")
        }
        let source = try reader(blob)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(blob.size))
        try source.forEachChunk { bytes += $0 }
        return bytes
    }
}

/// The blobs of an OCI image layout, wherever the layout lies.
public struct LayoutBlobs: BlobSource {
    private let tree: any FileTree

    public init(_ tree: any FileTree) { self.tree = tree }

    public static func path(_ digest: Digest) -> String { "blobs/sha256/\(digest.hex)" }

    public func blobSize(_ digest: Digest) throws -> Int64? { try tree.size(Self.path(digest)) }
    public func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource {
        try tree.open(Self.path(digest), from: offset)
    }

    /// Everything under `blobs/sha256` that is named as a digest, with its size.
    public func all() throws -> [Release.Blob] {
        try tree.list("blobs/sha256").compactMap { name in
            guard let digest = Digest(hex: name), let size = try blobSize(digest) else { return nil }
            return Release.Blob(digest: digest, size: size)
        }
    }
}

/// Passes bytes on while hashing and counting them, and throws at the first byte too many or, at the end,
/// when size or digest are not the expected ones.
public final class VerifyingSource: ByteSource {
    private let source: any ByteSource
    private let expected: Release.Blob
    private let hashing: HashingSource
    private var verified = false

    public init(_ source: any ByteSource, blob: Release.Blob) {
        self.source = source
        expected = blob
        hashing = HashingSource(source)
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard buffer.count > 0, !verified else { return 0 }
        let count = try hashing.read(into: buffer)
        guard hashing.count <= expected.size else {
            throw OCIError(.blobOversized, expected.digest.description, "more than \(expected.size) bytes")
        }
        if count == 0 {
            guard hashing.count == expected.size else {
                throw OCIError(
                    .blobTruncated, expected.digest.description, "\(hashing.count) bytes, expected \(expected.size)")
            }
            let digest = hashing.finish()
            guard digest == expected.digest else {
                throw OCIError(.blobDigest, expected.digest.description, "found \(digest)")
            }
            verified = true
        }
        return count
    }
}

/// Passes bytes on while hashing and counting them.
public final class HashingSource: ByteSource {
    private let source: any ByteSource
    private var hasher: SHA256Hasher? = SHA256Hasher()
    private var digest: Digest?
    /// Bytes passed on so far.
    public private(set) var count: Int64 = 0

    public init(_ source: any ByteSource) { self.source = source }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let read = try source.read(into: buffer)
        hasher?.update(UnsafeRawBufferPointer(rebasing: buffer[..<read]))
        count += Int64(read)
        return read
    }

    /// The digest of all that was read; the source is not to be read afterwards.
    public func finish() -> Digest {
        if let digest { return digest }
        let result = hasher.take()?.finish() ?? Digest.sha256([])
        digest = result
        return result
    }
}
