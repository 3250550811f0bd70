import Base
import Model

/// What a container is created from, in the engine's terms.
///
/// ``json`` is the body of `POST /containers/create`.
public struct ContainerSpec: Sendable, Hashable {
    /// Image ID or reference.
    public var image: String
    public var hostname: String?
    public var user: String?
    public var workingDirectory: String?
    /// `NAME=value`.
    public var environment: [String] = []
    /// Nil keeps the image's; empty clears it.
    public var entrypoint: [String]?
    public var command: [String]?
    public var labels: [String: String] = [:]
    public var healthcheck: Service.Healthcheck?
    public var stopSignal: String?
    /// Seconds that the engine itself waits when it stops the container.
    public var stopTimeout: Int?
    public var ports: [Service.Port] = []

    // Host side
    /// `HOST:CONTAINER[:MODE]`.
    public var binds: [String] = []
    public var mounts: [Mount] = []
    public var networkMode: String?
    public var privileged = false
    public var capAdd: [String] = []
    public var capDrop: [String] = []
    public var devices: [Service.Device] = []
    public var restart: Service.Restart?
    public var resources = Service.Resources()
    public var logging: Service.Logging?
    public var extraHosts: [String] = []
    public var sysctls: [String: String] = [:]
    public var readOnly = false
    public var initProcess: Bool?
    public var shmSize: Int64?
    public var ulimits: [String: Service.Ulimit] = [:]
    public var securityOpt: [String] = []
    /// The network that the container is created in; others are connected afterwards.
    public var endpoint: Endpoint?

    public init(image: String) { self.image = image }

    public struct Mount: Sendable, Hashable {
        public var kind: Service.Mount.Kind
        /// Volume name or host path; nil for tmpfs and anonymous volumes.
        public var source: String?
        public var target: String
        public var readOnly: Bool
        public var tmpfsSize: Int64?
        public var tmpfsMode: UInt32?
        public var propagation: String?
        public var noCopy: Bool
        /// Volume only: labels of a volume that the engine makes for this mount.
        public var volumeLabels: [String: String]

        public init(
            kind: Service.Mount.Kind, source: String?, target: String, readOnly: Bool = false,
            tmpfsSize: Int64? = nil, tmpfsMode: UInt32? = nil, propagation: String? = nil,
            noCopy: Bool = false,
            volumeLabels: [String: String] = [:]
        ) {
            self.kind = kind
            self.source = source
            self.target = target
            self.readOnly = readOnly
            self.tmpfsSize = tmpfsSize
            self.tmpfsMode = tmpfsMode
            self.propagation = propagation
            self.noCopy = noCopy
            self.volumeLabels = volumeLabels
        }
    }

    /// A container's place in a network.
    public struct Endpoint: Sendable, Hashable {
        public var network: String
        public var aliases: [String]
        public var ipv4Address: String?
        public var ipv6Address: String?
        public init(
            network: String, aliases: [String] = [], ipv4Address: String? = nil,
            ipv6Address: String? = nil
        ) {
            self.network = network
            self.aliases = aliases
            self.ipv4Address = ipv4Address
            self.ipv6Address = ipv6Address
        }

        var json: JSONValue {
            var object: [String: JSONValue] = ["Aliases": .strings(aliases)]
            var ipam: [String: JSONValue] = [:]
            ipam["IPv4Address"] = ipv4Address.map { .string($0) }
            ipam["IPv6Address"] = ipv6Address.map { .string($0) }
            if !ipam.isEmpty { object["IPAMConfig"] = .object(ipam) }
            return .object(object)
        }
    }
}

// MARK: - JSON

extension JSONValue {
    static func strings(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
    static func stringMap(_ map: [String: String]) -> JSONValue {
        .object(map.mapValues { .string($0) })
    }
}

extension ContainerSpec {
    /// The body of `POST /containers/create`.
    public var json: JSONValue {
        var object: [String: JSONValue] = ["Image": .string(image)]
        object["Hostname"] = hostname.map { .string($0) }
        object["User"] = user.map { .string($0) }
        object["WorkingDir"] = workingDirectory.map { .string($0) }
        if !environment.isEmpty { object["Env"] = .strings(environment) }
        object["Entrypoint"] = entrypoint.map(Self.cleared)
        object["Cmd"] = command.map { .strings($0) }
        if !labels.isEmpty { object["Labels"] = .stringMap(labels) }
        object["Healthcheck"] = healthcheck.map(Self.json)
        object["StopSignal"] = stopSignal.map { .string($0) }
        object["StopTimeout"] = stopTimeout.map { .integer(Int64($0)) }
        if !ports.isEmpty {
            let exposed = ports.map { (Self.portKey($0), JSONValue.object([:])) }
            object["ExposedPorts"] = .object(Dictionary(exposed, uniquingKeysWith: { $1 }))
        }
        object["HostConfig"] = hostConfig
        if let endpoint {
            object["NetworkingConfig"] = ["EndpointsConfig": .object([endpoint.network: endpoint.json])]
        }
        return .object(object)
    }

    /// The engine takes an empty list for "as the image has it"; one empty string clears an entrypoint.
    private static func cleared(_ words: [String]) -> JSONValue {
        .strings(words.isEmpty ? [""] : words)
    }

    private static func portKey(_ port: Service.Port) -> String { "\(port.target)/\(port.protocol)" }

    private static func json(_ check: Service.Healthcheck) -> JSONValue {
        var object: [String: JSONValue] = [:]
        if !check.test.isEmpty { object["Test"] = .strings(check.test) }
        if check.interval > 0 { object["Interval"] = .integer(check.interval) }
        if check.timeout > 0 { object["Timeout"] = .integer(check.timeout) }
        if check.startPeriod > 0 { object["StartPeriod"] = .integer(check.startPeriod) }
        if check.retries > 0 { object["Retries"] = .integer(Int64(check.retries)) }
        return .object(object)
    }

    private var hostConfig: JSONValue {
        var object: [String: JSONValue] = [:]
        if !binds.isEmpty { object["Binds"] = .strings(binds) }
        if !mounts.isEmpty { object["Mounts"] = .array(mounts.map(\.json)) }
        object["NetworkMode"] = (networkMode ?? endpoint?.network).map { .string($0) }
        if privileged { object["Privileged"] = true }
        if !capAdd.isEmpty { object["CapAdd"] = .strings(capAdd) }
        if !capDrop.isEmpty { object["CapDrop"] = .strings(capDrop) }
        if !devices.isEmpty {
            object["Devices"] = .array(
                devices.map { device in
                    [
                        "PathOnHost": .string(device.host), "PathInContainer": .string(device.container),
                        "CgroupPermissions": .string(device.permissions),
                    ]
                })
        }
        object["RestartPolicy"] = restart.map { restart in
            [
                "Name": .string(restart.policy.rawValue),
                "MaximumRetryCount": .integer(
                    Int64(restart.policy == .onFailure ? restart.maximumRetries : 0)),
            ]
        }
        object["NanoCpus"] = resources.nanoCPUs.map { .integer($0) }
        object["Memory"] = resources.memory.map { .integer($0) }
        object["MemoryReservation"] = resources.memoryReservation.map { .integer($0) }
        object["PidsLimit"] = resources.pids.map { .integer($0) }
        object["LogConfig"] = logging.map { logging in
            ["Type": .string(logging.driver ?? ""), "Config": .stringMap(logging.options)]
        }
        if !extraHosts.isEmpty { object["ExtraHosts"] = .strings(extraHosts) }
        if !sysctls.isEmpty { object["Sysctls"] = .stringMap(sysctls) }
        if readOnly { object["ReadonlyRootfs"] = true }
        object["Init"] = initProcess.map { .bool($0) }
        object["ShmSize"] = shmSize.map { .integer($0) }
        if !ulimits.isEmpty {
            object["Ulimits"] = .array(ulimits.sorted { $0.key < $1.key }.map(Self.json))
        }
        if !securityOpt.isEmpty { object["SecurityOpt"] = .strings(securityOpt) }
        if !ports.isEmpty { object["PortBindings"] = portBindings }
        return .object(object)
    }

    private static func json(_ name: String, _ limit: Service.Ulimit) -> JSONValue {
        ["Name": .string(name), "Soft": .integer(limit.soft), "Hard": .integer(limit.hard)]
    }

    private var portBindings: JSONValue {
        var bindings: [String: [JSONValue]] = [:]
        for port in ports {
            bindings[Self.portKey(port), default: []].append([
                "HostIp": .string(port.hostIP ?? ""),
                "HostPort": .string(port.published.map { "\($0)" } ?? ""),
            ])
        }
        return .object(bindings.mapValues { .array($0) })
    }
}

extension ContainerSpec.Mount {
    var json: JSONValue {
        var object: [String: JSONValue] = [
            "Type": .string(kind.rawValue), "Target": .string(target), "ReadOnly": .bool(readOnly),
        ]
        object["Source"] = source.map { .string($0) }
        switch kind {
        case .tmpfs:
            var options: [String: JSONValue] = [:]
            options["SizeBytes"] = tmpfsSize.map { .integer($0) }
            options["Mode"] = tmpfsMode.map { .integer(Int64($0)) }
            if !options.isEmpty { object["TmpfsOptions"] = .object(options) }
        case .bind:
            if let propagation { object["BindOptions"] = ["Propagation": .string(propagation)] }
        case .volume:
            var options: [String: JSONValue] = [:]
            if noCopy { options["NoCopy"] = true }
            if !volumeLabels.isEmpty { options["Labels"] = .stringMap(volumeLabels) }
            if !options.isEmpty { object["VolumeOptions"] = .object(options) }
        }
        return .object(object)
    }
}
