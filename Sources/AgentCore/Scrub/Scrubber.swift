import Base
import Glibc
import Logging
import Model
import NIOPosix
import OCI

/// Reads everything that a rollback or a restart would need, compares it with what was signed, and mends it from what
/// is at hand: a bundle that a person gives, the engine, then other sources.
///
/// Checked are: every blob of the store against its name, and every layer that was made here against its diffID; every
/// blob that the present release and the one before name; every layer and config of their images as the engine gives
/// them (`docker save`, made of the files of its own layers) against diffIDs and digests.
public actor Scrubber {
    /// Reads an image of the engine as a `docker save` archive.
    public typealias Export =
        @Sendable (_ image: Digest, _ each: @escaping @Sendable ([UInt8]) async throws -> Void) async throws -> Void

    private let journal: Journal
    let reconciler: Reconciler
    let store: BlobStore
    let engine: any ContainerEngine
    let export: Export
    private let sources: [any RepairSource]
    private let threads: NIOThreadPool
    let clock: SystemClock
    private let logger: Logger
    /// Bytes read in a second.
    let budget: Int64
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
        // What a scrub that was cut off left.
        try store.layers.dropUnnamed()
        var report = ScrubReport()
        try await readStore(&report, progress)
        try noteMissing(releases, &report)
        if let bundle { try await repair(&report, releases, name: "bundle") { _ in bundle } }
        // The engine gives what the store lacks of it; sound copies are then there to mend the engine with.
        let readings = try await readEngine(releases, &report, progress)
        for source in sources {
            try await repair(&report, releases, name: source.name) { try await source.blobs(for: $0) }
        }
        try await mend(readings, releases, &report, mayRestart: mayRestart)
        return report
    }

    // MARK: The store

    private func readStore(_ report: inout ScrubReport, _ progress: @Sendable (JSONValue) -> Void) async throws {
        let (store, layers) = (store, store.layers)
        let blobs = try store.list()
        let made = try layers.list()
        let total = try blobs.reduce(Int64(0)) { $0 + $1.size }
            + made.reduce(Int64(0)) { try $0 + (layers.storedSize($1) ?? 0) }
        let pace = ReadingPace(budget: budget, clock: clock)
        func note(_ kind: ScrubReport.Finding.Kind, _ digest: Digest, _ why: String?, size: Int64) {
            report.bytes += size
            progress(["event": "reading", "done": .integer(report.bytes), "total": .integer(total)])
            guard let why else { return }
            report.findings.append(.init(kind: kind, digest: digest, of: "", repairedFrom: nil, detail: why))
        }
        for blob in blobs {
            try Task.checkCancellation()
            let why = try await threads.runIfActive {
                try Self.damage({ try store.verify(blob.digest) { pace.block(after: $0) } }) {
                    try store.remove(blob.digest)
                }
            }
            report.blobs += 1
            note(.damagedBlob, blob.digest, why, size: blob.size)
        }
        for diffID in made {
            try Task.checkCancellation()
            let size = try layers.storedSize(diffID) ?? 0
            let why = try await threads.runIfActive {
                try Self.damage({ try layers.verify(diffID) { pace.block(after: $0) } }) { try layers.remove(diffID) }
            }
            report.layers += 1
            note(.damagedLayer, diffID, why, size: size)
        }
    }

    /// Reads something through; what is not what its name says is removed, and the reason is answered.
    private static func damage(_ read: () throws -> Void, remove: () throws -> Void) throws -> String? {
        do {
            try read()
            return nil
        } catch let error as any CodedError where isDamage(error) {
            try remove()
            return error.message
        }
    }

    /// Bytes that cannot be read are as bad as wrong ones; a process that has no memory or no descriptors left says
    /// nothing about the disk.
    private static func isDamage(_ error: any CodedError) -> Bool {
        guard let error = error as? FileSystemError else { return true }
        return [EIO, EBADMSG, EUCLEAN, ENODATA].contains(error.errno)
    }

    private func noteMissing(_ releases: [PinnedRelease], _ report: inout ScrubReport) throws {
        for pinned in releases {
            for missing in try lacking(pinned) {
                let known = report.findings.indices.filter { missing.names.contains(report.findings[$0].digest) }
                for index in known { report.findings[index].of = pinned.description }
                guard known.isEmpty else { continue }
                report.findings.append(
                    .init(
                        kind: .missingBlob, digest: missing.blob.digest, of: pinned.description, repairedFrom: nil,
                        detail: "not in the store"))
            }
        }
        // What no release needs was only in the way.
        for index in report.findings.indices where report.findings[index].of.isEmpty {
            report.findings[index].repairedFrom = "nothing: no release needs it, it was removed"
        }
    }

    /// Content of a release that is not there in any form.
    struct Missing {
        var blob: Release.Blob
        /// Set for a layer, which may come as its signed blob or as its tar.
        var layer: Release.Layer?

        var names: Set<Digest> { Set([blob.digest] + (layer.map { [$0.diffID] } ?? [])) }
    }

    func lacking(_ pinned: PinnedRelease) throws -> [Missing] {
        let layers = Dictionary(
            pinned.release.images.values.flatMap(\.layers).map { ($0.blob.digest, $0) },
            uniquingKeysWith: { first, _ in first })
        return try store.missing(pinned.release.contentBlobs).compactMap { blob in
            guard let layer = layers[blob.digest] else { return Missing(blob: blob) }
            return try store.holds(layer) ? nil : Missing(blob: blob, layer: layer)
        }
    }

    private func repair(
        _ report: inout ScrubReport, _ releases: [PinnedRelease], name: String,
        _ find: (Release.Blob) async throws -> (any BlobSource)?
    ) async throws {
        let store = store
        for pinned in releases {
            for missing in try lacking(pinned) {
                let blob = missing.blob
                let source: (any BlobSource)?
                do {
                    source = try await find(blob)
                } catch is CancellationError {
                    throw CancellationError()
                } catch {
                    // One that does not answer now is not asked for every blob anew.
                    return logger.info("no copies", metadata: ["from": "\(name)", "why": "\(error)"])
                }
                guard let source, (try? source.blobSize(blob.digest)) == blob.size else { continue }
                let isIn = try await threads.runIfActive { (try? store.ingest(blob, from: source)) != nil }
                if isIn { mark(&report, missing, from: name) }
            }
        }
    }

    func mark(_ report: inout ScrubReport, _ missing: Missing, from name: String) {
        for index in report.findings.indices where missing.names.contains(report.findings[index].digest) {
            report.findings[index].repairedFrom = report.findings[index].repairedFrom ?? name
        }
    }
}
