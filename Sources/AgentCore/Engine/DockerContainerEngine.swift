import Base
import DockerEngine
import Model

/// The Docker Engine as the reconciler sees it.
///
/// Only engines that keep images in their own layer store are driven (`overlay2` and its kin): with the containerd
/// image store an image's ID is not the digest that was signed, so what runs could not be told from what was meant.
public struct DockerContainerEngine: ContainerEngine {
    private let client: EngineClient

    /// Most images looked at to find the layers that the engine holds.
    static let inspectedImageLimit = 500
    /// Longest wait for a removal that the engine has under way.
    static let removalWait = Duration.seconds(20)

    public init(_ client: EngineClient) { self.client = client }

    // MARK: The engine

    public func version() async throws(EngineFailure) -> EngineVersion {
        try await sorted { () async throws(EngineError) in
            let version = try await client.version()
            // Its Docker-compatible API renames images and differs in what the agent reads of containers.
            guard version.component?.hasPrefix("Podman") != true else {
                throw EngineError(
                    .version, operation: "use the engine \(version.engine)",
                    detail: "it is Podman, whose Docker-compatible API is not close enough for signed images")
            }
            let info = try await client.info()
            guard !info.usesContainerdImageStore else {
                throw EngineError(
                    .version, operation: "use the engine \(version.engine)",
                    detail: "it keeps images in the containerd store, where an image's ID is not its signed digest; "
                        + "set \"features\": {\"containerd-snapshotter\": false} in the engine's configuration")
            }
            return EngineVersion(
                version: version.engine, apiVersion: try await client.apiVersion().description,
                architecture: version.architecture, storageDriver: info.storageDriver,
                dataRoot: info.dataRoot.isEmpty ? nil : info.dataRoot)
        }
    }

    public func events() async throws(EngineFailure) -> PullSequence<EngineEvent> {
        try await sorted { () async throws(EngineError) in try await self.client.ping() }
        let client = client
        return .produced { push in
            try await Self.translating {
                try await client.events { event in
                    guard let kind = EngineEvent.Kind(rawValue: event.kind) else { return }
                    try await push(EngineEvent(kind: kind, action: event.action, id: event.subject))
                }
            }
        }
    }

    // MARK: Containers

    public func containers() async throws(EngineFailure) -> [ManagedContainer] {
        try await sorted { () async throws(EngineError) in
            let label = "\(Labels.managed)=\(Labels.managedValue)"
            var output: [ManagedContainer] = []
            for summary in try await client.listContainers(labels: [label]) {
                if let container = try await self.managed(summary.id) { output.append(container) }
            }
            return output
        }
    }

    public func container(_ id: String) async throws(EngineFailure) -> ManagedContainer? {
        try await sorted { () async throws(EngineError) in try await self.managed(id) }
    }

    /// Nil when it is gone or not managed.
    private func managed(_ id: String) async throws(EngineError) -> ManagedContainer? {
        do throws(EngineError) {
            return ManagedContainer(try await client.inspectContainerDocument(id))
        } catch let error where error.reason == .notFound {
            return nil
        }
    }

    public func createContainer(_ spec: ContainerSpec) async throws(EngineFailure) -> String {
        try await sorted { () async throws(EngineError) in
            let plan = DockerSpec(spec)
            let id: String
            do throws(EngineError) {
                id = try await client.createContainer(name: spec.name, plan.container)
            } catch let error where error.reason == .conflict {
                guard let present = try await self.managed(spec.name),
                    present.configHash == spec.labels[Labels.config]
                else { throw error }
                id = present.id
            }
            try await self.connectMissing(id)
            return id
        }
    }

    /// A container is created in one network (all that API versions before 1.44 allow) and joins the others afterwards. What it is to join
    /// stands in a label, so that a start after a crash between the two still finds it.
    private func connectMissing(_ id: String) async throws(EngineError) {
        let details = try await client.inspectContainer(id)
        guard let text = details.labels[DockerSpec.endpointsLabel] else { return }
        for endpoint in DockerSpec.endpoints(text) where details.networks[endpoint.network] == nil {
            try await client.connect(id, to: endpoint)
        }
    }

    public func startContainer(_ id: String) async throws(EngineFailure) {
        do throws(EngineError) {
            let details = try await client.inspectContainer(id)
            if details.state == .created { try await connectMissing(id) }
            guard details.state != .running else { return }
            try await client.startContainer(id)
        } catch {
            throw EngineFailure(error, starting: true)
        }
    }

    public func stopContainer(_ id: String, grace: Duration) async throws(EngineFailure) {
        try await tolerating(.notFound) { () async throws(EngineError) in
            do throws(EngineError) {
                try await client.stopContainer(id, grace: grace)
            } catch let error where error.reason == .conflict && error.detail.contains("paused") {
                try await client.unpauseContainer(id)
                try await client.stopContainer(id, grace: grace)
            }
        }
    }

    public func unpauseContainer(_ id: String) async throws(EngineFailure) {
        try await sorted { () async throws(EngineError) in try await client.unpauseContainer(id) }
    }

    public func removeContainer(_ id: String) async throws(EngineFailure) {
        try await tolerating(.notFound) { () async throws(EngineError) in
            do throws(EngineError) {
                try await client.removeContainer(id, force: true)
            } catch let error where error.reason == .conflict && error.detail.contains("in progress") {
                let deadline = ContinuousClock.now + Self.removalWait
                while ContinuousClock.now < deadline {
                    // Throws `not-found`, the wanted end, once it is gone.
                    _ = try await client.inspectContainer(id)
                    try? await Task.sleep(for: .milliseconds(100))
                    if Task.isCancelled { break }
                }
                throw error
            }
        }
    }

    public func renameContainer(_ id: String, to name: String) async throws(EngineFailure) {
        try await sorted { () async throws(EngineError) in try await client.renameContainer(id, to: name) }
    }

    public func waitForExit(_ id: String, limit: Duration) async throws(EngineFailure) -> Int {
        try await sorted { () async throws(EngineError) in Int(try await client.waitContainer(id, limit: limit)) }
    }

    public func logs(_ id: String, tail: Int?, follow: Bool) async throws(EngineFailure) -> PullSequence<LogChunk> {
        try await sorted { () async throws(EngineError) in _ = try await self.client.inspectContainer(id) }
        let client = client
        return .produced { push in
            try await Self.translating {
                try await client.containerLogs(id, LogOptions(tail: tail, follow: follow)) { chunk in
                    try await push(LogChunk(stream: chunk.stream == .stderr ? .stderr : .stdout, bytes: chunk.bytes))
                }
            }
        }
    }

    // MARK: Images

    public func images() async throws(EngineFailure) -> [EngineImage] {
        try await sorted { () async throws(EngineError) in
            try await client.listImages().compactMap { image in
                Digest(image.id).map { EngineImage(id: $0, tags: image.tags, size: image.size) }
            }
        }
    }

    public func image(_ id: Digest) async throws(EngineFailure) -> EngineImage? {
        try await sorted { () async throws(EngineError) in
            guard let image = try await client.findImage(id.description), Digest(image.id) == id else { return nil }
            let layers = image.layers.compactMap { Digest($0) }
            guard layers.count == image.layers.count else { return nil }
            return EngineImage(id: id, tags: image.tags, size: image.size, diffIDs: layers)
        }
    }

    public func presentLayers(of candidates: [Digest]) async throws(EngineFailure) -> Set<Digest> {
        try await sorted { () async throws(EngineError) in
            guard try await client.info().loadAcceptsMissingLayers else { return [] }
            let wanted = candidates.map(\.description)
            var longest = 0
            for summary in try await client.listImages().prefix(Self.inspectedImageLimit) where longest < wanted.count {
                guard let image = try await client.findImage(summary.id) else { continue }
                longest = max(longest, zip(wanted, image.layers).prefix { $0 == $1 }.count)
            }
            return Set(candidates.prefix(longest))
        }
    }

    public func loadImage(_ archive: PullSequence<[UInt8]>) async throws(EngineFailure) {
        let next = archive.makeAsyncIterator().nextElement
        do {
            _ = try await client.loadImage(BodyProducer(length: nil, next: next))
        } catch let error as EngineError {
            throw EngineFailure(error)
        } catch {
            throw EngineFailure(.server, operation: "load an image", detail: "\(error)")
        }
    }

    public func tagImage(_ id: Digest, as reference: String) async throws(EngineFailure) {
        try await sorted { () async throws(EngineError) in
            guard let colon = reference.lastIndex(of: ":"), !reference[colon...].contains("/") else {
                throw EngineError(
                    .argument, operation: "tag image \(id)", detail: "\"\(reference)\" is not repository:tag")
            }
            try await client.tagImage(
                id.description, repository: String(reference[..<colon]),
                tag: String(reference[reference.index(after: colon)...]))
        }
    }

    public func removeImage(tag reference: String) async throws(EngineFailure) {
        try await tolerating(.notFound) { () async throws(EngineError) in try await client.removeImage(reference) }
    }

    // MARK: Networks and volumes

    public func networks() async throws(EngineFailure) -> [EngineResource] {
        try await sorted { () async throws(EngineError) in
            try await client.listNetworks(labels: ["\(Labels.managed)=\(Labels.managedValue)"]).map {
                EngineResource(name: $0.name, labels: $0.labels)
            }
        }
    }

    public func createNetwork(_ spec: NetworkSpec) async throws(EngineFailure) {
        try await sorted { () async throws(EngineError) in
            // The engine's filter matches parts of names.
            if let present = try await client.listNetworks(names: [spec.name]).first(where: { $0.name == spec.name }) {
                guard present.labels[Labels.managed] == Labels.managedValue else {
                    throw EngineError(
                        .conflict, operation: "create network \(spec.name)",
                        detail: "a network of that name exists that Holdfast did not make")
                }
                return
            }
            _ = try await client.createNetwork(name: spec.name, spec.network, labels: spec.labels)
        }
    }

    public func removeNetwork(_ name: String) async throws(EngineFailure) {
        try await tolerating(.notFound) { () async throws(EngineError) in
            do throws(EngineError) {
                try await client.removeNetwork(name)
            } catch let error where error.reason == .refused {
                // 403 "has active endpoints".
                throw EngineError(.conflict, operation: error.operation, detail: error.detail, status: error.status)
            }
        }
    }

    public func volumes() async throws(EngineFailure) -> [EngineResource] {
        try await sorted { () async throws(EngineError) in
            try await client.listVolumes(labels: ["\(Labels.managed)=\(Labels.managedValue)"]).map {
                EngineResource(name: $0.name, labels: $0.labels)
            }
        }
    }

    public func createVolume(_ spec: VolumeSpec) async throws(EngineFailure) {
        try await sorted { () async throws(EngineError) in
            do throws(EngineError) {
                _ = try await client.inspectVolume(spec.name)
            } catch let error where error.reason == .notFound {
                try await client.createVolume(name: spec.name, spec.volume, labels: spec.labels)
            }
        }
    }

    public func removeVolume(_ name: String) async throws(EngineFailure) {
        try await tolerating(.notFound) { () async throws(EngineError) in try await client.removeVolume(name) }
    }

    // MARK: Errors

    private func sorted<Value>(_ body: () async throws(EngineError) -> Value) async throws(EngineFailure) -> Value {
        do throws(EngineError) { return try await body() } catch { throw EngineFailure(error) }
    }

    private func tolerating(
        _ reason: EngineError.Reason, _ body: () async throws(EngineError) -> Void
    ) async throws(EngineFailure) {
        do throws(EngineError) { try await body() } catch {
            guard error.reason != reason else { return }
            throw EngineFailure(error)
        }
    }

    private static func translating(_ body: () async throws -> Void) async throws {
        do { try await body() } catch let error as EngineError { throw EngineFailure(error) }
    }
}

extension EngineResource {
    init(name: String, labels: [String: String]) {
        self.init(name: name, app: labels[Labels.app] ?? "", configHash: labels[Labels.config] ?? "")
    }
}

extension EngineFailure {
    /// Sorts the engine's words by what the reconciler can do about them. The phrases are those of Docker 20.10 to 28.
    init(_ error: EngineError, starting: Bool = false) {
        let words = error.detail.lowercased()
        func says(_ phrases: String...) -> Bool { phrases.contains { words.contains($0) } }
        let reason: Reason =
            switch error.reason {
            case .unreachable, .permission, .unavailable, .truncated: .unavailable
            case .timeout: .timeout
            case .cancelled: .cancelled
            case .version: .unsupported
            case .verification: .digestMismatch
            case .malformed, .tooLarge, .producer: .server
            case .argument: .invalid
            case .notFound: .notFound
            case .badRequest, .conflict, .refused, .failed:
                if says("no space left on device", "disk quota exceeded") {
                    .noSpace
                } else if says("port is already allocated", "address already in use") {
                    .portInUse
                } else if says("invalid diffid", "layers from manifest don't match") {
                    .digestMismatch
                } else if starting, error.reason == .badRequest || Self.blamesTheContainer(words) {
                    .cannotStart
                } else {
                    switch error.reason {
                    case .badRequest: .invalid
                    case .conflict: .conflict
                    case .refused: .invalid
                    default: .server
                    }
                }
            }
        self.init(reason, operation: error.operation, detail: error.detail)
    }

    /// A start that fails within the runtime, for a reason that lies in what was asked.
    private static func blamesTheContainer(_ words: String) -> Bool {
        [
            "oci runtime", "runc", "executable file not found", "no such file or directory", "permission denied",
            "error gathering device information", "bind source path does not exist",
            "error while creating mount source",
            "cannot assign requested address", "failed to create task", "unable to find user", "sysctl",
            "error mounting", "not a directory", "invalid argument",
        ].contains { words.contains($0) }
    }
}
