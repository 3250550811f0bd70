import Base
import HubCore
import HubHTTP
import HubProtocol
import HubTunnel
import Model
import NIOHTTP1
import WireGuard

/// The tunnel's peers as the interface has them.
struct PeerRoutes: Sendable {
    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [ManagementRoute(.GET, "/v1/peers", .peersRead, list)]
    }

    private func list(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let page = try request.page()
        guard page.selector == .everything else { throw Problem.malformed("peers have no labels") }
        guard let tunnel = services.tunnel else {
            throw Problem.noTunnel
        }
        let peers = try await tunnel.peers().sorted { $0.publicKey.base64 < $1.publicKey.base64 }
        let rest = peers.drop { peer in page.cursor.map { peer.publicKey.base64 <= $0 } ?? false }
        let shown = rest.prefix(page.limit)
        return .page(shown.map(Self.json), next: rest.count > shown.count ? shown.last?.publicKey.base64 : nil)
    }

    private static func json(_ peer: Peer) -> JSONValue {
        [
            "public_key": .string(peer.publicKey.base64),
            "allowed_ips": .array(peer.allowedIPs.map { .string($0.description) }),
            "endpoint": peer.endpoint.map { .string($0.description) } ?? .null,
            "last_handshake": peer.lastHandshake.map { .string($0.timestamp.description) } ?? .null,
            "received_bytes": .integer(Int64(clamping: peer.receivedBytes)),
            "sent_bytes": .integer(Int64(clamping: peer.sentBytes)),
        ]
    }
}
