import Archive

/// Media types of images: OCI image-spec 1.1 and Docker image manifest version 2, schema 2.
public enum MediaType {
    public static let index = "application/vnd.oci.image.index.v1+json"
    public static let manifest = "application/vnd.oci.image.manifest.v1+json"
    public static let config = "application/vnd.oci.image.config.v1+json"
    public static let layer = "application/vnd.oci.image.layer.v1.tar"
    public static let layerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
    public static let layerZstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    public static let dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
    public static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
    public static let dockerConfig = "application/vnd.docker.container.image.v1+json"
    public static let dockerLayer = "application/vnd.docker.image.rootfs.diff.tar"
    public static let dockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"

    public static func isIndex(_ type: String) -> Bool { type == index || type == dockerIndex }
    public static func isManifest(_ type: String) -> Bool { type == manifest || type == dockerManifest }
    public static func isConfig(_ type: String) -> Bool { type == config || type == dockerConfig }

    /// How a layer of this type is compressed; nil for a type that is no layer, or one that may not be
    /// distributed (`…nondistributable…`, `…foreign…`).
    public static func layerCompression(_ type: String) -> Compression? {
        switch type {
        case layer, dockerLayer: Compression.none
        case layerGzip, dockerLayerGzip: .gzip
        case layerZstd: .zstd
        default: nil
        }
    }
}

/// Annotation keys that this project reads or writes.
public enum Annotation {
    /// The name of an image within a layout: what stands after the second colon in `oci:DIR:NAME`.
    public static let refName = "org.opencontainers.image.ref.name"
}
