import Base
import ImageDelta
import Model
import NIOPosix
import OCI
import ReleaseBundle

/// Gets the layers of one import into the store, each by the cheapest road that works.
public struct LayerSupply: Sendable {
    /// How one layer came, for the journal.
    public struct Taken: Sendable, Equatable {
        public var layer: Digest
        /// Digest of the delta; nil when the layer came whole.
        public var delta: Digest?
        /// Where the delta's base was.
        public var base: LayerPlaceKind?
        /// Bytes read of what was imported.
        public var read: Int64
        /// Bytes that the whole layer would have been.
        public var whole: Int64
        /// Chapters that an interrupted import had made.
        public var resumedChapters = 0
        /// Why other roads were not taken or did not lead there.
        public var failures: [String] = []

        public var saved: Int64 { max(0, whole - read) }
    }

    let store: BlobStore
    let maker: LayerMaker
    let engine: EngineBases
    let images: [EngineBases.Image]
    let threads: NIOThreadPool
    let progress: @Sendable (ImportEvent) -> Void

    private let trees: [Digest: LayerPlace]
    private let exportable: Set<Digest>

    init(
        store: BlobStore, maker: LayerMaker, engine: EngineBases, images: [EngineBases.Image], threads: NIOThreadPool,
        progress: @escaping @Sendable (ImportEvent) -> Void
    ) {
        self.store = store
        self.maker = maker
        self.engine = engine
        self.images = images
        self.threads = threads
        self.progress = progress
        trees = images.reduce(into: [:]) { $0.merge($1.trees) { first, _ in first } }
        exportable = Set(images.flatMap(\.diffIDs))
    }

    /// The roads to a layer that are open on this device, cheapest first.
    func roads(to layer: Release.Layer, of release: Release, offered: some BlobSource) throws -> [LayerRoad] {
        try store.roads(to: layer, of: release, offered: offered) { diffID in
            try exportable.contains(diffID) || maker.isStored(diffID)
        }
    }

    /// Takes the roads one after the other until one leads to the layer.
    ///
    /// - Throws: `agent.missing-content` with the reason of every road when none does; the reason itself when there is no
    ///   road but the whole layer; at once what no other road could mend: a full disk, a write that fails.
    func take(_ layer: Release.Layer, by roads: [LayerRoad], from offered: any BlobSource) async throws -> Taken {
        var failures: [String] = []
        for road in roads {
            do {
                var taken = try await take(layer, by: road, from: offered)
                taken.failures = failures + taken.failures
                return taken
            } catch let error as any CodedError where Self.isOfRoad(error) && roads != [.whole(layer.blob)] {
                failures.append("\(Self.name(road)): \(error.message)")
            }
        }
        throw AgentError(
            .missingContent, "layer \(layer.diffID.short) cannot be had: \(failures.joined(separator: "; "))",
            hint: "export a bundle for this device: holdfast-agent inventory, then holdfast bundle export --for, "
                + "or one with the whole release")
    }

    /// Whether another road may do what this one could not.
    private static func isOfRoad(_ error: any CodedError) -> Bool {
        ["delta.", "oci.", "archive.", "engine."].contains { error.code.hasPrefix($0) }
    }

    private static func name(_ road: LayerRoad) -> String {
        switch road {
        case .whole: "whole"
        case .delta(let delta): "delta \(delta.blob.digest.short)"
        }
    }

    private func take(_ layer: Release.Layer, by road: LayerRoad, from offered: any BlobSource) async throws -> Taken {
        let cost = try store.missingBytes(road.blob)
        let progress = progress
        switch road {
        case .whole(let blob):
            try await threads.runIfActive {
                var reported: Int64 = 0
                try store.ingest(blob, from: offered) { done in
                    guard done - reported >= Importer.progressStep || done == blob.size else { return }
                    reported = done
                    progress(.copying(done: done, total: blob.size))
                }
            }
            return Taken(layer: layer.diffID, read: cost, whole: layer.blob.size)
        case .delta(let delta):
            let opened = try await threads.runIfActive { try maker.open(layer, by: delta, from: offered) }
            do {
                var taken = try await make(opened)
                taken.read = cost
                return taken
            } catch let error as DeltaError {
                try await threads.runIfActive { try maker.giveUp(opened) }
                throw error
            }
        }
    }

    /// Makes a layer from the first kind of base that is there and is the right one.
    private func make(_ opened: OpenedDelta) async throws -> Taken {
        var failures: [String] = []
        var last = DeltaError(.missingBase, "its base layers are not on this device")
        var tried: Set<[Int: LayerPlace]> = []
        for kind in LayerPlaceKind.allCases {
            guard let places = try maker.places(opened, trees: trees, exportable: exportable, from: kind),
                tried.insert(places).inserted
            else { continue }
            do {
                try await export(opened, places)
                let (layer, whole, progress) = (opened.layer.diffID, opened.layer.uncompressedSize, progress)
                let outcome = try await threads.runIfActive {
                    try maker.make(opened, places: places) { progress(.making(layer: layer, done: $0, total: whole)) }
                }
                return Taken(
                    layer: layer, delta: opened.delta.blob.digest, base: places.values.map(\.kind).max(), read: 0,
                    whole: opened.layer.blob.size, resumedChapters: outcome.resumedChapters, failures: failures)
            } catch let error as DeltaError {
                failures.append("delta \(opened.delta.blob.digest.short) from \(kind.words): \(error.message)")
                last = error
            }
        }
        throw last
    }

    /// Has the engine pack the images whose layers are to come from an export, and keeps what is needed of them.
    private func export(_ opened: OpenedDelta, _ places: [Int: LayerPlace]) async throws {
        guard let spool = try maker.exportSpool(opened, places: places) else { return }
        let reader = ExportReader(spool)
        for image in images {
            let missing = await reader.missing
            guard !missing.isEmpty else { return }
            guard missing.contains(where: { image.diffIDs.contains(opened.delta.base[$0]) }) else { continue }
            do {
                for try await piece in try await engine.export(image.id) { try await reader.feed(piece) }
            } catch let error as any CodedError where !(error is FileSystemError) {
                throw DeltaError(.missingBase, "the engine's export of \(image.id.prefix(19)): \(error.message)")
            }
        }
        guard await reader.missing.isEmpty else {
            throw DeltaError(.missingBase, "the engine's exports do not hold the layers as they were loaded")
        }
    }
}

/// Owns a spool while an export streams by.
private actor ExportReader {
    private let spool: ExportSpool

    init(_ spool: sending ExportSpool) { self.spool = spool }

    var missing: Set<Int> { spool.missing }
    func feed(_ piece: [UInt8]) throws { try spool.feed(piece) }
}
