import Base
import Model

/// An image whose bytes in the engine are not the signed ones.
struct DamagedImage: Sendable {
    var image: Release.Image
    /// Index of the lowest layer that is wrong; nil when only the image's own documents are.
    var firstDamagedLayer: Int?

    private var chain: [Digest]? { firstDamagedLayer.map { image.layers[...$0].map(\.diffID) } }

    /// Whether an image with these layers stands on the damaged one.
    func affects(_ diffIDs: [Digest]) -> Bool { chain.map { diffIDs.starts(with: $0) } ?? false }
}

extension Reconciler {
    /// Takes a damaged image out of the engine, with every image of the agent's that stands on the same damaged layer
    /// and the managed containers that run on them; the next look loads and makes them anew. An engine keeps a layer
    /// for as long as one image has it.
    ///
    /// - Returns: false when something that is not the agent's keeps the image or the layer; nothing is stopped then
    ///   if that can be seen before.
    func drop(_ damage: DamagedImage) async throws -> Bool {
        // Loaded anew between two removals, one image would keep the layer for the other.
        try await undisturbed { [self] in try await take(damage) }
    }

    private func take(_ damage: DamagedImage) async throws -> Bool {
        let engine = environment.engine
        let own = Labels.imageRepository + "/"
        let id = damage.image.config.digest
        var affected: [EngineImage] = []
        for listed in try await engine.images() {
            // A list of images says nothing of their layers.
            let diffIDs = try await engine.image(listed.id)?.diffIDs ?? []
            if listed.id == id || damage.affects(diffIDs) { affected.append(listed) }
        }
        guard affected.allSatisfy({ !$0.tags.isEmpty && $0.tags.allSatisfy { $0.hasPrefix(own) } }) else { return false }
        let ids = Set(affected.map(\.id))
        for container in try await engine.containers() where ids.contains(container.imageID) {
            environment.heartbeat.beat(covering: Self.dropGrace)
            try await engine.stopContainer(container.name, grace: Self.dropGrace)
            try await engine.removeContainer(container.name)
        }
        for tag in affected.flatMap(\.tags) { try await engine.removeImage(tag: tag) }
        if let layer = damage.firstDamagedLayer {
            let diffIDs = damage.image.layers.map(\.diffID)
            return try await !engine.presentLayers(of: diffIDs).contains(diffIDs[layer])
        }
        return try await engine.image(id) == nil
    }

    /// For containers whose files are wrong already.
    private static let dropGrace = Duration.seconds(10)
}
