import Base
import Logging
import Model
import NIOPosix
import OCI
import ReleaseBundle
import Trust

/// Takes a release in: verify, check that it fits, copy its blobs, adopt. Nothing but the store's staging and the
/// trust state is written before adoption, and what runs is not touched.
public actor Importer {
    /// Bytes between two progress events.
    static let progressStep: Int64 = 1 << 20

    private let journal: Journal
    private let reconciler: Reconciler
    private let store: BlobStore
    private let engine: any ContainerEngine
    private let fileSystem: FileSystem
    private let layout: StateLayout
    /// What the kernel and the configuration say of the clock.
    private let clockReading: @Sendable () -> ClockReading
    private let reserve: Int64
    private let features: Set<String>
    private let architecture: String
    private let threads: NIOThreadPool
    private let logger: Logger
    private var isRunning = false

    public init(
        journal: Journal, reconciler: Reconciler, store: BlobStore, engine: any ContainerEngine,
        fileSystem: FileSystem, layout: StateLayout, clockReading: @escaping @Sendable () -> ClockReading,
        reserve: Int64, features: Set<String>,
        architecture: String, threads: NIOThreadPool, logger: Logger
    ) {
        self.journal = journal
        self.reconciler = reconciler
        self.store = store
        self.engine = engine
        self.fileSystem = fileSystem
        self.layout = layout
        self.clockReading = clockReading
        self.reserve = reserve
        self.features = features
        self.architecture = architecture
        self.threads = threads
        self.logger = logger
    }

    /// - Parameters:
    ///   - candidate: which release of several; empty takes the newest of the one app.
    ///   - retry: takes a release that failed here before.
    ///   - unasked: no person asked for it; refused where the device is on a newer one already.
    /// - Throws: `agent.not-provisioned`, `agent.import-running`, what Trust refuses, `agent.invalid-release`,
    ///   `agent.missing-content`, `agent.no-space`, `agent.failed-before`.
    public func importRelease(
        from source: ImportSource, candidate: Candidate = Candidate(), retry: Bool = false, unasked: Bool = false,
        progress: @escaping @Sendable (ImportEvent) -> Void
    ) async throws {
        guard !isRunning else {
            throw AgentError(
                .importRunning, "another import is under way", hint: "wait for it, or see: holdfast-agent status")
        }
        isRunning = true
        await reconciler.importBegan()
        let result: Result<Void, any Error>
        do {
            result = .success(try await take(source, candidate, retry: retry, unasked: unasked, progress: progress))
        } catch {
            result = .failure(error)
        }
        isRunning = false
        await reconciler.importEnded()
        if case .failure(let error) = result {
            let code = (error as? any CodedError)?.code ?? "agent.import"
            let words = (error as? any CodedError)?.message ?? String(describing: error)
            logger.error("import refused", metadata: ["code": "\(code)", "why": "\(words)"])
            try? await journal.record(app: "", code: code, message: "import refused: \(words)")
        }
        try result.get()
    }

    private func take(
        _ source: ImportSource, _ candidate: Candidate, retry: Bool, unasked: Bool,
        progress: @escaping @Sendable (ImportEvent) -> Void
    ) async throws {
        progress(.verifying)
        let verified = try await verify(source, candidate)
        let release = verified.value
        let pinned = PinnedRelease(digest: verified.digest, release: release)
        progress(.verified(release: pinned.description, freshness: verified.freshness.rawValue))
        try check(pinned)
        if !retry { try await journal.refuseFailed(verified) }
        if unasked { try await journal.refuseUnasked(release, verified.digest) }
        try store.prepare()
        try await copy(pinned, from: source.blobs, progress: progress)
        switch try await journal.adopt(verified, retry: retry) {
        case .adopted:
            logger.notice("release adopted", metadata: ["release": "\(pinned)"])
            progress(.adopted(release: pinned.description))
        case .unchanged: progress(.unchanged(release: pinned.description))
        }
    }

    private func verify(_ source: ImportSource, _ candidate: Candidate) async throws -> Verified<Release> {
        guard let device = try await journal.device(), let state = try await journal.trustState() else {
            throw AgentError(
                .notProvisioned, "this device trusts no root yet",
                hint: "holdfast-agent provision --root root.json --device-id NAME")
        }
        let identity = DeviceIdentity(
            id: device.id, labels: device.labels, architecture: architecture, features: features)
        let verifier = ReleaseVerifier(
            device: identity, policy: TrustPolicy(requiresDirector: device.requiresDirector), clock: clockReading())
        let journal = journal
        return try await verifier.verify(candidate, from: source.trust, load: source.document, state: state) {
            try await journal.persist($0)
        }
    }

    private func check(_ pinned: PinnedRelease) throws {
        _ = try ReleaseSpecs(pinned, layout: layout)
        for image in pinned.release.images.values where image.architecture != architecture {
            throw AgentError(
                .wrongArchitecture,
                "image \(image.reference) of \(pinned) is for \(image.architecture), this device is \(architecture)",
                hint: "build the release with images for \(architecture)")
        }
    }

    /// Copies what the store lacks, and makes by deltas the layers that what is imported has no other way.
    /// An interrupted copy is taken up where it stopped.
    private func copy(
        _ pinned: PinnedRelease, from blobs: any BlobSource, progress: @escaping @Sendable (ImportEvent) -> Void
    ) async throws {
        let store = store
        let known = try await journal.desired().flatMap { [$0.target, $0.previous].compactMap { $0 } } + [pinned]
        let deltas = LayerDeltas(
            store: store, known: known.flatMap { $0.release.images.values.flatMap(\.layers) }, fileSystem: fileSystem)
        let layers = Dictionary(
            pinned.release.images.values.flatMap(\.layers).map { ($0.blob.digest, $0) }
        ) { first, _ in first }
        var missing: [Release.Blob] = []
        var toMake: [(layer: Release.Layer, roads: [Release.LayerDelta])] = []
        var total: Int64 = 0
        for blob in try store.missing(pinned.release.contentBlobs) {
            let layer = layers[blob.digest]
            if let layer, try store.holds(layer) { continue }
            if try blobs.blobSize(blob.digest) != nil {
                missing.append(blob)
                total += blob.size - min(blob.size, try store.partialSize(blob.digest))
                continue
            }
            let roads = try layer.map { try deltas.usable(for: $0, of: pinned.release, offered: blobs) } ?? []
            guard let layer, let cheapest = roads.first else {
                throw AgentError(
                    .missingContent, "blob \(blob.digest.short) of \(pinned) is neither here nor in what is imported",
                    hint: "export the bundle whole: holdfast bundle export")
            }
            toMake.append((layer, roads))
            total += try deltas.space(for: layer, by: cheapest)
        }
        try await checkSpace(pinned, copying: total)
        let size = missing.reduce(Int64(0)) { $0 + $1.size }
        // Copying blocks on the disk; the pool of the event loops and actors is not for that.
        let (copied, made) = (missing, toMake)
        let failures = try await threads.runIfActive {
            var before: Int64 = 0
            for blob in copied {
                var reported: Int64 = 0
                try store.ingest(blob, from: blobs) { done in
                    guard done - reported >= Self.progressStep || done == blob.size else { return }
                    reported = done
                    progress(.copying(done: before + done, total: size))
                }
                before += blob.size
            }
            return try Self.make(made, deltas, from: blobs)
        }
        for failure in failures {
            try await journal.record(app: pinned.release.app, code: failure.code, message: failure.message)
        }
    }

    /// Makes layers, each by the first of its deltas that works; answers why others did not.
    private static func make(
        _ layers: [(layer: Release.Layer, roads: [Release.LayerDelta])], _ deltas: LayerDeltas,
        from blobs: any BlobSource
    ) throws -> [AgentError] {
        var failures: [AgentError] = []
        for (layer, roads) in layers {
            var isMade = false
            for road in roads where !isMade {
                do {
                    try deltas.make(layer, by: road, from: blobs)
                    isMade = true
                } catch let error as any CodedError where error.code.hasPrefix("delta.") {
                    failures.append(
                        AgentError(
                            .missingContent,
                            "layer \(layer.diffID.short) cannot be made by delta \(road.blob.digest.short): \(error.message)",
                            hint: "export the bundle whole: holdfast bundle export"))
                }
            }
            if !isMade, let last = failures.last { throw last }
        }
        try deltas.finish()
        return failures
    }

    /// Refuses what would not fit, before a byte is written: the store's blobs, and the engine's layers where both
    /// lie on one disk.
    private func checkSpace(_ pinned: PinnedRelease, copying total: Int64) async throws {
        try check(pinned, needs: total, at: store.root, beside: reserve)
        guard let (root, layers) = await engineNeed(pinned.release) else { return }
        let isShared = try fileSystem.status(root)?.device == fileSystem.status(store.root)?.device
        try check(pinned, needs: isShared ? total + layers : layers, at: root, beside: reserve)
    }

    private func check(_ pinned: PinnedRelease, needs: Int64, at path: String, beside reserve: Int64) throws {
        let free = try fileSystem.freeSpace(path)
        guard needs + reserve <= free else {
            throw AgentError(
                .noSpace,
                "importing \(pinned) needs \(ByteCount(needs)) and \(ByteCount(reserve)) in reserve, \(ByteCount(free)) are free",
                hint: "free space where \(path) lies")
        }
    }

    /// Bytes of the layers that the engine lacks, and where it keeps them. Nil when the engine cannot be asked now,
    /// keeps them elsewhere, or when a service's old image makes way first: the planner then has the last word.
    private func engineNeed(_ release: Release) async -> (root: String, bytes: Int64)? {
        guard !release.services.values.contains(where: { $0.strategy == .deleteThenDownload }),
            let root = try? await engine.version().dataRoot, let known = try? await engine.images(),
            (try? fileSystem.status(root)) != nil
        else { return nil }
        let present = Set(known.map(\.id))
        var lacking: [Digest: Int64] = [:]
        for image in release.images.values where !present.contains(image.config.digest) {
            guard let layers = try? await engine.presentLayers(of: image.layers.map(\.diffID)) else { return nil }
            for layer in image.layers where !layers.contains(layer.diffID) {
                lacking[layer.diffID] = layer.uncompressedSize
            }
        }
        return (root, lacking.values.reduce(0, +))
    }
}
