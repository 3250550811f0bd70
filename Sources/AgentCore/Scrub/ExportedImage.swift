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
    /// Documents and layers (by diffID) that the store lacks; a file of another size is not worth writing.
    private let documents: Set<Release.Blob>
    private let layers: Set<Release.Blob>
    private var parser = TarParser(subject: "the engine's archive")
    private var hasher: SHA256Hasher? = SHA256Hasher()
    private var document: BlobWriter?
    private var layer: LayerWriter?
    private var isInFile = false

    init(store: BlobStore, documents: Set<Release.Blob>, layers: Set<Release.Blob>) {
        self.store = store
        self.documents = documents
        self.layers = layers
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
                    try document?.write(content)
                    try layer?.write(content)
                }
                rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
            }
        }
    }

    func finish() throws {
        try endFile()
        try parser.finish()
    }

    /// Drops what an archive that broke off left half written.
    func abandon() throws {
        try document?.discard()
        try layer?.discard()
        (document, layer) = (nil, nil)
    }

    private func beginFile(_ header: TarHeader) throws {
        hasher = SHA256Hasher()
        isInFile = true
        document = wants(documents, header) ? try store.writer() : nil
        layer = wants(layers, header) ? try store.layers.writer() : nil
    }

    private func wants(_ blobs: Set<Release.Blob>, _ header: TarHeader) -> Bool {
        blobs.contains { $0.size == header.size && !kept.contains($0.digest) }
    }

    private func endFile() throws {
        guard isInFile, let digest = hasher.take()?.finish() else { return }
        isInFile = false
        found.insert(digest)
        defer { (document, layer) = (nil, nil) }
        if let document {
            if documents.contains(where: { $0.digest == digest }) {
                _ = try document.finish()
                kept.insert(digest)
            } else {
                try document.discard()
            }
        }
        if let layer {
            if layers.contains(where: { $0.digest == digest }), try layer.finish(as: digest) {
                kept.insert(digest)
            } else {
                try layer.discard()
            }
        }
    }
}
