import Base
import Model

/// The bytes of releases on this device, as the reconciler needs them. The blob store is one; tests have another.
public struct ReleaseContent: Sendable {
    /// Blobs of the release that are not there whole; layers only where `images` names their config digest.
    public var missing: @Sendable (_ release: Release, _ images: Set<Digest>) async throws -> [Digest]
    /// A `docker load` archive of one image without the layers of `present` (diffIDs). Each blob is checked
    /// against its digest, each layer against its diffID, as it streams.
    public var archive: @Sendable (_ image: Release.Image, _ present: Set<Digest>) async throws -> PullSequence<[UInt8]>
    /// A small blob whole, its digest checked.
    public var read: @Sendable (_ blob: Release.Blob) async throws -> [UInt8]
    /// Removes every blob that is not in `kept`; answers the bytes freed.
    public var prune: @Sendable (_ kept: Set<Digest>) async throws -> Int64
    /// Removes what interrupted writes left; where an import is to go on, not what it can take up.
    public var clearStaging: @Sendable (_ isResumable: Bool) async throws -> Void
    /// Hands a large blob over piece by piece, its digest checked at the end.
    public var stream: @Sendable (_ blob: Release.Blob, _ each: (UnsafeRawBufferPointer) throws -> Void) throws -> Void

    public init(
        missing: @escaping @Sendable (_ release: Release, _ images: Set<Digest>) async throws -> [Digest],
        archive:
            @escaping @Sendable (_ image: Release.Image, _ present: Set<Digest>) async throws -> PullSequence<[UInt8]>,
        read: @escaping @Sendable (_ blob: Release.Blob) async throws -> [UInt8],
        prune: @escaping @Sendable (_ kept: Set<Digest>) async throws -> Int64,
        clearStaging: @escaping @Sendable (_ isResumable: Bool) async throws -> Void = { _ in },
        stream:
            @escaping @Sendable (_ blob: Release.Blob, _ each: (UnsafeRawBufferPointer) throws -> Void) throws -> Void =
            {
                blob, _ in throw AgentError(.missingContent, "blob \(blob.digest.short) is not here")
            }
    ) {
        self.missing = missing
        self.archive = archive
        self.read = read
        self.prune = prune
        self.clearStaging = clearStaging
        self.stream = stream
    }
}

extension Release {
    /// Names under which this release's content may be stored: its blobs' digests, and its layers' diffIDs.
    public var contentDigests: Set<Digest> {
        Set(contentBlobs.map(\.digest) + images.values.flatMap { $0.layers.map(\.diffID) })
    }

    /// Every blob that running this release may need, each once.
    public var contentBlobs: [Release.Blob] {
        var seen: Set<Digest> = []
        var blobs: [Release.Blob] = []
        func add(_ blob: Release.Blob) { if seen.insert(blob.digest).inserted { blobs.append(blob) } }
        for image in images.sorted(by: { $0.key < $1.key }).map(\.value) {
            add(image.manifest)
            add(image.config)
            for layer in image.layers { add(layer.blob) }
        }
        for file in files.sorted(by: { $0.key < $1.key }).map(\.value) { add(file.blob) }
        if let agent { add(agent.binary) }
        return blobs
    }
}
