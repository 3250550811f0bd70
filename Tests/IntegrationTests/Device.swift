import AgentCore
import Base
import DockerEngine
import EngineTestSupport
import Logging
import Model
import Synchronization
import TestSupport
import Testing
import Trust

/// Who signs releases in these tests: a real repository in a folder, and the images of its releases.
final class Publisher: Sendable {
    static let app = "plant"
    let repository: Trust.Repository
    private let signers: [any Signer]
    private let folder: TemporaryDirectory
    private let images = Mutex<[Digest: TestImage]>([:])
    private let counter = Mutex(Int64(0))

    init() throws {
        folder = try TemporaryDirectory()
        let keys = try (1...4).map { try Ed25519Signer(seed: [UInt8](repeating: UInt8($0), count: 32)) }
        signers = keys
        repository = try Trust.Repository.initialize(
            path: folder.file("repo"),
            plan: .lab(
                root: keys[0].publicKey, targets: keys[1].publicKey, snapshot: keys[2].publicKey,
                timestamp: keys[3].publicKey), signers: keys)
    }

    /// A release of services that all run `image`, each with its command.
    func publish(
        _ version: String, image: TestImage, services: [String: Service],
        update: Release.UpdatePolicy = .init(healthWindowSeconds: 8, stableSeconds: 0), volumes: [String] = []
    ) throws -> Release {
        images.withLock { $0[image.id] = image }
        let blob = Release.Blob(digest: image.id, size: Int64(image.config.count))
        let described = Release.Image(
            manifest: blob, config: blob,
            layers: image.layers.map { layer in
                let id = Digest.sha256(layer)
                return .init(
                    diffID: id, blob: .init(digest: id, size: Int64(layer.count)),
                    mediaType: "application/vnd.oci.image.layer.v1.tar", uncompressedSize: Int64(layer.count))
            }, reference: "plant:\(version)", architecture: "amd64")
        let ctr = counter.withLock { value in
            value += 1
            return value
        }
        let semantic = try #require(SemanticVersion(version))
        let release = Release(
            app: Self.app, version: semantic, ctr: ctr,
            services: services.mapValues { service in
                var service = service
                service.image = image.id.description
                service.networks = ["default": .init()]
                return service
            }, networks: ["default": .init()],
            volumes: Dictionary(uniqueKeysWithValues: volumes.map { ($0, Release.Volume()) }),
            images: [image.id.description: described], update: update)
        let bytes = try release.encoded()
        try repository.add(
            ReleaseTarget(
                app: Self.app, version: semantic, ctr: ctr, epoch: 0, digest: Digest.sha256(bytes),
                length: Int64(bytes.count)), document: bytes, signers: signers)
        return release
    }

    /// The road from the repository's bytes to what a device may run.
    func verified(_ version: String, state: TrustState) async throws -> Verified<Release> {
        let verifier = ReleaseVerifier(
            device: DeviceIdentity(id: "device", architecture: "amd64"), policy: TrustPolicy(requiresDirector: false),
            clock: ClockReading(now: SystemClock.live.now(), isTrusted: true))
        let path = repository.path
        return try await verifier.verify(
            Candidate(app: Self.app, version: SemanticVersion(version)),
            from: TrustSources(release: DirectoryFetcher(repository.metadataDirectory), isSideload: true),
            load: { target, digest, length in
                let name = Path.name(target).dropLast(".release.json".count)
                return try FileSystem().read(
                    Path.join(path, "targets", Path.parent(target), "\(digest.hex).\(name).release.json"),
                    limit: Int(length))
            }, state: state
        ) { _ in }
    }

    /// What the blob store is to the reconciler.
    var content: ReleaseContent {
        ReleaseContent(
            missing: { _, _ in [] },
            archive: { [self] image, present in
                let source = try #require(images.withLock { $0[image.config.digest] })
                let omitted = Set(source.diffIDs.indices.filter { present.contains(source.diffIDs[$0]) })
                return pieces(try await source.archive(omitting: omitted))
            },
            read: { _ in [] }, prune: { _ in 0 })
    }
}

/// Bytes as a pulled sequence.
func pieces(_ bytes: [UInt8], size: Int = 64 << 10) -> PullSequence<[UInt8]> {
    PullSequence {
        let position = Mutex(0)
        return {
            position.withLock { start in
                guard start < bytes.count else { return nil }
                defer { start += size }
                return Array(bytes[start..<min(bytes.count, start + size)])
            }
        }
    }
}

/// A device without its command line: journal, reconciler and a real engine in this process.
final class Device: Sendable {
    let engine: PrivateEngine
    let docker: DockerContainerEngine
    let publisher: Publisher
    private let folder: TemporaryDirectory
    private let running = Mutex<Running?>(nil)

    private struct Running {
        var journal: Journal
        var reconciler: Reconciler
        var task: Task<Void, Never>
    }

    static func make(_ engine: PrivateEngine) async throws -> Device {
        let device = try Device(engine)
        let state = try TrustState.provision(
            releaseRoot: device.publisher.repository.rootBytes(), buildTime: Timestamp(seconds: 1_700_000_000))
        let (journal, _) = try Journal.open(layout: device.layout, fileSystem: FileSystem(), clock: .live)
        try await journal.provision(DeviceRecord(id: "device", labels: [:], requiresDirector: false), trust: state)
        return device
    }

    private init(_ engine: PrivateEngine) throws {
        self.engine = engine
        docker = DockerContainerEngine(engine.client)
        publisher = try Publisher()
        folder = try TemporaryDirectory()
    }

    var layout: StateLayout { StateLayout(root: folder.file("state")) }

    var journal: Journal { get throws { try #require(running.withLock { $0 }?.journal) } }
    var reconciler: Reconciler { get throws { try #require(running.withLock { $0 }?.reconciler) } }

    /// Starts the agent's core on what the journal holds.
    func boot(monitor: DurabilityMonitor = .passthrough) async throws {
        let (journal, _) = try Journal.open(layout: layout, fileSystem: FileSystem(), clock: .live)
        var logger = Logger(label: "device", factory: { _ in SwiftLogNoOpLogHandler() })
        logger.logLevel = .error
        let reconciler = Reconciler(
            .init(
                journal: journal, engine: MonitoredEngine(docker, monitor: monitor), content: publisher.content,
                fileSystem: FileSystem(), layout: layout, clock: .live, logger: logger,
                heartbeat: Heartbeat(clock: .live)),
            policy: PlanPolicy(stepAttempts: 2, crashLoopRestarts: 2),
            timing: .init(
                tick: .milliseconds(200), backoff: Backoff(base: .milliseconds(100), ceiling: .milliseconds(500)),
                stepBackoff: Backoff(base: .milliseconds(100), ceiling: .milliseconds(500))), reserve: 0)
        let task = Task { await reconciler.run() }
        running.withLock { $0 = Running(journal: journal, reconciler: reconciler, task: task) }
    }

    /// Ends the agent's core; containers go on.
    func halt() async {
        let present = running.withLock { value in
            defer { value = nil }
            return value
        }
        present?.task.cancel()
        await present?.task.value
    }

    /// What an import does once the blobs are there.
    func adopt(_ version: String, retry: Bool = false) async throws {
        let journal = try journal
        let state = try #require(try await journal.trustState())
        _ = try await journal.adopt(try await publisher.verified(version, state: state), retry: retry)
        try await reconciler.wake()
    }

    /// Removes what this device made, so that the next test finds an empty engine.
    func wipe() async throws {
        await halt()
        for container in try await docker.containers() { try await docker.removeContainer(container.id) }
        for network in try await docker.networks() { try await docker.removeNetwork(network.name) }
        for volume in try await docker.volumes() { try await docker.removeVolume(volume.name) }
    }

    // MARK: Looking

    /// The committed version; nil while a candidate is on trial.
    func committed() async throws -> String? {
        try await journal.desired().first { $0.phase == .committed }?.target.release.version.description
    }

    func running(_ service: String) async throws -> [ManagedContainer] {
        try await docker.containers().filter { $0.service == service && $0.state == .running }
    }

    /// What port 7080 answers; nil when nothing does.
    func answer(port: Int = 7080) async throws -> String? {
        let result = try await Command.run(["curl", "-sf", "-m", "2", "http://\(engine.address):\(port)/"])
        return result.status == 0 ? result.output.trimmingNewline : nil
    }

    func eventually(
        _ what: String, within limit: Duration = .seconds(30), sourceLocation: SourceLocation = #_sourceLocation,
        _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            if (try? await condition()) == true { return }
            try await Task.sleep(for: .milliseconds(50))
        }
        let report = try? await reconciler.currentReport()
        let steps = (try? await journal.steps(limit: 12)) ?? []
        Issue.record(
            "never: \(what); blocked \(report?.blocked as Any); engine \(report?.engine as Any); steps \(steps)",
            sourceLocation: sourceLocation)
        throw NeverHappened(what: what)
    }

    struct NeverHappened: Error { var what: String }
}

extension String {
    var trimmingNewline: String { hasSuffix("\n") ? String(dropLast()) : self }
}
