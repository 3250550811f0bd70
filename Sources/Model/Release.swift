import Base

/// One version of one application: everything a device needs to know to run it, by digest.
///
/// Serialised as the TUF target `<app>/<version>.release.json`. Values only; how a release is built from
/// a Compose file is `Compose`, how it becomes trusted is `Trust`, how it runs is `AgentCore`.
public struct Release: Hashable, Sendable, Codable {
    /// The major version of the document's format that this code reads and writes.
    public static let currentSchema = 1

    public var schema: Int
    /// 1-63 characters of `a-z`, `0-9` and `-`, starting with a letter.
    public var app: String
    public var version: SemanticVersion
    /// The release's place in the order of the app's releases; only grows.
    public var ctr: Int64
    /// Security floor: a device that committed epoch n refuses every release of a lower epoch.
    public var epoch: Int64
    /// What a device must be to run this; an empty field asks nothing.
    public var requirements: Requirements
    /// Names to services; iteration order is by name.
    public var services: [String: Service]
    public var networks: [String: Network]
    public var volumes: [String: Volume]
    /// Configs and secrets by name; contents are blobs.
    public var files: [String: ConfigFile]
    /// Every image once, by manifest digest text.
    public var images: [String: Image]
    public var update: UpdatePolicy
    /// Deltas that this release can be reached by.
    public var deltas: [LayerDelta]
    /// Set in a release of the agent itself, which then has no services, images or anything else to run.
    public var agent: AgentProgram?

    public init(
        app: String, version: SemanticVersion, ctr: Int64, epoch: Int64 = 0, requirements: Requirements = .init(),
        services: [String: Service], networks: [String: Network] = [:], volumes: [String: Volume] = [:],
        files: [String: ConfigFile] = [:], images: [String: Image], update: UpdatePolicy = .init(),
        deltas: [LayerDelta] = [], agent: AgentProgram? = nil
    ) {
        self.schema = Self.currentSchema
        self.app = app
        self.version = version
        self.ctr = ctr
        self.epoch = epoch
        self.requirements = requirements
        self.services = services
        self.networks = networks
        self.volumes = volumes
        self.files = files
        self.images = images
        self.update = update
        self.deltas = deltas
        self.agent = agent
    }

    public struct Requirements: Hashable, Sendable, Codable {
        /// OCI architecture names (`amd64`, `arm64`); empty means any.
        public var architectures: [String]
        /// Device labels that must be equal.
        public var labels: [String: String]
        /// Names of agent features that this release needs; a device that lacks one refuses it.
        public var features: [String]

        public init(architectures: [String] = [], labels: [String: String] = [:], features: [String] = []) {
            self.architectures = architectures
            self.labels = labels
            self.features = features
        }
    }

    /// A content-addressed blob.
    public struct Blob: Hashable, Sendable, Codable {
        public var digest: Digest
        /// Bytes, exact.
        public var size: Int64
        public init(digest: Digest, size: Int64) {
            self.digest = digest
            self.size = size
        }
    }

    /// The agent's own program, for the one architecture that the release requires.
    public struct AgentProgram: Hashable, Sendable, Codable {
        public var binary: Blob
        public init(binary: Blob) { self.binary = binary }
    }

    public struct Image: Hashable, Sendable, Codable {
        /// The OCI manifest, its config, and the layers from the bottom up.
        public var manifest: Blob
        public var config: Blob
        public var layers: [Layer]
        /// The reference the operator wrote, for people; never resolved.
        public var reference: String
        public var architecture: String

        public init(manifest: Blob, config: Blob, layers: [Layer], reference: String, architecture: String) {
            self.manifest = manifest
            self.config = config
            self.layers = layers
            self.reference = reference
            self.architecture = architecture
        }
    }

    public struct Layer: Hashable, Sendable, Codable {
        /// SHA-256 of the uncompressed tar; what the image config signs.
        public var diffID: Digest
        /// The stored form.
        public var blob: Blob
        public var mediaType: String
        /// Bytes of the uncompressed tar; caps decompression.
        public var uncompressedSize: Int64

        public init(diffID: Digest, blob: Blob, mediaType: String, uncompressedSize: Int64) {
            self.diffID = diffID
            self.blob = blob
            self.mediaType = mediaType
            self.uncompressedSize = uncompressedSize
        }
    }

    /// A delta that makes one layer from others.
    public struct LayerDelta: Hashable, Sendable, Codable {
        /// The layers the delta reads, in the order it numbers them.
        public var base: [Digest]
        public var target: Digest
        public var blob: Blob
        public init(base: [Digest], target: Digest, blob: Blob) {
            self.base = base
            self.target = target
            self.blob = blob
        }
    }

    /// A config or secret as a file in the container.
    public struct ConfigFile: Hashable, Sendable, Codable {
        public var blob: Blob
        /// Secrets are kept out of logs and listings and mounted from a private directory.
        public var secret: Bool
        public init(blob: Blob, secret: Bool) {
            self.blob = blob
            self.secret = secret
        }
    }

    public struct Network: Hashable, Sendable, Codable {
        public var driver: String?
        public var `internal`: Bool
        public var ipv6: Bool
        public var labels: [String: String]
        public var driverOptions: [String: String]
        public var subnets: [Subnet]
        public struct Subnet: Hashable, Sendable, Codable {
            public var subnet: String
            public var gateway: String?
            public init(subnet: String, gateway: String? = nil) {
                self.subnet = subnet
                self.gateway = gateway
            }
        }
        public init(
            driver: String? = nil, internal: Bool = false, ipv6: Bool = false, labels: [String: String] = [:],
            driverOptions: [String: String] = [:], subnets: [Subnet] = []
        ) {
            self.driver = driver
            self.internal = `internal`
            self.ipv6 = ipv6
            self.labels = labels
            self.driverOptions = driverOptions
            self.subnets = subnets
        }
    }

    public struct Volume: Hashable, Sendable, Codable {
        public var driver: String?
        public var driverOptions: [String: String]
        public var labels: [String: String]
        public init(driver: String? = nil, driverOptions: [String: String] = [:], labels: [String: String] = [:]) {
            self.driver = driver
            self.driverOptions = driverOptions
            self.labels = labels
        }
    }

    /// How a device moves to this release and when it moves back.
    public struct UpdatePolicy: Hashable, Sendable, Codable {
        /// Seconds within which every service must have become healthy (or, without a health check,
        /// have kept running) after its start.
        public var healthWindowSeconds: Int
        /// Seconds that all services must then stay healthy before the release is committed.
        public var stableSeconds: Int
        /// Whether a failure leads back to the release before.
        public var rollback: Bool
        /// Whether a lock on the device keeps this release from being applied.
        public var locks: LockPolicy
        /// When devices may fetch this release and move to it; the device's own windows hold as well.
        public var windows: MaintenanceWindows?

        public enum LockPolicy: String, Hashable, Sendable, Codable, CaseIterable {
            /// The release waits until no lock holds it.
            case respect
            /// The release is applied in spite of locks: for a mend that cannot wait.
            case ignore
        }

        public init(
            healthWindowSeconds: Int = 120, stableSeconds: Int = 10, rollback: Bool = true,
            locks: LockPolicy = .respect, windows: MaintenanceWindows? = nil
        ) {
            self.healthWindowSeconds = healthWindowSeconds
            self.stableSeconds = stableSeconds
            self.rollback = rollback
            self.locks = locks
            self.windows = windows
        }
    }
}
