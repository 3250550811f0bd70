import AgentCore
import Base
import Model

/// Releases made up for tests: digests come from names, so equal names are equal images.
public enum Releases {
    public static func digest(_ name: String) -> Digest { Digest.sha256(Array(name.utf8)) }

    public static func image(_ name: String) -> Release.Image {
        Release.Image(
            manifest: Release.Blob(digest: digest("manifest \(name)"), size: 500),
            config: Release.Blob(digest: digest("config \(name)"), size: 300),
            layers: [
                Release.Layer(
                    diffID: digest("diff \(name)"), blob: Release.Blob(digest: digest("layer \(name)"), size: 1000),
                    mediaType: "application/vnd.oci.image.layer.v1.tar+zstd", uncompressedSize: 4096)
            ], reference: name, architecture: "amd64")
    }

    /// Services by name with the name of their image.
    public static func release(
        app: String = "shop", version: String, ctr: Int64 = 1, services: [String: String],
        configure: (inout Release) -> Void = { _ in }
    ) -> Release {
        let images = Dictionary(
            services.values.map { image($0) }.map { ($0.manifest.digest.description, $0) }, uniquingKeysWith: { $1 })
        guard let version = SemanticVersion(version) else { preconditionFailure("no version: \(version)") }
        var release = Release(
            app: app, version: version, ctr: ctr,
            services: services.mapValues { Service(image: image($0).manifest.digest.description) }, images: images,
            update: Release.UpdatePolicy(healthWindowSeconds: 30, stableSeconds: 5))
        configure(&release)
        return release
    }

    public static func pinned(_ release: Release) -> PinnedRelease {
        // Stands for the digest of the document: any change of the release changes it.
        PinnedRelease(digest: digest("\(release.hashValue)"), release: release)
    }
}
