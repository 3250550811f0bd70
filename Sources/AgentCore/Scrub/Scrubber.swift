import Base
import Glibc
import Logging
import Model
import NIOPosix
import OCI
import Synchronization

/// Reads everything that a rollback or a restart would need, compares it with what was signed, and mends it from what
/// is at hand: a bundle that a person gives, the engine, then other sources.
///
/// Checked are: every blob of the store against its name; every blob that the present release and the one before
/// name; every layer and config of their images as the engine gives them (`docker save`) against diffIDs and digests.
public actor Scrubber {
    /// Reads an image of the engine as a `docker save` archive.
    public typealias Export =
        @Sendable (_ image: Digest, _ each: @escaping @Sendable ([UInt8]) async throws -> Void) async throws -> Void

    private let journal: Journal
    private let reconciler: Reconciler
    private let store: BlobStore
    private let engine: any ContainerEngine
    private let export: Export
    private let sources: [any RepairSource]
    private let threads: NIOThreadPool
    private let clock: SystemClock
    private let logger: Logger
    /// Bytes read in a second.
    private let budget: Int64
    private var isRunning = false
    /// The last one that ended.
    public private(set) var last: ScrubReport?

    public init(
        journal: Journal, reconciler: Reconciler, store: BlobStore, engine: any ContainerEngine,
        export: @escaping Export, sources: [any RepairSource] = [], threads: NIOThreadPool, clock: SystemClock,
        logger: Logger, budget: Int64
    ) {
        self.journal = journal
        self.reconciler = reconciler
        self.store = store
        self.engine = engine
        self.export = export
        self.sources = sources
        self.threads = threads
        self.clock = clock
        self.logger = logger
        self.budget = budget
    }

    /// - Parameters:
    ///   - bundle: where sound copies are looked for first.
    ///   - mayRestart: an image of the engine that is damaged is loaded anew, for which its containers are stopped.
    /// - Throws: `agent.scrub-running`.
    public func scrub(
        from bundle: (any BlobSource)? = nil, mayRestart: Bool, progress: @escaping @Sendable (JSONValue) -> Void
    ) async throws -> ScrubReport {
        guard !isRunning else { throw AgentError(.scrubRunning, "a scrub is under way") }
        isRunning = true
        defer { isRunning = false }
        // Nothing is pruned meanwhile, so that what is read stays what is needed.
        await reconciler.importBegan()
        let result: Result<ScrubReport, any Error>
        do {
            result = .success(try await run(bundle, mayRestart: mayRestart, progress))
        } catch {
            result = .failure(error)
        }
        await reconciler.importEnded()
        let report = try result.get()
        last = report
        for finding in report.findings {
            let from = finding.repairedFrom.map { ", mended from \($0)" } ?? ", not mended"
            logger.warning(
                "scrub found damage",
                metadata: [
                    "kind": "\(finding.kind.rawValue)", "digest": "\(finding.digest.short)", "of": "\(finding.of)",
                ])
            try await journal.record(
                app: "", code: "scrub.\(finding.kind.rawValue)",
                message: "\(finding.digest.short) of \(finding.of): \(finding.detail)\(from)")
        }
        return report
    }

    /// Scrubs again and again until cancelled. What restarts a service is done when an update could be applied too.
    ///
    /// - Parameter hours: between two; 0 for never.
    public func repeatedly(every hours: Int) async {
        guard hours > 0 else { return }
        while !Task.isCancelled {
            do {
                try await clock.sleep(.seconds(hours * 3_600))
                let mayRestart = try await reconciler.mayDisturb()
                _ = try await scrub(mayRestart: mayRestart) { _ in }
            } catch is CancellationError {
                return
            } catch {
                logger.warning("scrub failed", metadata: ["error": "\(error)"])
            }
        }
    }

    private func run(
        _ bundle: (any BlobSource)?, mayRestart: Bool, _ progress: @escaping @Sendable (JSONValue) -> Void
    ) async throws -> ScrubReport {
        let releases = try await journal.desired().flatMap { [$0.target, $0.previous].compactMap { $0 } }
        var report = ScrubReport()
        try await readStore(&report, progress)
        try await noteMissing(releases, &report)
        try await repair(&report, releases, name: "bundle") { _ in bundle }
        try await readEngine(releases, &report, mayRestart: mayRestart, progress)
        for source in sources {
            try await repair(&report, releases, name: source.name) { try await source.blobs(for: $0) }
        }
        return report
    }

    // MARK: The store

    private func readStore(_ report: inout ScrubReport, _ progress: @Sendable (JSONValue) -> Void) async throws {
        let store = store
        let blobs = try store.list()
        let total = blobs.reduce(Int64(0)) { $0 + $1.size }
        for blob in blobs {
            try Task.checkCancellation()
            let pace = Pace(budget: budget, clock: clock)
            let why = try await threads.runIfActive { () -> String? in
                do {
                    try store.verify(blob.digest) { pace.block(after: $0) }
                    return nil
                } catch let error as any CodedError {
                    // Bytes that cannot be read are as bad as wrong ones.
                    try store.remove(blob.digest)
                    return error.message
                }
            }
            report.blobs += 1
            report.bytes += blob.size
            progress(["event": "reading", "done": .integer(report.bytes), "total": .integer(total)])
            if let why {
                report.findings.append(
                    .init(kind: .damagedBlob, digest: blob.digest, of: "", repairedFrom: nil, detail: why))
            }
        }
    }

    private func noteMissing(_ releases: [PinnedRelease], _ report: inout ScrubReport) async throws {
        for pinned in releases {
            for blob in try lacking(pinned) {
                if let index = report.findings.firstIndex(where: { $0.digest == blob.digest }) {
                    report.findings[index].of = pinned.description
                } else {
                    report.findings.append(
                        .init(
                            kind: .missingBlob, digest: blob.digest, of: pinned.description, repairedFrom: nil,
                            detail: "not in the store"))
                }
            }
        }
        // What no release needs was only in the way.
        for index in report.findings.indices where report.findings[index].of.isEmpty {
            report.findings[index].repairedFrom = "nothing: no release needs it, it was removed"
        }
    }

    /// Blobs that are not there in any form; a layer may lie there as a plain tar.
    private func lacking(_ pinned: PinnedRelease) throws -> [Release.Blob] {
        let layers = Dictionary(
            pinned.release.images.values.flatMap(\.layers).map { ($0.blob.digest, $0) },
            uniquingKeysWith: { first, _ in first })
        return try store.missing(pinned.release.contentBlobs).filter { blob in
            try layers[blob.digest].map { try !store.holds($0) } ?? true
        }
    }

    private func repair(
        _ report: inout ScrubReport, _ releases: [PinnedRelease], name: String,
        _ find: (Release.Blob) async throws -> (any BlobSource)?
    ) async throws {
        let store = store
        for pinned in releases {
            for blob in try lacking(pinned) {
                guard let source = try? await find(blob), (try? source.blobSize(blob.digest)) == blob.size else {
                    continue
                }
                let isIn = try await threads.runIfActive { (try? store.ingest(blob, from: source)) != nil }
                if isIn { mark(&report, blob.digest, from: name) }
            }
        }
    }

    private func mark(_ report: inout ScrubReport, _ digest: Digest, from name: String) {
        for index in report.findings.indices where report.findings[index].digest == digest {
            report.findings[index].repairedFrom = report.findings[index].repairedFrom ?? name
        }
    }

    // MARK: The engine

    private func readEngine(
        _ releases: [PinnedRelease], _ report: inout ScrubReport, mayRestart: Bool,
        _ progress: @Sendable (JSONValue) -> Void
    ) async throws {
        var seen: Set<Digest> = []
        for pinned in releases {
            for (_, image) in pinned.release.images.sorted(by: { $0.key < $1.key })
            where seen.insert(image.config.digest).inserted {
                try Task.checkCancellation()
                progress(["event": "image", "reference": .string(image.reference)])
                try await read(image, of: pinned, &report, mayRestart: mayRestart)
            }
        }
    }

    private func read(
        _ image: Release.Image, of pinned: PinnedRelease, _ report: inout ScrubReport, mayRestart: Bool
    ) async throws {
        let id = image.config.digest
        guard try await engine.image(id) != nil else {
            // The reconciler loads what the present release lacks; the one before is loaded when it is gone back to.
            return
        }
        report.images += 1
        let lacking = Set(try self.lacking(pinned).map(\.digest))
        var wanted = Set(
            image.layers.filter { lacking.contains($0.blob.digest) }.map {
                Release.Blob(digest: $0.diffID, size: $0.uncompressedSize)
            })
        if lacking.contains(id) { wanted.insert(image.config) }
        let exported = ExportedImage(store: store, wanted: wanted)
        let pace = Pace(budget: budget, clock: clock)
        var detail: String?
        do {
            try await export(id) { bytes in
                try await exported.take(bytes)
                try await pace.wait(after: bytes.count)
            }
            try await exported.finish()
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            detail = (error as? any CodedError)?.message ?? String(describing: error)
        }
        report.bytes += pace.bytes
        let found = await exported.found
        for layer in image.layers where await exported.kept.contains(layer.diffID) {
            mark(&report, layer.blob.digest, from: "engine")
        }
        if await exported.kept.contains(id) { mark(&report, id, from: "engine") }
        let wrong = image.layers.filter { !found.contains($0.diffID) }
        if wrong.isEmpty, found.contains(id) { return }
        var finding = ScrubReport.Finding(
            kind: .damagedImage, digest: id, of: "\(image.reference) of \(pinned)", repairedFrom: nil,
            detail: detail ?? "\(wrong.count) of \(image.layers.count) layers are not the signed ones")
        if try await rebuild(image, of: pinned, mayRestart: mayRestart, &finding) { finding.repairedFrom = "store" }
        report.findings.append(finding)
    }

    /// Takes the image out of the engine, so that the reconciler loads it anew; false with the reason in the finding.
    private func rebuild(
        _ image: Release.Image, of pinned: PinnedRelease, mayRestart: Bool, _ finding: inout ScrubReport.Finding
    ) async throws -> Bool {
        guard try image.layers.allSatisfy({ try store.holds($0) }), try store.contains(image.config) else {
            finding.detail += "; the store has no whole copy: import the release again"
            return false
        }
        guard mayRestart else {
            finding.detail += "; mending it restarts its services: holdfast-agent scrub --restart"
            return false
        }
        guard try await reconciler.dropImage(image) else {
            finding.detail += "; another image or container of the engine holds it"
            return false
        }
        return true
    }
}

/// Spreads reading over time, so that no more than the budget is read in a second.
private final class Pace: Sendable {
    private let budget: Int64
    private let clock: SystemClock
    private let start: UInt64
    private let count = Mutex(Int64(0))

    /// - Parameter budget: bytes per second; 0 for no limit.
    init(budget: Int64, clock: SystemClock) {
        self.budget = budget
        self.clock = clock
        start = clock.monotonic()
    }

    var bytes: Int64 { count.withLock { $0 } }

    /// Nanoseconds to wait after that many more bytes.
    private func debt(_ bytes: Int) -> UInt64 {
        let total = count.withLock { value in
            value += Int64(bytes)
            return value
        }
        guard budget > 0 else { return 0 }
        let due = UInt64(Double(total) / Double(budget) * 1_000_000_000)
        let spent = clock.monotonic() - start
        return due > spent ? min(due - spent, 5_000_000_000) : 0
    }

    func block(after bytes: Int) {
        let nanoseconds = debt(bytes)
        if nanoseconds > 1_000_000 { usleep(UInt32(nanoseconds / 1_000)) }
    }

    func wait(after bytes: Int) async throws {
        let nanoseconds = debt(bytes)
        if nanoseconds > 1_000_000 { try await clock.sleep(.nanoseconds(Int64(nanoseconds))) }
    }
}
