import Base

/// What a device holds, as `holdfast-agent inventory` prints it and `holdfast bundle export --for` reads it. Nobody
/// signs it: it only says what need not be carried there.
public struct DeviceInventory: Sendable, Equatable {
    public static let format = "holdfast.inventory.v1"
    /// Bytes of a document.
    public static let documentLimit = 8 << 20
    /// Blobs, layers, releases of one.
    public static let entryLimit = 50_000

    public struct HeldRelease: Sendable, Equatable {
        public var app: String
        public var version: String
        /// Of the release document.
        public var digest: Digest
        /// `current`, `candidate`, `previous` …
        public var role: String

        public init(app: String, version: String, digest: Digest, role: String) {
            self.app = app
            self.version = version
            self.digest = digest
            self.role = role
        }
    }

    public struct HeldLayer: Sendable, Equatable {
        public var diffID: Digest
        /// `store`, `engine-layers`, `engine-export`: where it can be read from.
        public var places: [String]

        public init(diffID: Digest, places: [String]) {
            self.diffID = diffID
            self.places = places
        }

        public static let store = "store"
    }

    /// The device's name; empty before it is provisioned.
    public var device: String
    public var architecture: String
    public var releases: [HeldRelease]
    /// Blobs of the agent's store, by digest.
    public var blobs: [Digest]
    public var layers: [HeldLayer]

    public init(
        device: String, architecture: String, releases: [HeldRelease], blobs: [Digest], layers: [HeldLayer]
    ) {
        self.device = device
        self.architecture = architecture
        self.releases = releases
        self.blobs = blobs
        self.layers = layers
    }

    public var json: JSONValue {
        [
            "format": .string(Self.format), "device": .string(device), "architecture": .string(architecture),
            "releases": .array(
                releases.map {
                    [
                        "app": .string($0.app), "version": .string($0.version),
                        "digest": .string($0.digest.description), "role": .string($0.role),
                    ]
                }),
            "blobs": .array(blobs.map { .string($0.description) }),
            "layers": .array(
                layers.map {
                    ["diffID": .string($0.diffID.description), "places": .array($0.places.map { .string($0) })]
                }),
        ]
    }

    /// What is wrong with a document.
    public struct Malformed: CodedError, Equatable {
        public var detail: String
        public var code: String { "inventory.malformed" }
        public var message: String { "no inventory: \(detail)" }
        public var hint: String? { "make it on the device with: holdfast-agent inventory --output json" }
        public var exitStatus: ExitStatus { .dataError }
    }

    /// Reads a document that anyone may have written: bounded, and nothing in it left out silently.
    public init(decoding bytes: [UInt8]) throws(Malformed) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: bytes, limits: JSONLimits(size: Self.documentLimit, depth: 8))
        } catch {
            throw Malformed(detail: error.message)
        }
        guard value["format"]?.string == Self.format else {
            throw Malformed(detail: "its format is not \(Self.format)")
        }
        device = value["device"]?.string ?? ""
        architecture = value["architecture"]?.string ?? ""
        releases = try Self.list(value, "releases") { entry in
            guard let app = entry["app"]?.string, let version = entry["version"]?.string,
                let digest = entry["digest"]?.string.flatMap({ Digest($0) }), let role = entry["role"]?.string
            else { return nil }
            return HeldRelease(app: app, version: version, digest: digest, role: role)
        }
        blobs = try Self.list(value, "blobs") { $0.string.flatMap { Digest($0) } }
        layers = try Self.list(value, "layers") { entry in
            guard let diffID = entry["diffID"]?.string.flatMap({ Digest($0) }), let places = entry["places"]?.array
            else { return nil }
            return HeldLayer(diffID: diffID, places: places.compactMap(\.string))
        }
    }

    private static func list<Element>(
        _ value: JSONValue, _ field: String, _ read: (JSONValue) -> Element?
    ) throws(Malformed) -> [Element] {
        guard let entries = value[field]?.array else { throw Malformed(detail: "\(field) is no list") }
        guard entries.count <= entryLimit else {
            throw Malformed(detail: "\(field) has \(entries.count) entries, at most \(entryLimit)")
        }
        var output: [Element] = []
        for (index, entry) in entries.enumerated() {
            guard let element = read(entry) else { throw Malformed(detail: "\(field)[\(index)] cannot be read") }
            output.append(element)
        }
        return output
    }
}
