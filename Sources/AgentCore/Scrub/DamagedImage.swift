import Base
import Model

extension Reconciler {
    /// Takes a damaged image out of the engine with the managed containers that run on it; the next look loads it and
    /// makes them anew. False when something else keeps the image or one of its layers.
    public func dropImage(_ image: Release.Image) async throws -> Bool {
        let engine = environment.engine
        let id = image.config.digest
        for container in try await engine.containers() where container.imageID == id {
            environment.heartbeat.beat(covering: Self.dropGrace)
            try await engine.stopContainer(container.name, grace: Self.dropGrace)
            try await engine.removeContainer(container.name)
        }
        for tag in try await engine.images().first(where: { $0.id == id })?.tags ?? []
        where tag.hasPrefix(Labels.imageRepository + "/") {
            try await engine.removeImage(tag: tag)
        }
        let isGone = try await engine.image(id) == nil
        wake()
        return isGone
    }

    /// For containers whose files are wrong already.
    private static let dropGrace = Duration.seconds(10)
}
