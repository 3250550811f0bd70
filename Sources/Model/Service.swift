/// One container of a release, in the Compose Specification's words, resolved: variables substituted,
/// durations in nanoseconds, sizes in bytes.
public struct Service: Hashable, Sendable, Codable {
    /// Key into ``Release/images``: the manifest digest's text.
    public var image: String
    /// Nil keeps the image's; empty clears it.
    public var command: [String]?
    public var entrypoint: [String]?
    public var environment: [String: String]
    public var ports: [Port]
    public var mounts: [Mount]
    /// Networks by name; the service's own name is always an alias.
    public var networks: [String: Attachment]
    /// `none`, `host`, or nil for ``networks``.
    public var networkMode: String?
    public var devices: [Device]
    public var privileged: Bool
    public var capAdd: [String]
    public var capDrop: [String]
    public var user: String?
    public var workingDirectory: String?
    public var restart: Restart
    public var healthcheck: Healthcheck?
    public var dependsOn: [String: Dependency]
    /// Nanoseconds.
    public var stopGracePeriod: Int64
    public var stopSignal: String?
    public var resources: Resources
    public var logging: Logging?
    public var labels: [String: String]
    public var hostname: String?
    /// `host:address`, as the engine takes them.
    public var extraHosts: [String]
    public var sysctls: [String: String]
    /// Configs and secrets placed in the container: keys into ``Release/files``.
    public var files: [FileMount]
    public var readOnly: Bool
    public var `init`: Bool?
    /// Bytes.
    public var shmSize: Int64?
    public var ulimits: [String: Ulimit]
    public var securityOpt: [String]
    public var strategy: UpdateStrategy
    /// Whether the container gets a socket by which it may hold updates of its app back for a while.
    public var locks: Bool

    public init(image: String) {
        self.image = image
        environment = [:]
        ports = []
        mounts = []
        networks = [:]
        devices = []
        privileged = false
        capAdd = []
        capDrop = []
        restart = Restart(policy: .unlessStopped)
        dependsOn = [:]
        stopGracePeriod = 10_000_000_000
        resources = Resources()
        labels = [:]
        extraHosts = []
        sysctls = [:]
        files = []
        readOnly = false
        ulimits = [:]
        securityOpt = []
        strategy = .downloadThenKill
        locks = false
    }

    /// The order in which a new container takes the place of the old one.
    public enum UpdateStrategy: String, Hashable, Sendable, Codable, CaseIterable {
        /// Everything is fetched, verified and loaded; then the old stops and the new starts.
        case downloadThenKill = "download-then-kill"
        /// The old stops first, for services whose memory the load needs.
        case killThenDownload = "kill-then-download"
        /// The old container and its image go first, for devices whose disk cannot hold both.
        case deleteThenDownload = "delete-then-download"
        /// The new starts beside the old; the old stops once the new is healthy.
        case handOver = "hand-over"
    }

    public struct Port: Hashable, Sendable, Codable {
        public var hostIP: String?
        /// Nil lets the engine choose.
        public var published: UInt16?
        public var target: UInt16
        /// `tcp`, `udp` or `sctp`.
        public var `protocol`: String
        public init(hostIP: String? = nil, published: UInt16? = nil, target: UInt16, protocol: String = "tcp") {
            self.hostIP = hostIP
            self.published = published
            self.target = target
            self.protocol = `protocol`
        }
    }

    public struct Mount: Hashable, Sendable, Codable {
        public enum Kind: String, Hashable, Sendable, Codable { case volume, bind, tmpfs }
        public var kind: Kind
        /// Volume name (key into ``Release/volumes``; nil for an anonymous one) or host path.
        public var source: String?
        public var target: String
        public var readOnly: Bool
        /// Bytes; tmpfs only.
        public var tmpfsSize: Int64?
        public var tmpfsMode: UInt32?
        /// `rprivate`, `rshared`, …; bind only.
        public var propagation: String?
        /// Bind only: make the missing host directory.
        public var createHostPath: Bool
        /// Volume only: do not copy the image's content into an empty volume.
        public var noCopy: Bool
        public init(
            kind: Kind, source: String?, target: String, readOnly: Bool = false, tmpfsSize: Int64? = nil,
            tmpfsMode: UInt32? = nil, propagation: String? = nil, createHostPath: Bool = false, noCopy: Bool = false
        ) {
            self.kind = kind
            self.source = source
            self.target = target
            self.readOnly = readOnly
            self.tmpfsSize = tmpfsSize
            self.tmpfsMode = tmpfsMode
            self.propagation = propagation
            self.createHostPath = createHostPath
            self.noCopy = noCopy
        }
    }

    public struct Attachment: Hashable, Sendable, Codable {
        public var aliases: [String]
        public var ipv4Address: String?
        public var ipv6Address: String?
        public init(aliases: [String] = [], ipv4Address: String? = nil, ipv6Address: String? = nil) {
            self.aliases = aliases
            self.ipv4Address = ipv4Address
            self.ipv6Address = ipv6Address
        }
    }

    public struct Device: Hashable, Sendable, Codable {
        public var host: String
        public var container: String
        /// Any of `r`, `w`, `m`.
        public var permissions: String
        public init(host: String, container: String, permissions: String = "rwm") {
            self.host = host
            self.container = container
            self.permissions = permissions
        }
    }

    public struct Restart: Hashable, Sendable, Codable {
        public enum Policy: String, Hashable, Sendable, Codable {
            case no, always
            case onFailure = "on-failure"
            case unlessStopped = "unless-stopped"
        }
        public var policy: Policy
        /// 0 means without limit; `on-failure` only.
        public var maximumRetries: Int
        public init(policy: Policy, maximumRetries: Int = 0) {
            self.policy = policy
            self.maximumRetries = maximumRetries
        }
    }

    public struct Healthcheck: Hashable, Sendable, Codable {
        /// As the engine takes it: `["CMD", …]`, `["CMD-SHELL", text]`, `["NONE"]`; empty inherits the image's.
        public var test: [String]
        /// Nanoseconds; 0 inherits.
        public var interval: Int64
        public var timeout: Int64
        public var startPeriod: Int64
        public var retries: Int
        public init(
            test: [String], interval: Int64 = 0, timeout: Int64 = 0, startPeriod: Int64 = 0, retries: Int = 0
        ) {
            self.test = test
            self.interval = interval
            self.timeout = timeout
            self.startPeriod = startPeriod
            self.retries = retries
        }
    }

    public struct Dependency: Hashable, Sendable, Codable {
        public enum Condition: String, Hashable, Sendable, Codable {
            case started = "service_started"
            case healthy = "service_healthy"
            case completed = "service_completed_successfully"
        }
        public var condition: Condition
        /// Restart this service when the dependency is replaced.
        public var restart: Bool
        /// False lets this service start without the dependency.
        public var required: Bool
        public init(condition: Condition = .started, restart: Bool = false, required: Bool = true) {
            self.condition = condition
            self.restart = restart
            self.required = required
        }
    }

    public struct Resources: Hashable, Sendable, Codable {
        /// Billionths of a CPU.
        public var nanoCPUs: Int64?
        /// Bytes.
        public var memory: Int64?
        public var memoryReservation: Int64?
        public var pids: Int64?
        public init(
            nanoCPUs: Int64? = nil, memory: Int64? = nil, memoryReservation: Int64? = nil, pids: Int64? = nil
        ) {
            self.nanoCPUs = nanoCPUs
            self.memory = memory
            self.memoryReservation = memoryReservation
            self.pids = pids
        }
    }

    public struct Logging: Hashable, Sendable, Codable {
        public var driver: String?
        public var options: [String: String]
        public init(driver: String? = nil, options: [String: String] = [:]) {
            self.driver = driver
            self.options = options
        }
    }

    public struct FileMount: Hashable, Sendable, Codable {
        /// Key into ``Release/files``.
        public var file: String
        /// Absolute path in the container.
        public var target: String
        public var mode: UInt32
        public var uid: UInt32?
        public var gid: UInt32?
        public init(file: String, target: String, mode: UInt32 = 0o444, uid: UInt32? = nil, gid: UInt32? = nil) {
            self.file = file
            self.target = target
            self.mode = mode
            self.uid = uid
            self.gid = gid
        }
    }

    public struct Ulimit: Hashable, Sendable, Codable {
        public var soft: Int64
        public var hard: Int64
        public init(soft: Int64, hard: Int64) {
            self.soft = soft
            self.hard = hard
        }
    }
}
