import Base
import Glibc
import Trust
import WireGuard

/// The device's own keys: a WireGuard key per slot, and the ed25519 key that signs what it says.
///
/// Each in a file of mode 0600 in a folder of mode 0700, written whole before its public half leaves the device.
public struct DeviceKeys: Sendable {
    static let operationLabel = "hub.keys"
    public let directory: String
    private let fileSystem: FileSystem

    public init(directory: String, fileSystem: FileSystem) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    func prepare() throws {
        try fileSystem.makeDirectories(directory, mode: 0o700, op: Self.operationLabel)
        try fileSystem.syncDirectory(Path.parent(directory), op: Self.operationLabel)
    }

    func tunnelKeyFile(_ slot: Slot) -> KeyFile {
        KeyFile(path: Path.join(directory, slot.rawValue + ".key"), fileSystem: fileSystem)
    }

    private var signingPath: String { Path.join(directory, "signing.key") }

    /// The signing key, made and kept when there is none.
    func signer() throws -> Ed25519Signer {
        if let status = try fileSystem.status(signingPath) {
            guard status.kind == .file, status.mode & 0o177 == 0, status.owner == geteuid() else {
                throw HubLinkError(
                    .state, "\(signingPath) is open to others than its owner",
                    hint: "leave the hub and enrol again: the key may be known")
            }
            let text = String(decoding: try fileSystem.read(signingPath, limit: 256), as: UTF8.self)
            guard let seed = Hex.decode(String(text.prefix { $0 != "\n" })), seed.count == Ed25519Signer.seedBytes
            else { throw HubLinkError(.state, "\(signingPath) holds no key") }
            return try Ed25519Signer(seed: seed)
        }
        var seed = [UInt8](repeating: 0, count: Ed25519Signer.seedBytes)
        guard getentropy(&seed, seed.count) == 0 else {
            throw HubLinkError(.state, "the kernel gives no random bytes")
        }
        let signer = try Ed25519Signer(seed: seed)
        try fileSystem.replace(
            signingPath, with: Array(Hex.encode(seed).utf8) + [0x0A], mode: 0o600, op: Self.operationLabel)
        return signer
    }

    func remove() throws {
        for slot in Slot.allCases { try fileSystem.unlink(tunnelKeyFile(slot).path, op: Self.operationLabel) }
        try fileSystem.unlink(signingPath, op: Self.operationLabel)
    }
}
