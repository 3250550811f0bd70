import Base
import HubCore
import Trust
import WireGuard

/// The hub's own keys, all of them online: unlocked files of mode 0600 below the state directory.
struct HubKeys: Sendable {
    enum Name: String, CaseIterable {
        /// Signs access tokens.
        case tokens
        /// Signs the audit log's checkpoints.
        case audit
        /// Signs freshness tickets, where the release repository's root lets it.
        case freshness
        case directorRoot = "director-root"
        case directorTargets = "director-targets"
        case directorSnapshot = "director-snapshot"
        case directorTimestamp = "director-timestamp"
    }

    private let store: KeyStore
    let sealing: Sealing
    private let layout: HubLayout
    private let fileSystem: FileSystem

    /// Makes what is missing.
    static func make(_ layout: HubLayout, _ fileSystem: FileSystem) throws -> HubKeys {
        try fileSystem.makeDirectories(layout.keys, mode: 0o700, op: "hub.keys")
        let store = KeyStore(directory: layout.keys, fileSystem: fileSystem)
        let present = Set(try store.list().map(\.name))
        for name in Name.allCases where !present.contains(name.rawValue) {
            _ = try store.generate(name.rawValue, passphrase: .none)
        }
        return HubKeys(
            store: store,
            sealing: Sealing(key: try KeyFile(path: layout.sealingKey, fileSystem: fileSystem).readOrCreate()),
            layout: layout, fileSystem: fileSystem)
    }

    /// The private key of one of the hub's two ends; made when there is none.
    func tunnelKey(_ slot: Slot) throws -> SecretKey {
        try KeyFile(path: layout.wireGuardKey(slot), fileSystem: fileSystem).readOrCreate()
    }

    func removeTunnelKey(_ slot: Slot) throws {
        let path = layout.wireGuardKey(slot)
        guard try fileSystem.status(path) != nil else { return }
        try fileSystem.unlink(path, op: "hub.keys")
        try fileSystem.syncDirectory(layout.keys, op: "hub.keys")
    }

    func signer(_ name: Name) throws -> any Signer { try store.signer(name.rawValue, passphrase: .none) }

    func directorSigners() throws -> [any Signer] {
        try [.directorRoot, .directorTargets, .directorSnapshot, .directorTimestamp].map(signer)
    }
}
