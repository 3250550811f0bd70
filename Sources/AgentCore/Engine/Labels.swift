import Base

/// Labels on every engine object that the agent made. An object without `managed` is never touched.
public enum Labels {
    public static let managed = "io.holdfast.managed"
    public static let app = "io.holdfast.app"
    public static let service = "io.holdfast.service"
    /// The digest of the release that the object was made for.
    public static let release = "io.holdfast.release"
    /// ``ContainerSpec/hash``.
    public static let config = "io.holdfast.config"
    /// The name that a network or volume has in the release.
    public static let name = "io.holdfast.name"

    public static let managedValue = "1"

    /// Repository of the tags that keep own images from being dangling: `holdfast.local/<app>:<12 hex>`.
    public static let imageRepository = "holdfast.local"
}

/// Names of engine objects, all derived, so that a step done twice meets its own first result.
public enum EngineName {
    /// `<app>-<service>-<first 8 hex of the spec's hash>`: two versions of a service have two names.
    public static func container(app: String, service: String, hash: Digest) -> String {
        "\(app)-\(service)-\(hash.hex.prefix(8))"
    }
    public static func network(app: String, name: String) -> String { "\(app)_\(name)" }
    public static func volume(app: String, name: String) -> String { "\(app)_\(name)" }
    public static func imageTag(app: String, manifest: Digest) -> String {
        "\(Labels.imageRepository)/\(app):\(manifest.short)"
    }
}
