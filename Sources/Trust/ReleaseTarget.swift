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

    static let pathSuffix = ".release.json"
    /// Labels in one selector.
    static let selectorLimit = 64

    public init(
        app: String, version: SemanticVersion, ctr: Int64, epoch: Int64, selector: [String: String] = [:],
        architectures: [String] = [], digest: Digest, length: Int64
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
        guard file.path == Self.path(app: app, version: version) else {
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
                selector[label] = wanted
            }
        }
        self.selector = selector
        let list = node["architectures"]?.elements ?? []
        architectures = list.compactMap(\.string)
        guard architectures.count == list.count else {
            throw TrustError(.releaseMalformed, file.path, "architectures are strings")
        }
    }

    /// The target's `custom`, as the writer puts it.
    public var custom: JSONValue {
        [
            "holdfast": [
                "app": .string(app), "version": .string(version.description), "ctr": .integer(ctr),
                "epoch": .integer(epoch), "selector": .object(selector.mapValues { .string($0) }),
                "architectures": .array(architectures.map { .string($0) }),
            ]
        ]
    }

    /// Why this release is not for `device`; nil when it is.
    public func mismatch(with device: DeviceIdentity) -> String? {
        if !architectures.isEmpty, !architectures.contains(device.architecture) {
            return "for \(architectures.joined(separator: ", ")), the device is \(device.architecture)"
        }
        let labels = device.selectable
        for (label, wanted) in selector.sorted(by: { $0.key < $1.key }) {
            guard let actual = labels[label] else { return "wants label \(label)=\(wanted), the device has no \(label)" }
            guard actual == wanted else { return "wants label \(label)=\(wanted), the device's is \(actual)" }
        }
        return nil
    }
}
