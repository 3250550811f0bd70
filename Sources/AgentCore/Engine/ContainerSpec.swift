import Base
import Model

/// Everything the engine is told about one container: the signed service, and what the device resolved for it.
///
/// The agent, not the engine, decides when a container that somebody stopped runs again, so `always` is
/// given to the engine as `unless-stopped`: an old container stopped during an update stays stopped when
/// the engine restarts.
public struct ContainerSpec: Hashable, Sendable {
    public var name: String
    public var service: Service
    /// Nil where the service says nothing: the engine then takes the container's id.
    public var hostname: String?
    /// The image's config digest, which names it in the engine whatever tags do.
    public var imageID: Digest
    public var labels: [String: String]
    /// Configs and secrets, as files of the agent mounted read-only.
    public var files: [FileBind]
    /// Engine network names; the aliases hold the service's own name.
    public var networks: [String: Service.Attachment]
    /// Volumes, binds and tmpfs; a volume's source is the engine's volume name.
    public var mounts: [Service.Mount]
    /// A digest over all of the above but the name and the labels; two specs of equal hash are the same container.
    public var hash: Digest

    public struct FileBind: Hashable, Sendable {
        /// Absolute path on the host.
        public var source: String
        /// Absolute path in the container.
        public var target: String
        public init(source: String, target: String) {
            self.source = source
            self.target = target
        }
    }

    public init(
        name: String, service: Service, hostname: String?, imageID: Digest, labels: [String: String],
        files: [FileBind], networks: [String: Service.Attachment], mounts: [Service.Mount], hash: Digest
    ) {
        self.name = name
        self.service = service
        self.hostname = hostname
        self.imageID = imageID
        self.labels = labels
        self.files = files
        self.networks = networks
        self.mounts = mounts
        self.hash = hash
    }

    /// The restart policy for the engine, see above.
    public var engineRestart: Service.Restart {
        service.restart.policy == .always
            ? Service.Restart(policy: .unlessStopped, maximumRetries: 0) : service.restart
    }
}

public struct NetworkSpec: Hashable, Sendable {
    public var name: String
    public var network: Release.Network
    /// The release's labels and ``Labels``.
    public var labels: [String: String]
    public init(name: String, network: Release.Network, labels: [String: String]) {
        self.name = name
        self.network = network
        self.labels = labels
    }
}

public struct VolumeSpec: Hashable, Sendable {
    public var name: String
    public var volume: Release.Volume
    public var labels: [String: String]
    public init(name: String, volume: Release.Volume, labels: [String: String]) {
        self.name = name
        self.volume = volume
        self.labels = labels
    }
}
