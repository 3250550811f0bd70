import Base
import DockerEngine
import Model
import ReleaseBundle

/// What the container engine has of the layers that deltas are made from.
public struct EngineBases: Sendable {
    public struct Image: Sendable {
        /// As the engine names it in an export.
        public var id: String
        /// From the bottom up.
        public var diffIDs: [Digest]
        /// Extracted layers that can be read on this host, by diffID; empty where the engine keeps none.
        public var trees: [Digest: LayerPlace]

        public init(id: String, diffIDs: [Digest], trees: [Digest: LayerPlace]) {
            self.id = id
            self.diffIDs = diffIDs
            self.trees = trees
        }
    }

    /// All images, managed or not.
    public var images: @Sendable () async throws -> [Image]
    /// A `docker save` archive of one image, whose layers are the very tars that were loaded.
    public var export: @Sendable (_ id: String) async throws -> PullSequence<[UInt8]>

    public init(
        images: @escaping @Sendable () async throws -> [Image],
        export: @escaping @Sendable (_ id: String) async throws -> PullSequence<[UInt8]>
    ) {
        self.images = images
        self.export = export
    }

    /// An engine that gives nothing.
    public static let none = EngineBases(images: { [] }, export: { _ in PullSequence { { nil } } })
}

extension EngineBases {
    /// Most images looked at: each costs the engine an inspection.
    static let inspectedImageLimit = 500

    /// The Docker Engine: extracted layers where it keeps them with overlay2, exports in any case.
    public static func docker(_ client: EngineClient) -> EngineBases {
        EngineBases(
            images: {
                let info = try await client.info()
                // With the containerd image store there are no directories to be had from an inspection.
                let isExtracted =
                    !info.usesContainerdImageStore && info.storageDriver == "overlay2" && info.dataRoot.hasPrefix("/")
                var images: [Image] = []
                for summary in try await client.listImages().prefix(inspectedImageLimit) {
                    guard let details = try await client.findImage(summary.id) else { continue }
                    let diffIDs = details.layers.compactMap { Digest($0) }
                    guard diffIDs.count == details.layers.count else { continue }
                    images.append(
                        Image(
                            id: details.id, diffIDs: diffIDs,
                            trees: isExtracted ? trees(details.layerDirectories, diffIDs, below: info.dataRoot) : [:]))
                }
                return images
            },
            export: { id in
                .produced { push in try await client.saveImage(id) { try await push($0) } }
            })
    }

    /// Which directory is which layer; the engine names the directories from the top down, the layers from the bottom up.
    /// Only what lies below the engine's own folder is taken, whatever the inspection says.
    static func trees(_ directories: [String], _ diffIDs: [Digest], below root: String) -> [Digest: LayerPlace] {
        guard directories.count == diffIDs.count else { return [:] }
        var trees: [Digest: LayerPlace] = [:]
        let prefix = root.hasSuffix("/") ? root : root + "/"
        for (diffID, directory) in zip(diffIDs, directories.reversed()) {
            guard directory.hasPrefix(prefix) else { continue }
            let path = String(directory.dropFirst(prefix.count))
            guard Path.isPlainRelative(path) else { continue }
            trees[diffID] = .tree(path: path, below: root)
        }
        return trees
    }
}
