import Archive
import Base

/// Takes in the tar of a layer whose diffID is known only at the end: compresses and hashes as it goes, and lets the
/// name appear once all of it is synced.
public final class LayerWriter {
    private let layers: LayerStore
    private let file: WritableFile
    private let writer: SeekableZstdWriter
    private var hasher: SHA256Hasher? = SHA256Hasher()

    init(_ layers: LayerStore, _ file: WritableFile) throws {
        self.layers = layers
        self.file = file
        writer = try SeekableZstdWriter(file)
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        hasher?.update(bytes)
        try writer.write(bytes)
    }

    /// Gives the layer its name if that is `wanted`, and drops it otherwise; answers whether it was.
    public func finish(as wanted: Digest) throws -> Bool {
        guard hasher.take()?.finish() == wanted else {
            try discard()
            return false
        }
        try writer.finish()
        try file.sync()
        try layers.adopt(file.path, as: wanted)
        try discard()
        return true
    }

    /// Drops what was written.
    public func discard() throws { try layers.dropUnnamed() }
}
