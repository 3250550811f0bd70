import AgentCore
import Base
import Model
import Synchronization

/// A container engine in memory, with the habits of the real one that matter to the agent: names are unique,
/// ports collide at start, images in use stay, restart policies act when the engine restarts.
public final class ModelEngine: ContainerEngine {
    /// How containers of an image behave.
    public enum Behavior: Sendable, Equatable {
        /// Runs; with a health check it is healthy after so many seconds.
        case good(healthyAfter: UInt64 = 0)
        case unhealthy
        case neverHealthy
        /// Ends at once with this code; the restart policy decides what then.
        case exits(Int)
        case createFails
        case startFails
    }

    public struct Entry: Sendable {
        public var container: ManagedContainer
        public var restart: Service.Restart.Policy
        public var hasHealthcheck: Bool
        public var startedAt: UInt64
        public var isManaged: Bool

        public init(
            container: ManagedContainer, restart: Service.Restart.Policy, hasHealthcheck: Bool, startedAt: UInt64,
            isManaged: Bool
        ) {
            self.container = container
            self.restart = restart
            self.hasHealthcheck = hasHealthcheck
            self.startedAt = startedAt
            self.isManaged = isManaged
        }
    }

    public struct State: Sendable {
        public var entries: [String: Entry] = [:]
        public var images: [Digest: EngineImage] = [:]
        public var networks: [String: EngineResource] = [:]
        public var volumes: [String: EngineResource] = [:]
        /// By image config digest.
        public var behaviors: [Digest: Behavior] = [:]
        public var counter = 0
        public var isDown = false
        /// Every changing call, in order.
        public var log: [String] = []
        /// What to answer instead of doing the next calls of that operation: `start`, `load`, …
        public var faults: [String: [EngineFailure]] = [:]
        /// Layers, by diffID, whose files were altered. One lives for as long as an image has it.
        public var damagedLayers: Set<Digest> = []

        fileprivate mutating func forgetLayers() {
            damagedLayers.formIntersection(images.values.flatMap(\.diffIDs))
        }
    }

    public let state = Mutex(State())
    /// Runs in the middle of every look of the agent, after it has read its desired state.
    public let duringLook = Mutex<(@Sendable () async -> Void)?>(nil)
    private let clock: ManualClock
    /// Reads a load archive and answers the images in it; wired by tests that stream real archives.
    private let reader: @Sendable (PullSequence<[UInt8]>) async throws -> [EngineImage]

    public init(
        clock: ManualClock,
        reader: @escaping @Sendable (PullSequence<[UInt8]>) async throws -> [EngineImage] = { _ in [] }
    ) {
        self.clock = clock
        self.reader = reader
    }

    // MARK: What tests do to it

    public func update<Value: Sendable>(_ body: (inout State) -> Value) -> Value { state.withLock { body(&$0) } }

    public func behave(_ image: Digest, _ behavior: Behavior) { update { $0.behaviors[image] = behavior } }

    /// A hand kills a container: the restart policy does not act, as with `docker kill`.
    public func kill(_ name: String) {
        update {
            guard let id = Self.find(name, $0)?.container.id else { return }
            $0.entries[id]?.container.state = .exited
            $0.entries[id]?.container.exitCode = 137
            $0.entries[id]?.container.health = .none
        }
    }

    /// The engine ends and starts again: what ran and has a policy comes back, what has none ends with 255.
    public func restart() {
        let now = clock.monotonic
        update { state in
            state.isDown = false
            for (id, entry) in state.entries {
                switch entry.container.state {
                case .running, .restarting:
                    if entry.restart == .no {
                        state.entries[id]?.container.state = .exited
                        state.entries[id]?.container.exitCode = 255
                    } else {
                        state.entries[id]?.startedAt = now
                        state.entries[id]?.container.restartCount = 0
                    }
                default: continue
                }
            }
        }
    }

    public func running() -> [ManagedContainer] {
        update { state in
            state.entries.values.map(\.container).filter { $0.state == .running }.sorted { $0.name < $1.name }
        }
    }

    // MARK: Helpers

    private static func find(_ idOrName: String, _ state: State) -> Entry? {
        state.entries[idOrName] ?? state.entries.values.first { $0.container.name == idOrName }
    }

    private func call<Value: Sendable>(
        _ operation: String, _ subject: String, changes: Bool = true,
        _ body: (inout State) throws(EngineFailure) -> Value
    ) throws(EngineFailure) -> Value {
        let result: Result<Value, EngineFailure> = state.withLock { state in
            do throws(EngineFailure) {
                if state.isDown {
                    throw EngineFailure(
                        .unavailable, operation: "\(operation) \(subject)", detail: "connection refused")
                }
                if let fault = state.faults[operation]?.first {
                    state.faults[operation]?.removeFirst()
                    throw fault
                }
                if changes { state.log.append("\(operation) \(subject)") }
                return .success(try body(&state))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Brings health and crash loops up to the present time.
    private func age(_ state: inout State) {
        let now = clock.monotonic
        for (id, entry) in state.entries where entry.container.state == .running || entry.container.state == .restarting
        {
            let seconds = (now - min(now, entry.startedAt)) / 1_000_000_000
            switch state.behaviors[entry.container.imageID] ?? .good() {
            case .good(let after):
                state.entries[id]?.container.health =
                    entry.hasHealthcheck ? (seconds >= after ? .healthy : .starting) : .none
            case .unhealthy:
                state.entries[id]?.container.health =
                    entry.hasHealthcheck ? (seconds >= 2 ? .unhealthy : .starting) : .none
            case .neverHealthy:
                state.entries[id]?.container.health = entry.hasHealthcheck ? .starting : .none
            case .exits(let code):
                let restarts =
                    entry.restart == .always || entry.restart == .unlessStopped
                    || (entry.restart == .onFailure && code != 0)
                state.entries[id]?.container.exitCode = code
                state.entries[id]?.container.health = .none
                if restarts {
                    state.entries[id]?.container.state = .restarting
                    state.entries[id]?.container.restartCount = Int(seconds) + 1
                } else {
                    state.entries[id]?.container.state = .exited
                }
            case .createFails, .startFails: continue
            }
        }
    }

    // MARK: ContainerEngine

    public func version() async throws(EngineFailure) -> EngineVersion {
        try call("version", "", changes: false) { _ throws(EngineFailure) in
            EngineVersion(version: "model", apiVersion: "1.41", architecture: "amd64", storageDriver: "model")
        }
    }

    public func events() async throws(EngineFailure) -> PullSequence<EngineEvent> { PullSequence { { nil } } }

    public func containers() async throws(EngineFailure) -> [ManagedContainer] {
        try call("containers", "", changes: false) { state throws(EngineFailure) in
            age(&state)
            return state.entries.values.filter(\.isManaged).map(\.container)
        }
    }

    public func container(_ id: String) async throws(EngineFailure) -> ManagedContainer? {
        try call("container", id, changes: false) { state throws(EngineFailure) in
            age(&state)
            return Self.find(id, state).flatMap { $0.isManaged ? $0.container : nil }
        }
    }

    public func createContainer(_ spec: ContainerSpec) async throws(EngineFailure) -> String {
        try call("create", spec.name) { state throws(EngineFailure) in
            if let existing = Self.find(spec.name, state) {
                guard existing.container.configHash == spec.hash.description, existing.isManaged else {
                    throw EngineFailure(.conflict, operation: "create \(spec.name)", detail: "name is taken")
                }
                return existing.container.id
            }
            guard state.images[spec.imageID] != nil else {
                throw EngineFailure(.notFound, operation: "create \(spec.name)", detail: "no such image")
            }
            if state.behaviors[spec.imageID] == .createFails {
                throw EngineFailure(.invalid, operation: "create \(spec.name)", detail: "bad parameter")
            }
            for network in spec.networks.keys where state.networks[network] == nil {
                throw EngineFailure(.notFound, operation: "create \(spec.name)", detail: "no network \(network)")
            }
            state.counter += 1
            let id = Digest.sha256(Array("container \(state.counter)".utf8)).hex
            let container = ManagedContainer(
                id: id, name: spec.name, app: spec.labels[Labels.app] ?? "", service: spec.labels[Labels.service] ?? "",
                configHash: spec.labels[Labels.config] ?? "", release: spec.labels[Labels.release] ?? "",
                imageID: spec.imageID, state: .created,
                publishedPorts: spec.service.ports.compactMap { port in
                    port.published.map { "\(port.hostIP ?? "0.0.0.0"):\($0)/\(port.protocol)" }
                }, fingerprint: spec.hash.description)
            state.entries[id] = Entry(
                container: container, restart: spec.engineRestart.policy,
                hasHealthcheck: spec.service.healthcheck != nil, startedAt: 0, isManaged: true)
            return id
        }
    }

    public func startContainer(_ id: String) async throws(EngineFailure) {
        try call("start", id) { state throws(EngineFailure) in
            guard let entry = Self.find(id, state) else {
                throw EngineFailure(.notFound, operation: "start \(id)", detail: "no such container")
            }
            guard entry.container.state != .running else { return }
            if state.behaviors[entry.container.imageID] == .startFails {
                throw EngineFailure(.cannotStart, operation: "start \(id)", detail: "exec: no such file")
            }
            let taken = Set(
                state.entries.values.filter { $0.container.state == .running && $0.container.id != entry.container.id }
                    .flatMap(\.container.publishedPorts))
            guard taken.isDisjoint(with: entry.container.publishedPorts) else {
                throw EngineFailure(.portInUse, operation: "start \(id)", detail: "port is already allocated")
            }
            let key = entry.container.id
            state.entries[key]?.container.state = .running
            state.entries[key]?.container.exitCode = 0
            state.entries[key]?.container.restartCount = 0
            state.entries[key]?.startedAt = clock.monotonic
            state.entries[key]?.container.startedAt = Int64(clock.monotonic)
            age(&state)
        }
    }

    public func stopContainer(_ id: String, grace: Duration) async throws(EngineFailure) {
        try call("stop", id) { state throws(EngineFailure) in
            guard let entry = Self.find(id, state) else { return }
            switch entry.container.state {
            case .running, .paused, .restarting:
                state.entries[entry.container.id]?.container.state = .exited
                state.entries[entry.container.id]?.container.exitCode = 143
                state.entries[entry.container.id]?.container.health = .none
            default: return
            }
        }
    }

    public func unpauseContainer(_ id: String) async throws(EngineFailure) {
        try call("unpause", id) { state throws(EngineFailure) in
            if let entry = Self.find(id, state) { state.entries[entry.container.id]?.container.state = .running }
        }
    }

    public func removeContainer(_ id: String) async throws(EngineFailure) {
        try call("remove", id) { state throws(EngineFailure) in
            if let entry = Self.find(id, state) { state.entries[entry.container.id] = nil }
        }
    }

    public func renameContainer(_ id: String, to name: String) async throws(EngineFailure) {
        try call("rename", id) { state throws(EngineFailure) in
            guard let entry = Self.find(id, state) else {
                throw EngineFailure(.notFound, operation: "rename \(id)", detail: "no such container")
            }
            state.entries[entry.container.id]?.container.name = name
        }
    }

    public func waitForExit(_ id: String, limit: Duration) async throws(EngineFailure) -> Int {
        try await container(id)?.exitCode ?? 0
    }

    public func logs(_ id: String, tail: Int?, follow: Bool) async throws(EngineFailure) -> PullSequence<LogChunk> {
        let line = Array("log of \(id)\n".utf8)
        let sent = Sent()
        return PullSequence {
            { () async throws -> LogChunk? in sent.first() ? LogChunk(stream: .stdout, bytes: line) : nil }
        }
    }

    private final class Sent: Sendable {
        private let done = Mutex(false)
        func first() -> Bool {
            done.withLock { done in
                let isFirst = !done
                done = true
                return isFirst
            }
        }
    }

    public func images() async throws(EngineFailure) -> [EngineImage] {
        try call("images", "", changes: false) { state throws(EngineFailure) in
            // As the real one's list, which has no layers.
            state.images.values.map { EngineImage(id: $0.id, tags: $0.tags, size: $0.size) }
        }
    }

    public func image(_ id: Digest) async throws(EngineFailure) -> EngineImage? {
        try call("image", id.short, changes: false) { state throws(EngineFailure) in state.images[id] }
    }

    public func presentLayers(of candidates: [Digest]) async throws(EngineFailure) -> Set<Digest> {
        try call("layers", "", changes: false) { state throws(EngineFailure) in
            let longest =
                state.images.values.map { image in
                    zip(image.diffIDs, candidates).prefix { $0.0 == $0.1 }.count
                }.max() ?? 0
            return Set(candidates.prefix(longest))
        }
    }

    public func loadImage(_ archive: PullSequence<[UInt8]>) async throws(EngineFailure) {
        let images: [EngineImage]
        do {
            images = try await reader(archive)
        } catch {
            throw EngineFailure(.digestMismatch, operation: "load", detail: String(describing: error))
        }
        try call("load", images.map(\.id.short).joined(separator: " ")) { state throws(EngineFailure) in
            for image in images { state.images[image.id] = image }
        }
    }

    public func tagImage(_ id: Digest, as reference: String) async throws(EngineFailure) {
        try call("tag", reference) { state throws(EngineFailure) in
            guard state.images[id] != nil else {
                throw EngineFailure(.notFound, operation: "tag \(reference)", detail: "no such image")
            }
            if state.images[id]?.tags.contains(reference) == false { state.images[id]?.tags.append(reference) }
        }
    }

    public func removeImage(tag reference: String) async throws(EngineFailure) {
        try call("untag", reference) { state throws(EngineFailure) in
            guard let image = state.images.values.first(where: { $0.tags.contains(reference) }) else { return }
            let isLast = image.tags == [reference]
            if isLast, state.entries.values.contains(where: { $0.container.imageID == image.id }) {
                throw EngineFailure(.conflict, operation: "untag \(reference)", detail: "image is in use")
            }
            if isLast {
                state.images[image.id] = nil
                state.forgetLayers()
            } else {
                state.images[image.id]?.tags.removeAll { $0 == reference }
            }
        }
    }

    public func networks() async throws(EngineFailure) -> [EngineResource] {
        try call("networks", "", changes: false) { state throws(EngineFailure) in Array(state.networks.values) }
    }
    public func createNetwork(_ spec: NetworkSpec) async throws(EngineFailure) {
        try call("create-network", spec.name) { state throws(EngineFailure) in
            state.networks[spec.name] = EngineResource(
                name: spec.name, app: spec.labels[Labels.app] ?? "", configHash: spec.labels[Labels.config] ?? "")
        }
    }
    public func removeNetwork(_ name: String) async throws(EngineFailure) {
        try call("remove-network", name) { state throws(EngineFailure) in state.networks[name] = nil }
    }
    public func volumes() async throws(EngineFailure) -> [EngineResource] {
        await duringLook.withLock { $0 }?()
        return try call("volumes", "", changes: false) { state throws(EngineFailure) in Array(state.volumes.values) }
    }
    public func createVolume(_ spec: VolumeSpec) async throws(EngineFailure) {
        try call("create-volume", spec.name) { state throws(EngineFailure) in
            if state.volumes[spec.name] == nil {
                state.volumes[spec.name] = EngineResource(
                    name: spec.name, app: spec.labels[Labels.app] ?? "", configHash: spec.labels[Labels.config] ?? "")
            }
        }
    }
    public func removeVolume(_ name: String) async throws(EngineFailure) {
        try call("remove-volume", name) { state throws(EngineFailure) in state.volumes[name] = nil }
    }
}
