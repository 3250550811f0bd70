import Archive
import Base
import Model
import OCI

extension ReleaseContent {
    /// Releases whose bytes lie in the agent's own blob store.
    public static func stored(in store: BlobStore) -> ReleaseContent {
        ReleaseContent(
            missing: { release, images in
                let needed = release.images.values.filter { images.contains($0.config.digest) }
                var blobs = try needed.flatMap { image in
                    try [image.config] + image.layers.filter { try !store.holds($0) }.map(\.blob)
                }
                blobs += release.files.values.map(\.blob)
                return try store.missing(blobs).map(\.digest).sorted()
            },
            archive: { image, present in
                // Only whole chains from the bottom can be left out.
                let omitted = image.layers.prefix { present.contains($0.diffID) }.count
                let archive = try DockerLoadArchive(image, blobs: store, tags: [], omitted: omitted)
                return PullSequence {
                    // Made on the first pull, so that an error in it reaches the one who pulls.
                    let stream = LazyStream(archive)
                    return { try await stream.next() }
                }
            },
            read: { blob in try store.document(blob, limit: Int(ReleaseSpecs.configFileLimit)) },
            prune: { kept in
                try store.prune(keeping: kept).reduce(Int64(0)) { $0 + $1.size } + store.layers.prune(keeping: kept)
            },
            clearStaging: { isResumable in
                if isResumable {
                    try store.clearUnresumable()
                    try store.layers.dropUnnamed()
                } else {
                    try store.clearStaging()
                    try store.layers.clearWork()
                }
            },
            stream: { blob, each in try store.reader(blob).forEachChunk(each) })
    }
}

private actor LazyStream {
    private let archive: DockerLoadArchive
    private var stream: DockerLoadStream?

    init(_ archive: DockerLoadArchive) { self.archive = archive }

    func next() async throws -> [UInt8]? {
        let stream = try self.stream ?? archive.stream()
        self.stream = stream
        return try await stream.next()
    }
}
