import AgentCore
import Base
import Logging
import Model
import OCI
import Trust

/// What the device's side of a hub works with; put together in one place, and by tests otherwise.
public struct HubEnvironment: Sendable {
    public var settings: HubSettings
    public var layout: StateLayout
    public var fileSystem: FileSystem
    public var journal: Journal
    public var importer: Importer
    public var store: BlobStore
    public var links: TunnelLinks
    public var transport: HubTransport
    public var clock: SystemClock
    /// The clock and whether anything vouches for it.
    public var clockReading: @Sendable () -> ClockReading
    /// Sets the wall clock; tests never do.
    public var setClock: @Sendable (Timestamp) throws -> Void
    public var features: Set<String>
    public var architecture: String
    public var hostName: String
    public var buildTime: Timestamp
    /// What runs on the device, for the hub: small, and the same as long as nothing changes.
    public var summary: @Sendable () async -> JSONValue?
    /// Whether a release is being carried out.
    public var isUpdating: @Sendable () async -> Bool
    public var logger: Logger

    public init(
        settings: HubSettings, layout: StateLayout, fileSystem: FileSystem, journal: Journal, importer: Importer,
        store: BlobStore, links: TunnelLinks, transport: HubTransport, clock: SystemClock,
        clockReading: @escaping @Sendable () -> ClockReading,
        setClock: @escaping @Sendable (Timestamp) throws -> Void, features: Set<String>, architecture: String,
        hostName: String, buildTime: Timestamp, summary: @escaping @Sendable () async -> JSONValue?,
        isUpdating: @escaping @Sendable () async -> Bool, logger: Logger
    ) {
        self.settings = settings
        self.layout = layout
        self.fileSystem = fileSystem
        self.journal = journal
        self.importer = importer
        self.store = store
        self.links = links
        self.transport = transport
        self.clock = clock
        self.clockReading = clockReading
        self.setClock = setClock
        self.features = features
        self.architecture = architecture
        self.hostName = hostName
        self.buildTime = buildTime
        self.summary = summary
        self.isUpdating = isUpdating
        self.logger = logger
    }

    var files: HubFiles { HubFiles(directory: layout.hub, fileSystem: fileSystem) }
    var keys: DeviceKeys { DeviceKeys(directory: layout.hub, fileSystem: fileSystem) }
}
