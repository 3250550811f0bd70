import Base
import Model
import OCI
import Trust

/// Names and bounds of the bundle format; docs/bundle-format.md describes it.
public enum BundleFormat {
    /// Major version that this code writes; it reads all up to this.
    public static let version = 1
    /// Releases of one bundle.
    public static let maximumReleases = 256
    /// Metadata files of one repository.
    public static let maximumMetadataFiles = 10_000

    public static let releaseMediaType = "application/vnd.holdfast.release.v1+json"
    static let versionAnnotation = "holdfast.bundle.version"
    static let appAnnotation = "holdfast.release.app"
    static let releaseVersionAnnotation = "holdfast.release.version"
    static let counterAnnotation = "holdfast.release.ctr"
    static let basesAnnotation = "holdfast.release.bases"
    static let devicesAnnotation = "holdfast.release.devices"

    static let marker = "oci-layout"
    static let index = "index.json"

    static func metadataFolder(_ repository: RepositoryName) -> String { "metadata/\(repository.rawValue)" }

    /// Place of a file in the order of the tar form; nil for a file that a bundle does not have.
    static func rank(_ path: String) -> Int? {
        switch path {
        case marker: return 0
        case index: return 1
        default: break
        }
        let parts = Path.components(path, omittingEmpty: false)
        guard parts.count == 3 else { return nil }
        if parts[0] == "metadata", RepositoryName(rawValue: String(parts[1])) != nil, parts[2].hasSuffix(".json") {
            return 2
        }
        if parts[0] == "blobs", parts[1] == "sha256", Digest(hex: String(parts[2])) != nil { return 3 }
        return nil
    }
}

extension Release {
    /// Every blob the release needs to run, each once: manifests, configs and files before layers.
    /// Deltas are not among them.
    public var requiredBlobs: [Blob] {
        var seen: Set<Digest> = []
        let ordered = images.keys.sorted().compactMap { images[$0] }
        let small = ordered.flatMap { [$0.manifest, $0.config] }
        let configured = files.keys.sorted().compactMap { files[$0]?.blob } + [agent?.binary].compactMap { $0 }
        return (small + configured + ordered.flatMap { $0.layers.map(\.blob) }).filter {
            seen.insert($0.digest).inserted
        }
    }
}
