import Archive
import Base
import Glibc
import Model
import OCI

/// Times what a layer goes through: import at several levels, verified copy, decompression into the load archive.
/// Prints seconds of wall time and of CPU, throughput of the uncompressed layer, and peak resident memory.
struct Stopwatch {
    private var wall = timespec()
    private var cpu = timespec()

    init() {
        clock_gettime(CLOCK_MONOTONIC, &wall)
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu)
    }

    private static func seconds(_ from: timespec, _ to: timespec) -> Double {
        Double(to.tv_sec - from.tv_sec) + Double(to.tv_nsec - from.tv_nsec) / 1e9
    }

    func report(_ name: String, bytes: Int64, note: String = "") {
        let now = Stopwatch()
        let elapsed = Self.seconds(wall, now.wall)
        let rate = Int(Double(bytes) / 1e6 / max(elapsed, 1e-9))
        func fixed(_ value: Double) -> String { "\(Int(value * 100) / 100).\(String(Int(value * 100) % 100 + 100).dropFirst())" }
        print("| \(name) | \(fixed(elapsed)) | \(fixed(Self.seconds(cpu, now.cpu))) | \(rate) | \(peakMiB()) | \(note) |")
    }

    private func peakMiB() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss / 1024
    }
}

@main
struct BundleBench {
    static func main() async throws {
        guard CommandLine.arguments.count == 4, let step = CommandLine.arguments.dropFirst().first else {
            print("usage: bundle-bench import:LEVEL|copy|load ARCHIVE STORE")
            exit(64)
        }
        let archive = CommandLine.arguments[2]
        let store = BlobStore(root: CommandLine.arguments[3])
        let source = try SourceImage(opening: .dockerArchive(file: archive, reference: nil), architecture: nil)
        let level = Int(step.split(separator: ":").last ?? "") ?? Zstd.defaultLevel
        if step.hasPrefix("import") {
            let watch = Stopwatch()
            let image = try ImageImporter(store: store, level: level).add(source)
            let plain = image.layers.reduce(0) { $0 + $1.uncompressedSize }
            let stored = image.layers.reduce(0) { $0 + $1.blob.size }
            watch.report("import, level \(level)", bytes: plain, note: "\(stored / 1_000_000) MB stored")
            return
        }
        let blobs = try store.list()
        guard let manifest = blobs.lazy.compactMap({ blob -> ImageManifest? in
            guard blob.size < 1 << 20 else { return nil }
            return try? ImageManifest(decoding: store.document(blob, limit: 1 << 20))
        }).first else { throw OCIError(.blobMissing, store.root, "import first") }
        let layers = zip(source.layers, manifest.layers)
        if step == "copy" {
            let target = BlobStore(root: store.root + "-copy")
            try target.prepare()
            let watch = Stopwatch()
            for layer in manifest.layers { try target.ingest(layer.blob, from: store) }
            watch.report("verified copy of the blobs", bytes: manifest.layers.reduce(0) { $0 + $1.blob.size })
        } else {
            let watch = Stopwatch()
            var total: Int64 = 0
            for (plain, stored) in layers {
                let load = DockerLoadArchive(
                    configBytes: source.configBytes,
                    layers: [
                        .init(diffID: plain.diffID, size: plain.storedSize) {
                            LayerStream {
                                try ZstdDecompressor(try store.reader(stored.blob), outputCap: OCILimits.layerBytes)
                            }
                        }
                    ], tags: ["bench:1"])
                let stream = try load.stream()
                while let chunk = try await stream.next() { total += Int64(chunk.count) }
            }
            watch.report("load archive, checked", bytes: total)
        }
    }
}
