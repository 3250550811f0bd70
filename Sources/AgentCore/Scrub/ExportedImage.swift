import Archive
import Base
import Model
import OCI

/// Reads a `docker save` archive as it streams: hashes every file in it, and keeps those that the store lacks.
///
/// Files are known by their digests, so that the archive's layout does not matter.
actor ExportedImage {
    /// Digests of all files: layers by diffID, the config.
    private(set) var found: Set<Digest> = []
    /// What was stored.
    private(set) var kept: Set<Digest> = []

    private let store: BlobStore
    /// Files that the store lacks; one of another size is not worth writing.
    private let wanted: Set<Release.Blob>
    private var parser = TarParser(subject: "the engine's archive")
    private var hasher: SHA256Hasher? = SHA256Hasher()
    private var writer: BlobWriter?
    private var isInFile = false

    init(store: BlobStore, wanted: Set<Release.Blob>) {
        self.store = store
        self.wanted = wanted
    }

    func take(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { buffer in
            var rest = UnsafeRawBufferPointer(rebasing: buffer[...])
            while true {
                var consumed = 0
                let event = try parser.next(rest, consumed: &consumed)
                switch event {
                case .needsInput: return
                case .end: try endFile()
                case .header(let header):
                    try endFile()
                    try beginFile(header)
                case .content(let count):
                    let content = UnsafeRawBufferPointer(rebasing: rest[(consumed - count)..<consumed])
                    hasher?.update(content)
                    try writer?.write(content)
                }
                rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
            }
        }
    }

    func finish() throws {
        try endFile()
        try parser.finish()
    }

    private func beginFile(_ header: TarHeader) throws {
        hasher = SHA256Hasher()
        isInFile = true
        writer = wanted.contains { $0.size == header.size && !kept.contains($0.digest) } ? try store.writer() : nil
    }

    private func endFile() throws {
        guard isInFile, let digest = hasher.take()?.finish() else { return }
        isInFile = false
        found.insert(digest)
        defer { writer = nil }
        guard let writer else { return }
        guard wanted.contains(where: { $0.digest == digest }) else { return try writer.discard() }
        _ = try writer.finish()
        kept.insert(digest)
    }
}
