import Base
import Trust

/// Trusted metadata in a folder, under unversioned names.
struct MetadataFolder {
    let path: String
    private let fileSystem = FileSystem()
    private static let suffix = ".json"
    /// Bytes of one file.
    private static let fileLimit = 64 << 20

    init(_ path: String) { self.path = path }

    /// Everything that is kept. Delegated roles are kept under their percent-encoded names.
    func load() throws -> TrustedMetadata {
        var roles = ExactMap<[UInt8]>()
        guard try fileSystem.status(path) != nil else {
            throw TrustError(.notProvisioned, path, "is not there: run init first")
        }
        for name in try fileSystem.list(path) where name.hasSuffix(Self.suffix) {
            guard let role = MetadataName.decoded(String(name.dropLast(Self.suffix.count))) else { continue }
            roles[role] = try fileSystem.read(Path.join(path, name), limit: Self.fileLimit)
        }
        guard let root = roles.removeValue(forKey: "root") else {
            throw TrustError(.notProvisioned, path, "holds no root.json: run init first")
        }
        return TrustedMetadata(
            root: root, timestamp: roles.removeValue(forKey: "timestamp"),
            snapshot: roles.removeValue(forKey: "snapshot"), targets: roles.removeValue(forKey: "targets"),
            delegated: roles)
    }

    /// Replaces a role's file whole, or with nil removes it.
    func keep(_ role: String, _ bytes: [UInt8]?) throws {
        let file = Path.join(path, MetadataName.encoded(role) + Self.suffix)
        guard let bytes else { return try fileSystem.unlink(file, op: "metadata.forget") }
        try fileSystem.replace(file, with: bytes, op: "metadata.keep")
    }

    /// Takes a root as trusted from now on.
    func initialize(root file: String) throws {
        let bytes = try fileSystem.read(file, limit: TrustLimits.standard.rootBytes)
        _ = try TrustState.provision(releaseRoot: bytes, buildTime: Timestamp(seconds: 0))
        try fileSystem.makeDirectories(path, op: "metadata.initialize")
        try keep("root", bytes)
    }
}
