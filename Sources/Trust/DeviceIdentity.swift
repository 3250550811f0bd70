/// What a device is, as far as selectors go.
public struct DeviceIdentity: Sendable, Equatable {
    public var id: String
    /// Given when the device was provisioned: hardware, site, fleet …
    public var labels: [String: String]
    /// OCI name: `amd64`, `arm64`, `arm`.
    public var architecture: String
    /// Abilities of the agent that a release may ask for.
    public var features: Set<String>

    public init(id: String, labels: [String: String] = [:], architecture: String, features: Set<String> = []) {
        self.id = id
        self.labels = labels
        self.architecture = architecture
        self.features = features
    }

    /// The labels that selectors see: those given, and `device` and `architecture`, which no label can hide.
    public var selectable: [String: String] {
        labels.merging(["device": id, "architecture": architecture]) { $1 }
    }
}
