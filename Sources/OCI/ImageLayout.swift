import Archive
import Base
import Model

/// An OCI image layout: `oci-layout`, `index.json` and blobs, in a folder or a tar file.
public struct ImageLayout: Sendable {
    /// `oci-layout` of the only version there is.
    public static let version = "1.0.0"
    static let markerBytes = 4096

    public let tree: any FileTree
    public let blobs: LayoutBlobs
    public let index: ImageIndex

    public init(_ tree: any FileTree) throws {
        guard let marker = try tree.read("oci-layout", limit: Self.markerBytes) else {
            throw OCIError(.layout, tree.location, "oci-layout is missing")
        }
        let reader = try DocumentReader(marker, limit: Self.markerBytes, subject: "\(tree.location): oci-layout")
        guard reader.value["imageLayoutVersion"]?.string == Self.version else {
            throw OCIError(.layout, tree.location, "imageLayoutVersion is not \(Self.version)")
        }
        guard let bytes = try tree.read("index.json", limit: OCILimits.manifestBytes) else {
            throw OCIError(.layout, tree.location, "index.json is missing")
        }
        self.tree = tree
        blobs = LayoutBlobs(tree)
        index = try ImageIndex(decoding: bytes, subject: "\(tree.location): index.json")
    }

    /// The bytes of `oci-layout`.
    public static func marker() throws -> [UInt8] {
        try JSONValue.object(["imageLayoutVersion": .string(version)]).serialized(.compact)
    }

    /// Names that images have in this layout.
    public var tags: [String] { index.manifests.compactMap { $0.annotations[Annotation.refName] }.sorted() }

    /// The one image of a name and an architecture.
    ///
    /// - Parameters:
    ///   - tag: nil takes the only image, or chooses by architecture alone.
    ///   - architecture: OCI name; nil when the choice is not needed.
    public func manifest(tag: String?, architecture: String?) throws -> (Descriptor, ImageManifest) {
        var candidates = index.manifests
        if let tag {
            candidates = candidates.filter { $0.annotations[Annotation.refName] == tag }
            guard !candidates.isEmpty else {
                throw OCIError(.tag, tree.location, "no \"\(tag)\"; there is \(tags.joined(separator: ", "))")
            }
        }
        return try choose(candidates, architecture: architecture, depth: 0)
    }

    private func choose(
        _ candidates: [Descriptor], architecture: String?, depth: Int
    ) throws -> (Descriptor, ImageManifest) {
        var candidates = Array(Set(candidates))
        if candidates.count > 1, let architecture {
            let fitting = candidates.filter { $0.platform?.architecture == architecture && $0.platform?.os == "linux" }
            guard !fitting.isEmpty else { throw platformError(candidates, architecture) }
            candidates = fitting
        }
        guard let only = candidates.first, candidates.count == 1 else {
            let names = candidates.compactMap { $0.annotations[Annotation.refName] ?? $0.platform?.description }
            throw OCIError(.tag, tree.location, "one of \(names.sorted().joined(separator: ", "))")
        }
        if MediaType.isIndex(only.mediaType) {
            guard depth < OCILimits.indexDepth else {
                throw OCIError(.limit, tree.location, "indexes nested deeper than \(OCILimits.indexDepth)")
            }
            let bytes = try blobs.document(only.blob, limit: OCILimits.manifestBytes)
            let inner = try ImageIndex(decoding: bytes, subject: only.blob.digest.description)
            return try choose(inner.manifests, architecture: architecture, depth: depth + 1)
        }
        guard MediaType.isManifest(only.mediaType) else {
            throw OCIError(.mediaType, only.blob.digest.description, only.mediaType)
        }
        let bytes = try blobs.document(only.blob, limit: OCILimits.manifestBytes)
        return (only, try ImageManifest(decoding: bytes, subject: only.blob.digest.description))
    }

    private func platformError(_ candidates: [Descriptor], _ architecture: String) -> OCIError {
        let platforms = candidates.compactMap { $0.platform?.description }.sorted().joined(separator: ", ")
        return OCIError(.platform, tree.location, "wanted \(architecture), there is \(platforms)")
    }
}
