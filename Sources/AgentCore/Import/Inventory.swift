import Base
import Model
import OCI
import ReleaseBundle

extension Importer {
    /// What this device holds, for whoever writes a bundle for it.
    ///
    /// An engine that does not answer is left out: what it holds is then sent, which costs bytes and nothing else.
    func inventory() async throws -> DeviceInventory {
        var places: [Digest: Set<String>] = [:]
        for image in (try? await bases.images()) ?? [] {
            for diffID in image.diffIDs { places[diffID, default: []].insert(LayerPlaceKind.export.rawValue) }
            for diffID in image.trees.keys { places[diffID, default: []].insert(LayerPlaceKind.tree.rawValue) }
        }
        for release in try await knownReleases() {
            for layer in release.images.values.flatMap(\.layers) where try store.holds(layer) {
                places[layer.diffID, default: []].insert(DeviceInventory.HeldLayer.store)
            }
        }
        let releases = try await journal.releases().filter { $0.role != .failed && $0.role != .old }
        return DeviceInventory(
            device: try await journal.device()?.id ?? "", architecture: architecture,
            releases: releases.map {
                .init(app: $0.app, version: $0.version, digest: $0.digest, role: $0.role.rawValue)
            },
            blobs: try store.list().map(\.digest).sorted(),
            layers: places.sorted { $0.key < $1.key }.map { .init(diffID: $0.key, places: $0.value.sorted()) })
    }

    /// Releases whose content is kept here.
    func knownReleases() async throws -> [Release] {
        try await journal.desired().flatMap { [$0.target.release, $0.previous?.release].compactMap { $0 } }
    }
}
