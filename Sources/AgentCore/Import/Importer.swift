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
    /// Bytes that a made layer takes beside its content: the base's headers, tables.
    private static let madeOverhead: Int64 = 4 << 20

    let journal: Journal
    private let reconciler: Reconciler
    let store: BlobStore
    private let engine: any ContainerEngine
    let bases: EngineBases
    private let fileSystem: FileSystem
    private let layout: StateLayout
    /// What the kernel and the configuration say of the clock.
    private let clockReading: @Sendable () -> ClockReading
    private let reserve: Int64
    private let features: Set<String>
    let architecture: String
    private let threads: NIOThreadPool
    private let logger: Logger
    private var isRunning = false

    public init(
        journal: Journal, reconciler: Reconciler, store: BlobStore, engine: any ContainerEngine,
        bases: EngineBases = .none, fileSystem: FileSystem, layout: StateLayout, clockReading: @escaping @Sendable () -> ClockReading,
        reserve: Int64, features: Set<String>,
        architecture: String, threads: NIOThreadPool, logger: Logger
    ) {
        self.journal = journal
        self.reconciler = reconciler
        self.store = store
        self.engine = engine
        self.bases = bases
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
    ///   - unasked: no person asked for it; refused where the device is on a newer one already, or no window for
    ///     downloads is open.
    /// - Throws: `agent.not-provisioned`, `agent.import-running`, what Trust refuses, `agent.invalid-release`,
    ///   `agent.missing-content`, `agent.no-space`, `agent.failed-before`.
    public func importRelease(
        from source: ImportSource, candidate: Candidate = Candidate(), retry: Bool = false, unasked: Bool = false,
        progress: @escaping @Sendable (ImportEvent) -> Void
    ) async throws {
        try refuseWhileRunning()
        try await reconciler.refuseDuringTrial()
        try refuseWhileRunning()
        isRunning = true
        await reconciler.importBegan()
        let result: Result<Void, any Error>
        do {
            result = .success(try await take(source, candidate, retry: retry, unasked: unasked, progress: progress))
        } catch {
            result = .failure(error)
        }
        isRunning = false
        await reconciler.importEnded(isDiskFull: result.isFailure { Reconciler.isFull($0) })
        if case .failure(let error) = result {
            let code = (error as? any CodedError)?.code ?? "agent.import"
            let words = (error as? any CodedError)?.message ?? String(describing: error)
            logger.error("import refused", metadata: ["code": "\(code)", "why": "\(words)"])
            let hint = (error as? any CodedError)?.hint
            try? await journal.noteRefusal(ImportRefusal(code: code, message: words, hint: hint))
        }
        try result.get()
    }

    /// - Throws: `agent.import-running`.
    private func refuseWhileRunning() throws(AgentError) {
        guard !isRunning else {
            throw AgentError(
                .importRunning, "another import is under way", hint: "wait for it, or see: holdfast-agent status")
        }
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
        for path in verified.selection.newerElsewhere {
            logger.notice("a newer release is signed and was not brought", metadata: ["release": "\(path)"])
        }
        try check(pinned)
        if !retry { try await journal.refuseFailed(verified) }
        if unasked { try await journal.refuseUnasked(release, verified.digest) }
        if unasked, let closed = closedWindow(of: pinned) { throw closed }
        try store.prepare()
        let taken = try await copy(pinned, from: source.blobs, progress: progress)
        try await journal.noteSupply(pinned, taken)
        for layer in taken { progress(.took(layer)) }
        switch try await journal.adopt(verified, retry: retry) {
        case .adopted:
            logger.notice("release adopted", metadata: ["release": "\(pinned)"])
            progress(.adopted(release: pinned.description))
        case .unchanged: progress(.unchanged(release: pinned.description))
        }
    }

    /// `agent.window-closed` while a window keeps this release from being fetched unasked; nil when it may be.
    public nonisolated func closedWindow(of pinned: PinnedRelease) -> AgentError? {
        reconciler.environment.gate.hold(.download, of: pinned.release).map {
            AgentError(
                .windowClosed, "\(pinned) is not fetched now: \($0)",
                hint: "it is fetched when the window opens; what a person imports need not wait")
        }
    }

    private func verify(_ source: ImportSource, _ candidate: Candidate) async throws -> Verified<Release> {
        guard let device = try await journal.device(), let state = try await journal.trustState() else {
            throw AgentError.notProvisioned()
        }
        let identity = DeviceIdentity(
            id: device.id, labels: device.labels, architecture: architecture, features: features)
        let verifier = ReleaseVerifier(
            device: identity, policy: TrustPolicy(requiresDirector: device.requiresDirector), clock: clockReading())
        let journal = journal
        var candidate = candidate
        candidate.carried = source.carried
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

    /// Gets what the store lacks: blobs by copying, layers by the cheapest road that is open. What an interrupted
    /// import left of this release is taken up; what one of another release left goes.
    private func copy(
        _ pinned: PinnedRelease, from blobs: any BlobSource, progress: @escaping @Sendable (ImportEvent) -> Void
    ) async throws -> [LayerSupply.Taken] {
        let release = pinned.release
        let content = release.contentBlobs
        try store.clearStaging(keeping: Set((content + release.deltas.map(\.blob)).map(\.digest)))
        try store.layers.clearWork(keeping: Set(release.images.values.flatMap { $0.layers.map(\.diffID) }))
        let supply = try await supply(release, progress: progress)
        let layers = Dictionary(release.images.values.flatMap(\.layers).map { ($0.blob.digest, $0) }) { $1 }
        var missing: [Release.Blob] = []
        var wanted: [(layer: Release.Layer, roads: [LayerRoad])] = []
        var total: Int64 = 0
        for blob in try store.missing(content) {
            guard let layer = layers[blob.digest] else {
                guard try blobs.blobSize(blob.digest) != nil else { throw Self.missing(blob.digest, pinned) }
                missing.append(blob)
                total += try store.missingBytes(blob)
                continue
            }
            if try store.holds(layer) { continue }
            let roads = try supply.roads(to: layer, of: release, offered: blobs)
            guard let cheapest = roads.first else { throw Self.missing(blob.digest, pinned) }
            wanted.append((layer, roads))
            total += try space(for: layer, by: cheapest)
        }
        // A program lies in the store and in its slot.
        try await checkSpace(pinned, copying: total + (release.agent?.binary.size ?? 0))
        try checkFiles(pinned, blobs: missing.count, layers: wanted.count)
        if !missing.isEmpty || !wanted.isEmpty { try await journal.noteBegun() }
        let (store, copied) = (store, missing)
        // Copying blocks on the disk; the pool of the event loops and actors is not for that.
        try await threads.runIfActive { for blob in copied { try store.ingest(blob, from: blobs) } }
        var taken: [LayerSupply.Taken] = []
        // Two images may have one layer in two blobs.
        for (layer, roads) in wanted where try !store.layers.contains(layer.diffID) {
            taken.append(try await supply.take(layer, by: roads, from: blobs))
        }
        return taken
    }

    private static func missing(_ digest: Digest, _ pinned: PinnedRelease) -> AgentError {
        AgentError(
            .missingContent,
            "blob \(digest.short) of \(pinned) is neither here nor in what is imported, nor does a delta there lead to it "
                + "from what this device has",
            hint: "export a bundle for this device: holdfast-agent inventory, then holdfast bundle export --for, "
                + "or the whole release")
    }

    private func supply(
        _ release: Release, progress: @escaping @Sendable (ImportEvent) -> Void
    ) async throws -> LayerSupply {
        let known = try await knownReleases() + [release]
        // An engine that does not answer now has nothing to give; the store may have all that is needed.
        let images = release.deltas.isEmpty ? [] : (try? await bases.images()) ?? []
        return LayerSupply(
            store: store,
            maker: LayerMaker(
                store: store, known: known.flatMap { $0.images.values.flatMap(\.layers) }, fileSystem: fileSystem),
            engine: bases, images: images, threads: threads, progress: progress)
    }

    /// Bytes of disk that a layer may take when it comes by `road`, beside what is there.
    private func space(for layer: Release.Layer, by road: LayerRoad) throws -> Int64 {
        let fetched = try store.missingBytes(road.blob)
        guard case .delta = road else { return fetched }
        // What is made is compressed faster and less than the release's own blob; an incompressible layer grows a little.
        let made = min(layer.uncompressedSize + layer.uncompressedSize >> 7, 2 * layer.blob.size) + Self.madeOverhead
        return fetched + max(0, made - (try store.layers.workSize(layer.diffID)))
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

    /// Refuses what would run out of inodes, before a file is made. What the engine unpacks cannot be counted before.
    private func checkFiles(_ pinned: PinnedRelease, blobs: Int, layers: Int) throws {
        guard let free = try fileSystem.freeInodes(store.root) else { return }
        let needed = Int64(blobs + layers * Self.filesPerLayer + pinned.release.files.count + Self.fileMargin)
        guard needed <= free else {
            throw AgentError(
                .noSpace, "importing \(pinned) needs \(needed) files, the file system has room for \(free)",
                hint: "remove files where \(store.root) lies")
        }
    }

    /// Files that a layer is, and what it is made from on the way.
    private static let filesPerLayer = 4
    /// Files beside: the journal's log and copy, a program's slot.
    private static let fileMargin = 16

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

extension Result {
    fileprivate func isFailure(_ test: (Failure) -> Bool) -> Bool {
        if case .failure(let error) = self { test(error) } else { false }
    }
}
