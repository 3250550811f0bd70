import Base
import Model

/// A named volume of the engine.
public struct VolumeInfo: Sendable, Hashable {
    public var name: String
    public var driver: String
    public var mountPoint: String
    public var labels: [String: String]
}

extension EngineClient {
    /// Makes a volume; one of that name and driver that exists is left as it is, labels included.
    @discardableResult
    public func createVolume(
        name: String, _ volume: Release.Volume, labels: [String: String]
    ) async throws(EngineError) -> VolumeInfo {
        let body: JSONValue = [
            "Name": .string(name), "Driver": .string(volume.driver ?? "local"),
            "DriverOpts": .stringMap(volume.driverOptions),
            "Labels": .stringMap(volume.labels.merging(labels) { $1 }),
        ]
        let answer = try await call(
            .post, "/volumes/create", body: .json(body), pace: .change, "create volume \(name)")
        return try VolumeInfo(try answer.fields())
    }

    public func listVolumes(labels: [String] = []) async throws(EngineError) -> [VolumeInfo] {
        let operation = "list volumes"
        let filters = labels.isEmpty ? [:] : ["label": labels]
        let answer = try await call(
            .get, "/volumes", query: [("filters", Self.filters(filters, operation))], operation)
        var output: [VolumeInfo] = []
        for fields in try answer.fields().list("Volumes") { output.append(try VolumeInfo(fields)) }
        return output
    }

    public func inspectVolume(_ volume: String) async throws(EngineError) -> VolumeInfo {
        let operation = "inspect volume \(volume)"
        return try VolumeInfo(
            try await call(.get, "/volumes/" + Self.component(volume, operation), operation).fields())
    }

    /// A volume in use is `engine.conflict`.
    public func removeVolume(_ volume: String) async throws(EngineError) {
        let operation = "remove volume \(volume)"
        try await call(
            .delete, "/volumes/" + Self.component(volume, operation), pace: .change, operation)
    }
}

extension VolumeInfo {
    init(_ fields: Fields) throws(EngineError) {
        name = try fields.string("Name")
        driver = fields.optionalString("Driver") ?? ""
        mountPoint = fields.optionalString("Mountpoint") ?? ""
        labels = fields.stringMap("Labels")
    }
}
