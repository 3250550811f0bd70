import Base
import Model

/// A release as targets metadata lists it: what a device needs to choose, before it fetches anything.
public struct ReleaseTarget: Sendable, Equatable {
    /// `<app>/<version>.release.json`.
    public let path: String
    /// SHA-256 of the release document.
    public let digest: Digest
    /// Bytes of the release document.
    public let length: Int64
    public let app: String
    public let version: SemanticVersion
    public let ctr: Int64
    public let epoch: Int64
    /// Labels that a device must have, all of them; empty selects every device.
    public let selector: [String: String]
    /// OCI architecture names; empty means any.
    public let architectures: [String]
    /// Devices that this is for and no other, by id, ascending; nil where the selector alone says. A director's word.
    public let devices: [String]?

    static let pathSuffix = ".release.json"
    /// Labels in one selector.
    static let selectorLimit = 64
    /// Devices that one target may name.
    public static let deviceLimit = 65_536

    public init(
        app: String, version: SemanticVersion, ctr: Int64, epoch: Int64, selector: [String: String] = [:],
        architectures: [String] = [], devices: [String]? = nil, digest: Digest, length: Int64
    ) {
        path = Self.path(app: app, version: version)
        self.digest = digest
        self.length = length
        self.app = app
        self.version = version
        self.ctr = ctr
        self.epoch = epoch
        self.selector = selector
        self.architectures = architectures
        self.devices = devices.map { Set($0.map { ExactText($0) }).sorted().map(\.text) }
    }

    /// The same release for these devices only.
    func assigned(to devices: [String]) -> ReleaseTarget {
        ReleaseTarget(
            app: app, version: version, ctr: ctr, epoch: epoch, architectures: architectures, devices: devices,
            digest: digest, length: length)
    }

    public static func path(app: String, version: SemanticVersion) -> String {
        "\(app)/\(version)\(pathSuffix)"
    }

    /// Reads the `holdfast` part of a target's `custom`; the path must be the one that app and version give.
    init(_ file: TargetFile) throws(TrustError) {
        guard let node = file.custom?["holdfast"], let app = node["app"]?.string,
            let version = node["version"]?.string.flatMap(SemanticVersion.init), let ctr = node["ctr"]?.integer,
            let epoch = node["epoch"]?.integer, ctr >= 0, epoch >= 0
        else {
            throw TrustError(.releaseMalformed, file.path, "no app, version, ctr and epoch in custom.holdfast")
        }
        guard file.path.isExactly(Self.path(app: app, version: version)) else {
            throw TrustError(.releaseMalformed, file.path, "lists itself as \(app) \(version)")
        }
        guard let digest = file.hashes.sha256 else {
            throw TrustError(.hashUnsupported, file.path, "a release must be listed with its sha256")
        }
        path = file.path
        self.digest = digest
        length = file.length
        self.app = app
        self.version = version
        self.ctr = ctr
        self.epoch = epoch
        var selector: [String: String] = [:]
        if let table = node["selector"] {
            guard table.isObject, table.count <= Self.selectorLimit else {
                throw TrustError(.releaseMalformed, file.path, "a selector is an object of at most 64 labels")
            }
            try table.forEachMember { (name, value) throws(TrustError) in
                guard let label = name.string, let wanted = value.string else {
                    throw TrustError(.releaseMalformed, file.path, "a selector's labels are strings")
                }
                // A table that Swift's equality makes smaller would select more devices than were signed for.
                guard selector.updateValue(wanted, forKey: label) == nil else {
                    throw TrustError(.releaseMalformed, file.path, "labels that differ in normalisation only")
                }
            }
        }
        self.selector = selector
        let list = node["architectures"]?.elements ?? []
        architectures = list.compactMap(\.string)
        guard architectures.count == list.count else {
            throw TrustError(.releaseMalformed, file.path, "architectures are strings")
        }
        devices = try Self.devices(node["devices"], file.path)
    }

    /// Reads what a list says, as this writer keeps it; nil for what is no release. Below `folder` the path is the rest.
    init?(_ entry: JSONValue, path: String, below folder: String) {
        let bin = path.utf8.dropFirst(folder.utf8.count)
        guard path.utf8.starts(with: folder.utf8), let fields = entry["custom"]?["holdfast"],
            let digest = entry["hashes"]?["sha256"]?.string.flatMap({ Hex.decode($0) }).flatMap(Digest.init(bytes:)),
            let length = entry["length"]?.integer, let app = fields["app"]?.string,
            let version = fields["version"]?.string.flatMap(SemanticVersion.init), let ctr = fields["ctr"]?.integer,
            let epoch = fields["epoch"]?.integer,
            String(decoding: bin, as: UTF8.self).isExactly(Self.path(app: app, version: version))
        else { return nil }
        self.init(
            app: app, version: version, ctr: ctr, epoch: epoch,
            selector: fields["selector"]?.object?.compactMapValues(\.string) ?? [:],
            architectures: fields["architectures"]?.array?.compactMap(\.string) ?? [],
            devices: fields["devices"]?.array?.compactMap(\.string), digest: digest, length: length)
    }

    private static func devices(_ node: JSONNode?, _ path: String) throws(TrustError) -> [String]? {
        guard let node else { return nil }
        guard node.isArray, node.count <= deviceLimit else {
            throw TrustError(.releaseMalformed, path, "devices are a list of at most \(deviceLimit) names")
        }
        let names = node.elements.compactMap(\.string)
        guard names.count == node.count else { throw TrustError(.releaseMalformed, path, "devices are strings") }
        return names
    }

    /// The target's `custom`, as the writer puts it.
    public var custom: JSONValue {
        var fields: JSONObject = [
            "app": .string(app), "version": .string(version.description), "ctr": .integer(ctr),
            "epoch": .integer(epoch), "selector": .object(selector.mapValues { .string($0) }),
            "architectures": .array(architectures.map { .string($0) }),
        ]
        if let devices { fields["devices"] = .array(devices.map { .string($0) }) }
        return ["holdfast": .object(fields)]
    }

    /// Why this release is not for `device`; nil when it is.
    public func mismatch(with device: DeviceIdentity) -> String? {
        if let devices, !devices.contains(where: { $0.isExactly(device.id) }) {
            return "is not assigned to device \(device.id)"
        }
        if !architectures.isEmpty, !architectures.contains(device.architecture) {
            return "for \(architectures.joined(separator: ", ")), the device is \(device.architecture)"
        }
        let labels = device.selectable
        for (label, wanted) in selector.sorted(by: { $0.key < $1.key }) {
            guard let actual = labels[label] else {
                return "wants label \(label)=\(wanted), the device has no \(label)"
            }
            guard actual.isExactly(wanted) else { return "wants label \(label)=\(wanted), the device's is \(actual)" }
        }
        return nil
    }
}
