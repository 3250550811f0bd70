import Base
import Model
import Trust

/// A delta of a release with what people call its two ends.
public struct DeltaOrigin: Sendable, Equatable {
    public var delta: Release.LayerDelta
    /// Releases here of which a service has exactly the delta's base layers.
    public var releases: [ReleaseName]
    /// Services of the new release that run on the layer it makes.
    public var services: [String]
    /// Bytes of the layer that it stands for.
    public var wholeBytes: Int64
}

extension Workspace {
    /// The deltas of a release, in its order.
    public func deltaOrigins(of release: Release) throws -> [DeltaOrigin] {
        var origins: [[Digest]: Set<ReleaseName>] = [:]
        // Nothing to look for, nothing to read.
        for target in release.deltas.isEmpty ? [] : try repository.releases() where target.app == release.app {
            guard let document = try? repository.document(of: target), let older = try? Release(decoding: document)
            else { continue }
            for image in older.images.values {
                origins[image.layers.map(\.diffID), default: []].insert(.init(app: target.app, version: target.version))
            }
        }
        return release.deltas.map { delta in
            let images = release.images.filter { $0.value.layers.contains { $0.diffID == delta.target } }
            let layer = images.values.flatMap(\.layers).first { $0.diffID == delta.target }
            return DeltaOrigin(
                delta: delta,
                releases: (origins[delta.base] ?? []).sorted { ($0.app, $0.version) < ($1.app, $1.version) },
                services: release.services.filter { images[$0.value.image] != nil }.keys.sorted(),
                wholeBytes: layer?.blob.size ?? 0)
        }
    }
}
