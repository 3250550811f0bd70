import Archive
import Base
import ImageDelta
import ImageDeltaCreate
import Model
import OCI

/// Makes the deltas by which devices that run older releases reach a new one.
///
/// For each service, each layer that the older image lacks is made from all layers of that image. A delta that
/// saves too little is left out. Layers are unpacked beside the store and removed afterwards.
struct ReleaseDeltas {
    /// A delta must be smaller than this part of the full layer, in percent, to be worth its place.
    private static let worthwhilePercent: Int64 = 80

    let blobs: BlobStore
    let fileSystem: FileSystem
    let effort: Effort
    let report: @Sendable (ReleaseBuilder.Progress) -> Void

    /// Deltas from `older` releases to `release`, each once, in a fixed order.
    func make(for release: Release, from older: [Release]) async throws -> [Release.LayerDelta] {
        var deltas: [Release.LayerDelta] = []
        var seen: Set<[Digest]> = []
        let scratch = Path.join(blobs.root, "delta-work")
        try fileSystem.makeDirectories(scratch, op: "build.delta")
        defer { try? fileSystem.removeTree(scratch, op: "build.delta") }
        for base in older {
            for (name, service) in release.services.sorted(by: { $0.key < $1.key }) {
                guard let new = release.images[service.image], let oldService = base.services[name],
                    let old = base.images[oldService.image], old.layers.count <= DeltaFormat.baseLayerLimit
                else { continue }
                let had = Set(old.layers.map(\.diffID))
                for layer in new.layers where !had.contains(layer.diffID) {
                    let bases = old.layers.map(\.diffID)
                    guard seen.insert(bases + [layer.diffID]).inserted else { continue }
                    report(.init(task: "Delta of \(name) from \(base.version)", done: 0, total: nil))
                    if let blob = try await make(layer, from: old.layers, in: scratch) {
                        deltas.append(.init(base: bases, target: layer.diffID, blob: blob))
                    }
                }
            }
        }
        return deltas
    }

    private func make(
        _ layer: Release.Layer, from bases: [Release.Layer], in scratch: String
    ) async throws -> Release.Blob? {
        let output = Path.join(scratch, "delta")
        let paths = try bases.map { try unpack($0, in: scratch) }
        let result = try await DeltaCreate(effort: effort).run(
            bases: paths, new: try unpack(layer, in: scratch), output: output)
        guard result.size * 100 < layer.blob.size * Self.worthwhilePercent else { return nil }
        let writer = try blobs.writer()
        try writer.fill(from: try FileSource(try ReadableFile(path: output)))
        return try writer.finish()
    }

    private func unpack(_ layer: Release.Layer, in scratch: String) throws -> String {
        let path = Path.join(scratch, layer.diffID.hex + ".tar")
        if try fileSystem.status(path)?.size == layer.uncompressedSize { return path }
        guard let compression = MediaType.layerCompression(layer.mediaType) else {
            throw OCIError(.mediaType, layer.diffID.description, layer.mediaType)
        }
        let source = try compression.decompressor(
            try blobs.reader(layer.blob), outputCap: layer.uncompressedSize, windowLog: Zstd.foreignWindowLog,
            subject: "layer \(layer.diffID)")
        let file = try fileSystem.create(path, mode: 0o600, truncate: true, op: "build.delta")
        while true {
            let chunk = try source.read(count: ByteSources.chunkSize)
            if chunk.isEmpty { return path }
            try file.write(chunk)
        }
    }
}
