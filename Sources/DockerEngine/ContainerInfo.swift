import Base
import Model

/// A container as a list shows it.
public struct ContainerSummary: Sendable, Hashable {
    public var id: String
    /// Without the leading slash; the first is the container's own.
    public var names: [String]
    public var image: String
    public var imageID: String
    public var labels: [String: String]
    public var state: ContainerState
    /// For people: `Up 3 minutes (healthy)`.
    public var status: String
    /// Seconds since 1970.
    public var created: Int64

    public var name: String { names.first ?? id }
}

public enum ContainerState: String, Sendable, Hashable, CaseIterable {
    case created, running, paused, restarting, removing, exited, dead
    /// A word this client does not know.
    case unknown
}

/// A container as an inspection shows it.
public struct ContainerDetails: Sendable, Hashable {
    public enum Health: String, Sendable, Hashable {
        case none, starting, healthy, unhealthy
    }

    public var id: String
    public var name: String
    public var imageID: String
    public var state: ContainerState
    /// 0 when not running.
    public var pid: Int64
    public var exitCode: Int64
    /// The engine's own words on why the last start failed; nil when it did not.
    public var startError: String?
    public var outOfMemory: Bool
    /// Restarts that the engine made by the restart policy since the container was started by hand.
    public var restartCount: Int64
    /// RFC 3339 with nanoseconds, as the engine writes it; `0001-01-01T00:00:00Z` for never.
    public var startedAt: String
    public var finishedAt: String
    public var health: Health
    /// Output of the newest health check, at most 4 KiB as the engine keeps it.
    public var healthOutput: String?
    public var failingStreak: Int64
    public var labels: [String: String]
    public var environment: [String]
    public var restartPolicy: Service.Restart.Policy?
    public var networkMode: String
    /// Networks by name, with the container's address and aliases in each.
    public var networks: [String: Endpoint]
    /// Published ports by `80/tcp`: what is bound now, so empty while stopped.
    public var ports: [String: [Binding]]
    public var mounts: [Mount]
    public var tty: Bool
    public var logDriver: String

    public struct Endpoint: Sendable, Hashable {
        public var networkID: String
        public var ipAddress: String?
        public var aliases: [String]
    }
    public struct Binding: Sendable, Hashable {
        public var hostIP: String
        public var hostPort: String
    }
    public struct Mount: Sendable, Hashable {
        public var kind: String
        /// Volume name; nil for binds.
        public var name: String?
        public var source: String
        public var target: String
        public var writable: Bool
    }
}

extension ContainerSummary {
    init(_ fields: Fields) throws(EngineError) {
        id = try fields.string("Id")
        names = try fields.strings("Names").map { $0.hasPrefix("/") ? String($0.dropFirst()) : $0 }
        image = fields.optionalString("Image") ?? ""
        imageID = fields.optionalString("ImageID") ?? ""
        labels = fields.stringMap("Labels")
        state = ContainerState(rawValue: try fields.string("State")) ?? .unknown
        status = fields.optionalString("Status") ?? ""
        created = fields.integer("Created", default: 0)
    }
}

extension ContainerDetails {
    init(_ fields: Fields) throws(EngineError) {
        let stateFields = try fields.fields("State")
        let config = try fields.fields("Config")
        let host = try fields.fields("HostConfig")
        id = try fields.string("Id")
        let fullName = try fields.string("Name")
        name = fullName.hasPrefix("/") ? String(fullName.dropFirst()) : fullName
        imageID = try fields.string("Image")
        state = ContainerState(rawValue: try stateFields.string("Status")) ?? .unknown
        pid = stateFields.integer("Pid", default: 0)
        exitCode = stateFields.integer("ExitCode", default: 0)
        startError = stateFields.optionalString("Error").map(EngineError.clean)
        outOfMemory = stateFields.bool("OOMKilled")
        restartCount = fields.integer("RestartCount", default: 0)
        startedAt = stateFields.optionalString("StartedAt") ?? ""
        finishedAt = stateFields.optionalString("FinishedAt") ?? ""
        let healthFields = stateFields.optionalFields("Health")
        health = healthFields?.optionalString("Status").flatMap { Health(rawValue: $0) } ?? .none
        healthOutput = healthFields?.list("Log").last?.optionalString("Output").map(EngineError.clean)
        failingStreak = healthFields?.integer("FailingStreak", default: 0) ?? 0
        labels = config.stringMap("Labels")
        environment = try config.strings("Env")
        tty = config.bool("Tty")
        restartPolicy = host.optionalFields("RestartPolicy")?.optionalString("Name").flatMap {
            Service.Restart.Policy(rawValue: $0)
        }
        networkMode = host.optionalString("NetworkMode") ?? ""
        logDriver = host.optionalFields("LogConfig")?.optionalString("Type") ?? ""
        let network = fields.optionalFields("NetworkSettings")
        networks = [:]
        for (key, endpoint) in network?.members("Networks") ?? [] {
            networks[key] = Endpoint(
                networkID: endpoint.optionalString("NetworkID") ?? "",
                ipAddress: endpoint.optionalString("IPAddress"), aliases: try endpoint.strings("Aliases"))
        }
        ports = [:]
        for (key, value) in network?.value["Ports"]?.object ?? [:] {
            ports[key] = (value.array ?? []).map {
                Binding(hostIP: $0["HostIp"]?.string ?? "", hostPort: $0["HostPort"]?.string ?? "")
            }
        }
        mounts = fields.list("Mounts").map { mount in
            Mount(
                kind: mount.optionalString("Type") ?? "", name: mount.optionalString("Name"),
                source: mount.optionalString("Source") ?? "",
                target: mount.optionalString("Destination") ?? "",
                writable: mount.bool("RW"))
        }
    }
}
