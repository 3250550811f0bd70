import Base
import Model
import OCI
import ReleaseBundle
import Trust

extension Workspace {
    /// What goes into a bundle of these releases.
    ///
    /// - Parameters:
    ///   - installed: releases that every receiver has; their blobs stay out.
    ///   - from: releases of which every receiver has at least one. A blob that all of them have stays out, and so
    ///     does a layer that a delta makes from each of them; the deltas go in.
    /// - Throws: `operator.not-signed` for a release whose listing waits for signatures.
    public func bundlePlan(_ names: [ReleaseName], installed: [ReleaseName] = [], from: [ReleaseName] = []) throws -> BundlePlan {
        var entries: [BundlePlan.Entry] = []
        for name in names {
            let stored = try release(name)
            guard try isPublished(stored.target) else { throw waits(name) }
            entries.append(.init(release: stored.release, document: stored.document))
        }
        var omitted: Set<Digest> = []
        for name in installed { omitted.formUnion(ReleaseBuilder.blobs(of: try release(name).release).map(\.digest)) }
        let bases = try from.map { try release($0).release }
        guard !bases.isEmpty else { return BundlePlan(entries, omitting: omitted) }
        var wanted: Set<Digest> = []
        for entry in entries {
            let road = DeltaRoad(entry.release, from: bases)
            omitted.formUnion(road.omitted)
            wanted.formUnion(road.deltas)
        }
        return BundlePlan(entries, omitting: omitted) { wanted.contains($0.blob.digest) }
    }

    /// A writer of bundles from this folder, with the metadata of the director if there is one.
    public func bundleWriter() -> BundleWriter {
        var metadata: [RepositoryName: String] = [.release: repository.metadataDirectory]
        if let director { metadata[.director] = director.metadataDirectory }
        return BundleWriter(blobs: blobs, metadata: metadata, fileSystem: fileSystem)
    }
}

/// How receivers that have one of several releases get another: what they have, what deltas make, what must be sent.
struct DeltaRoad {
    private(set) var omitted: Set<Digest> = []
    /// Blobs of the deltas that go in.
    private(set) var deltas: Set<Digest> = []

    init(_ release: Release, from bases: [Release]) {
        let held = bases.map { Set(ReleaseBuilder.blobs(of: $0).map(\.digest)) }
        for blob in ReleaseBuilder.blobs(of: release) where held.allSatisfy({ $0.contains(blob.digest) }) {
            omitted.insert(blob.digest)
        }
        let layersOf = bases.map { Set($0.images.values.flatMap { $0.layers.map(\.diffID) }) }
        for layer in Set(release.images.values.flatMap(\.layers)) where !omitted.contains(layer.blob.digest) {
            // For every base the cheapest delta, unless it has the layer; one base without either needs the layer whole.
            var chosen: Set<Digest> = []
            var isServed = true
            for layers in layersOf where !layers.contains(layer.diffID) {
                let usable = release.deltas.filter { $0.target == layer.diffID && layers.isSuperset(of: $0.base) }
                guard let cheapest = usable.min(by: { $0.blob.size < $1.blob.size }) else {
                    isServed = false
                    break
                }
                chosen.insert(cheapest.blob.digest)
            }
            guard isServed else { continue }
            omitted.insert(layer.blob.digest)
            deltas.formUnion(chosen)
        }
    }
}
