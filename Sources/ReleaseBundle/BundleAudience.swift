import Model

/// Whom a bundle serves that leaves out what its receivers have. Like all of the index it is a hint: what a device
/// lacks it finds out by itself.
public struct BundleAudience: Hashable, Sendable {
    /// Names kept of each kind.
    public static let nameLimit = 256
    /// Bytes of one annotation that are read.
    private static let textLimit = 64 << 10

    /// Releases, `app/version`, of which a device needs one.
    public var bases: [String]
    /// Devices whose inventories it was made for.
    public var devices: [String]

    public init(bases: [String], devices: [String]) {
        self.bases = Array(bases.sorted().prefix(Self.nameLimit))
        self.devices = Array(devices.filter { !$0.isEmpty }.sorted().prefix(Self.nameLimit))
    }

    /// What an entry of the index says; nil when it says nothing that can be read.
    init?(_ annotations: [String: String]) {
        func names(_ key: String) -> [String] {
            guard let text = annotations[key], text.utf8.count <= Self.textLimit,
                let value = try? JSONValue(parsing: Array(text.utf8))
            else { return [] }
            return value.array?.compactMap(\.string) ?? []
        }
        self.init(bases: names(BundleFormat.basesAnnotation), devices: names(BundleFormat.devicesAnnotation))
        if bases.isEmpty, devices.isEmpty { return nil }
    }

    /// JSON lists of text, since annotations are text.
    func annotations() throws -> [String: String] {
        var output: [String: String] = [:]
        for (key, names) in [(BundleFormat.basesAnnotation, bases), (BundleFormat.devicesAnnotation, devices)]
        where !names.isEmpty {
            let list = JSONValue.array(names.map { .string($0) })
            output[key] = String(decoding: try list.serialized(.compact), as: UTF8.self)
        }
        return output
    }

    public var json: JSONValue {
        ["bases": .array(bases.map { .string($0) }), "devices": .array(devices.map { .string($0) })]
    }
}
