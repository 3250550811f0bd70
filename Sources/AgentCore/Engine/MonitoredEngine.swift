import Base
import Model

/// Passes every changing call through a ``DurabilityMonitor``, so that a crash test can count and break them.
public struct MonitoredEngine: ContainerEngine {
    private let base: any ContainerEngine
    private let monitor: DurabilityMonitor

    public init(_ base: any ContainerEngine, monitor: DurabilityMonitor) {
        self.base = base
        self.monitor = monitor
    }

    private func admit(_ label: String, _ subject: String) throws(EngineFailure) {
        switch monitor.willPerform(DurableOperation(kind: .engineCall, label: label, subject: subject)) {
        case .perform: return
        case .tear, .fail:
            throw EngineFailure(.unavailable, operation: "\(label) \(subject)", detail: "injected fault")
        }
    }

    public func version() async throws(EngineFailure) -> EngineVersion { try await base.version() }
    public func events() async throws(EngineFailure) -> PullSequence<EngineEvent> { try await base.events() }
    public func containers() async throws(EngineFailure) -> [ManagedContainer] { try await base.containers() }
    public func container(_ id: String) async throws(EngineFailure) -> ManagedContainer? {
        try await base.container(id)
    }
    public func createContainer(_ spec: ContainerSpec) async throws(EngineFailure) -> String {
        try admit("create-container", spec.name)
        return try await base.createContainer(spec)
    }
    public func startContainer(_ id: String) async throws(EngineFailure) {
        try admit("start-container", id)
        try await base.startContainer(id)
    }
    public func stopContainer(_ id: String, grace: Duration) async throws(EngineFailure) {
        try admit("stop-container", id)
        try await base.stopContainer(id, grace: grace)
    }
    public func unpauseContainer(_ id: String) async throws(EngineFailure) {
        try admit("unpause-container", id)
        try await base.unpauseContainer(id)
    }
    public func removeContainer(_ id: String) async throws(EngineFailure) {
        try admit("remove-container", id)
        try await base.removeContainer(id)
    }
    public func renameContainer(_ id: String, to name: String) async throws(EngineFailure) {
        try admit("rename-container", id)
        try await base.renameContainer(id, to: name)
    }
    public func waitForExit(_ id: String, limit: Duration) async throws(EngineFailure) -> Int {
        try await base.waitForExit(id, limit: limit)
    }
    public func logs(_ id: String, tail: Int?, follow: Bool) async throws(EngineFailure) -> PullSequence<LogChunk> {
        try await base.logs(id, tail: tail, follow: follow)
    }
    public func images() async throws(EngineFailure) -> [EngineImage] { try await base.images() }
    public func image(_ id: Digest) async throws(EngineFailure) -> EngineImage? { try await base.image(id) }
    public func presentLayers(of candidates: [Digest]) async throws(EngineFailure) -> Set<Digest> {
        try await base.presentLayers(of: candidates)
    }
    public func loadImage(_ archive: PullSequence<[UInt8]>) async throws(EngineFailure) {
        try admit("load-image", "archive")
        try await base.loadImage(archive)
    }
    public func tagImage(_ id: Digest, as reference: String) async throws(EngineFailure) {
        try admit("tag-image", reference)
        try await base.tagImage(id, as: reference)
    }
    public func removeImage(tag reference: String) async throws(EngineFailure) {
        try admit("remove-image", reference)
        try await base.removeImage(tag: reference)
    }
    public func networks() async throws(EngineFailure) -> [EngineResource] { try await base.networks() }
    public func createNetwork(_ spec: NetworkSpec) async throws(EngineFailure) {
        try admit("create-network", spec.name)
        try await base.createNetwork(spec)
    }
    public func removeNetwork(_ name: String) async throws(EngineFailure) {
        try admit("remove-network", name)
        try await base.removeNetwork(name)
    }
    public func volumes() async throws(EngineFailure) -> [EngineResource] { try await base.volumes() }
    public func createVolume(_ spec: VolumeSpec) async throws(EngineFailure) {
        try admit("create-volume", spec.name)
        try await base.createVolume(spec)
    }
    public func removeVolume(_ name: String) async throws(EngineFailure) {
        try admit("remove-volume", name)
        try await base.removeVolume(name)
    }
}
