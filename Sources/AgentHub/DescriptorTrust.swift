import AgentCore
import Base
import HubProtocol
import Trust
import WireGuard

/// Who may move the hub's end of the tunnel: the targets role of the hub's director, which this device trusts already.
struct DescriptorTrust: Sendable {
    let journal: Journal

    func accept(_ envelope: [UInt8], _ standing: HubStanding) async throws -> HubDescriptor {
        guard let keys = try await journal.trustState()?.keys(of: "targets", in: .director) else {
            throw HubLinkError(.refused, "this device trusts no director that could sign the hub's descriptor")
        }
        return try HubDescriptor.accept(
            envelope: envelope, hub: Self.name(standing), current: standing.descriptor
        ) { bytes, type in
            try DSSEEnvelope(parsing: bytes).verified(type: type, by: keys)
        }
    }

    /// A hub is called by its tunnel network, which no other hub has.
    static func name(_ standing: HubStanding) -> String { standing.network.description }
}
