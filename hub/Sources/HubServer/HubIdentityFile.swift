import Base
import HubProtocol
import Model
import WireGuard

/// What a hub is for as long as it lives: its network, and the root that its devices start their trust from.
struct HubIdentityFile: Equatable {
    static let sizeLimit = 64 << 10

    var network: TunnelNetwork
    var rootDigest: Digest

    func write(_ layout: HubLayout, _ fileSystem: FileSystem) throws {
        let value: JSONValue = [
            "schema": 1, "network": .string(Hex.encode(network.bytes)), "root_digest": .string(rootDigest.hex),
        ]
        try fileSystem.replace(layout.identity, with: value.serialized(.pretty), mode: 0o600, op: "hub.init")
    }

    static func read(_ layout: HubLayout, _ fileSystem: FileSystem) throws -> HubIdentityFile {
        guard try fileSystem.status(layout.identity) != nil else {
            throw HubServerError(
                .notInitialised, "\(layout.root) holds no hub", hint: "make one with: holdfast-hub init")
        }
        let bytes = try fileSystem.read(layout.identity, limit: sizeLimit)
        guard let value = try? JSONValue(parsing: bytes), value["schema"]?.integer == 1,
            let network = value["network"]?.string.flatMap({ Hex.decode($0) }).flatMap({ TunnelNetwork(bytes: $0) }),
            let digest = value["root_digest"]?.string.flatMap({ Digest(hex: $0) })
        else { throw HubServerError(.invalid, "\(layout.identity) is damaged", hint: "restore it from a copy") }
        return HubIdentityFile(network: network, rootDigest: digest)
    }
}
