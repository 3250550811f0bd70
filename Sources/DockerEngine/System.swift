import Base
import Model

/// What `GET /version` tells.
public struct EngineVersion: Sendable, Hashable {
    /// `20.10.24+dfsg1`.
    public var engine: String
    public var newestAPI: APIVersion
    public var oldestAPI: APIVersion?
    public var operatingSystem: String
    public var architecture: String
    /// `Docker`-like engines name their components; the first is the engine itself ("Engine", "Podman Engine").
    public var component: String?
}

/// What `GET /info` tells, as far as it is used.
public struct EngineInfo: Sendable, Hashable {
    /// Changes when the engine's data directory does.
    public var id: String
    /// `overlay2`, or a snapshotter's name with the containerd image store.
    public var storageDriver: String
    public var driverStatus: [[String]]
    public var dataRoot: String
    public var operatingSystem: String
    /// `x86_64`, as the kernel says.
    public var architecture: String
    public var memoryTotal: Int64
    public var cpus: Int64
    public var containersRunning: Int64
    public var liveRestore: Bool
    public var warnings: [String]

    /// Whether images live in containerd's content store instead of layer directories. Such an engine
    /// needs every layer in a `load`, and has no layer directories to read.
    public var usesContainerdImageStore: Bool {
        driverStatus.contains {
            $0.first == "driver-type" && $0.last?.hasPrefix("io.containerd.snapshotter") == true
        }
    }
    /// Whether `load` accepts an archive that leaves out layers the engine holds: measured on overlay2.
    public var loadAcceptsMissingLayers: Bool {
        storageDriver == "overlay2" && !usesContainerdImageStore
    }
}

extension EngineClient {
    /// Answers once the engine serves requests; changes nothing.
    public func ping() async throws(EngineError) {
        _ = try await unversioned("/_ping", "ping the engine")
    }

    public func version() async throws(EngineError) -> EngineVersion {
        let operation = "ask the engine's version"
        let fields = try await unversioned("/version", operation).fields()
        let newest = try fields.string("ApiVersion")
        guard let newestAPI = APIVersion(newest) else {
            throw EngineError(
                .malformed, operation: operation,
                detail: "\"\(EngineError.clean(newest))\" is no API version")
        }
        return EngineVersion(
            engine: fields.optionalString("Version") ?? "of unknown version", newestAPI: newestAPI,
            oldestAPI: fields.optionalString("MinAPIVersion").flatMap { APIVersion($0) },
            operatingSystem: fields.optionalString("Os") ?? "",
            architecture: fields.optionalString("Arch") ?? "",
            component: fields.list("Components").first?.optionalString("Name"))
    }

    public func info() async throws(EngineError) -> EngineInfo {
        let fields = try await call(.get, "/info", "ask the engine's state").fields()
        return EngineInfo(
            id: fields.optionalString("ID") ?? "", storageDriver: try fields.string("Driver"),
            driverStatus: (fields.value["DriverStatus"]?.array ?? []).map {
                ($0.array ?? []).compactMap(\.string)
            },
            dataRoot: fields.optionalString("DockerRootDir") ?? "",
            operatingSystem: fields.optionalString("OperatingSystem") ?? "",
            architecture: fields.optionalString("Architecture") ?? "",
            memoryTotal: fields.integer("MemTotal", default: 0), cpus: fields.integer("NCPU", default: 0),
            containersRunning: fields.integer("ContainersRunning", default: 0),
            liveRestore: fields.bool("LiveRestoreEnabled"), warnings: try fields.strings("Warnings"))
    }
}
