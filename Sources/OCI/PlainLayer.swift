import Base
import Model

extension Release.Layer {
    /// The layer's uncompressed tar as a blob: what a delta makes. Its name is the diffID, so a store holds it
    /// like any other content.
    public var plainBlob: Release.Blob { Release.Blob(digest: diffID, size: uncompressedSize) }
}

extension BlobSource {
    /// Whether a layer is there, in its stored form or as a plain tar.
    public func holds(_ layer: Release.Layer) throws -> Bool {
        if try blobSize(layer.blob.digest) == layer.blob.size { return true }
        return try blobSize(layer.diffID) == layer.uncompressedSize
    }
}
