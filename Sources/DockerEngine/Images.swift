import Base
import Model
import NIOCore

/// An image as a list shows it.
public struct ImageSummary: Sendable, Hashable {
    /// `sha256:…`, the digest of the image's config.
    public var id: String
    /// `repository:tag`.
    public var tags: [String]
    public var labels: [String: String]
    /// Bytes on disk, shared layers included.
    public var size: Int64
    public var created: Int64
}

/// An image as an inspection shows it.
public struct ImageDetails: Sendable, Hashable {
    public var id: String
    public var tags: [String]
    public var labels: [String: String]
    public var architecture: String
    public var operatingSystem: String
    /// Bytes on disk, shared layers included.
    public var size: Int64
    /// diffIDs from the bottom up.
    public var layers: [String]
    public var storageDriver: String
    /// The storage driver's own data: `UpperDir`, `LowerDir`, … with overlay2.
    public var storage: [String: String]
    /// The health check that the image carries, as the engine takes it.
    public var healthcheck: [String]

    /// Directories with the layers' extracted files, from the top down; empty where the engine has none.
    public var layerDirectories: [String] {
        guard let upper = storage["UpperDir"] else { return [] }
        return [upper] + (storage["LowerDir"]?.split(separator: ":").map(String.init) ?? [])
    }
}

extension EngineClient {
    /// A reference or ID within a path: the engine takes slashes and colons in it as they are.
    private func imagePath(_ image: String, _ action: String, _ operation: String) throws(EngineError)
        -> String
    {
        let parts = image.split(separator: "/", omittingEmptySubsequences: false)
        var encoded: [String] = []
        for part in parts { encoded.append(try Self.component(String(part), operation)) }
        return "/images/" + encoded.joined(separator: "/") + action
    }

    /// Top-level images that have all `labels`, with references that match one of `references`.
    public func listImages(labels: [String] = [], references: [String] = []) async throws(EngineError)
        -> [ImageSummary]
    {
        let operation = "list images"
        var filters: [String: [String]] = [:]
        if !labels.isEmpty { filters["label"] = labels }
        if !references.isEmpty { filters["reference"] = references }
        let answer = try await call(
            .get, "/images/json", query: [("filters", Self.filters(filters, operation))], operation)
        var output: [ImageSummary] = []
        for fields in try answer.list() {
            output.append(
                ImageSummary(
                    id: try fields.string("Id"),
                    tags: try fields.strings("RepoTags").filter { $0 != "<none>:<none>" },
                    labels: fields.stringMap("Labels"), size: fields.integer("Size", default: 0),
                    created: fields.integer("Created", default: 0)))
        }
        return output
    }

    /// A missing image is `engine.not-found`.
    public func inspectImage(_ image: String) async throws(EngineError) -> ImageDetails {
        let operation = "inspect image \(image)"
        let fields = try await call(.get, imagePath(image, "/json", operation), operation).fields()
        let storage = fields.optionalFields("GraphDriver")
        let config = fields.optionalFields("Config")
        return ImageDetails(
            id: try fields.string("Id"), tags: try fields.strings("RepoTags"),
            labels: config?.stringMap("Labels") ?? [:],
            architecture: fields.optionalString("Architecture") ?? "",
            operatingSystem: fields.optionalString("Os") ?? "", size: fields.integer("Size", default: 0),
            layers: try fields.optionalFields("RootFS")?.strings("Layers") ?? [],
            storageDriver: storage?.optionalString("Name") ?? "",
            storage: storage?.stringMap("Data") ?? [:],
            healthcheck: try config?.optionalFields("Healthcheck")?.strings("Test") ?? [])
    }

    /// Nil for a missing image.
    public func findImage(_ image: String) async throws(EngineError) -> ImageDetails? {
        do {
            return try await inspectImage(image)
        } catch let error where error.reason == .notFound {
            return nil
        }
    }

    public func tagImage(_ image: String, repository: String, tag: String) async throws(EngineError) {
        let operation = "tag image \(image) as \(repository):\(tag)"
        try await call(
            .post, imagePath(image, "/tag", operation), query: [("repo", repository), ("tag", tag)],
            pace: .change,
            operation)
    }

    /// Removes a reference, and the image with its last one. An image in use is `engine.conflict`.
    ///
    /// - Parameter keepParents: leave untagged parent images in place.
    public func removeImage(_ image: String, force: Bool = false, keepParents: Bool = false)
        async throws(EngineError)
    {
        let operation = "remove image \(image)"
        try await call(
            .delete, imagePath(image, "", operation),
            query: [("force", force ? "1" : "0"), ("noprune", keepParents ? "1" : "0")], pace: .change,
            operation)
    }

    /// Loads a `docker load` archive pulled from `archive`, and gives the references and IDs that the
    /// engine says it loaded.
    ///
    /// Memory is bounded by the producer's pieces. An error that the engine reports within its answer,
    /// after it said 200, is thrown as `engine.failed`.
    public func loadImage(_ archive: BodyProducer) async throws -> [String] {
        // Its progress lines are the only sign of life while the engine unpacks layers, which may take long.
        try await sendArchive("/images/load", query: [("quiet", "0")], archive, "load an image")
    }

    /// Makes an image of one layer from a tar of its files.
    public func importImage(
        _ tar: BodyProducer, repository: String, tag: String, changes: [String] = []
    ) async throws {
        let query =
            [(name: "fromSrc", value: "-"), (name: "repo", value: repository), (name: "tag", value: tag)]
            + changes.map { (name: "changes", value: $0) }
        _ = try await sendArchive(
            "/images/create", query: query, tar, "import image \(repository):\(tag)")
    }

    private func sendArchive(
        _ path: String, query: [(name: String, value: String)], _ archive: BodyProducer,
        _ operation: String
    ) async throws -> [String] {
        let loaded = Slot<[String]>([])
        try await streamLines(
            .post, path, query: query, body: .stream(archive), pace: .transfer, operation
        ) { line in
            if let words = line["errorDetail"]?["message"]?.string ?? line["error"]?.string {
                throw EngineError(
                    .failed, operation: operation, detail: EngineError.clean(words), status: 200)
            }
            guard let text = line["stream"]?.string else { return }
            for prefix in ["Loaded image: ", "Loaded image ID: "] where text.hasPrefix(prefix) {
                let name = EngineError.clean(String(text.dropFirst(prefix.count)))
                if let names = loaded.value, names.count < Self.loadedNameLimit {
                    loaded.set(names + [name])
                }
            }
        }
        return loaded.value ?? []
    }

    /// Most names kept of what one archive loaded.
    private static let loadedNameLimit = 1000

    /// Gives a `docker save` archive of `image` to `consume`, piece by piece.
    public func saveImage(
        _ image: String, consume: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        let operation = "save image \(image)"
        try await stream(.get, imagePath(image, "/get", operation), pace: .transfer, operation) {
            piece in
            try await consume(Array(piece.readableBytesView))
        }
    }
}
