import AgentCore
import Base
import Logging
import HubProtocol
import Trust
import WireGuard

/// The permanent tunnels of an enrolled device: which slot is in use, and that its interface stands.
struct TunnelKeeper: Sendable {
    /// Metrics of the route through the slot in use, and of the other's while both are up, by the slot's number: a route
    /// replaces one of the same metric, whatever interface that leads through. Requests name their interface; the order
    /// is for everything else on the device that talks to the hub.
    static let activeMetric: UInt32 = 1_000
    static let otherMetric: UInt32 = 2_000
    /// Of a token's tunnel.
    static let temporaryMetric: UInt32 = 3_000

    let environment: HubEnvironment

    /// The floor first, then the interface. Cheap when all is so already.
    ///
    /// - Parameter isLost: the hub did not answer through this tunnel.
    func bringUp(_ slot: Slot, of standing: HubStanding, isLost: Bool = false) async throws {
        try await applyTimeFloor(standing)
        var plan = try plan(slot, of: standing)
        plan.isLost = isLost
        try await environment.links.bringUp(plan)
    }

    func plan(_ slot: Slot, of standing: HubStanding) throws -> TunnelPlan {
        guard let address = standing.address(slot), let hub = standing.hub else {
            throw HubLinkError(.notEnrolled, "this device has no tunnel address yet")
        }
        let end = standing.hubEnd(slot)
        return TunnelPlan(
            interface: try environment.settings.name(slot),
            privateKey: try environment.keys.tunnelKeyFile(slot).read(), presharedKey: nil, address: address,
            hub: hub, hubKey: end.publicKey, host: end.host, port: end.port,
            metric: (slot == standing.rotation.active ? Self.activeMetric : Self.otherMetric)
                + UInt32(slot.bit),
            keepalive: environment.settings.keepalive)
    }

    func end(_ slot: Slot, of standing: HubStanding) throws -> HubEnd {
        guard let address = standing.address(slot), let hub = standing.hub else {
            throw HubLinkError(.notEnrolled, "this device has no tunnel address yet")
        }
        return HubEnd(
            path: TunnelPath(interface: try environment.settings.name(slot), source: address, hub: hub),
            hubKey: standing.hubEnd(slot).publicKey)
    }

    /// The greatest of build time, verified metadata and the last answer of the hub: WireGuard refuses a handshake
    /// whose time went backwards, and a device without a battery boots in 1970.
    func applyTimeFloor(_ standing: HubStanding) async throws {
        guard environment.settings.setsClock else { return }
        let trusted = try await environment.journal.trustState()?.timeFloor ?? environment.buildTime
        let bound = max(environment.buildTime, trusted, standing.timeFloor)
        let (now, set) = (environment.clock.now, environment.setClock)
        let floor = TimeFloor(
            floor: { () throws(WireGuardError) in bound }, now: now,
            setClock: { (time) throws(WireGuardError) in
                do { try set(time) } catch { throw .timeFloor(why: String(describing: error)) }
            })
        switch try floor.apply() {
        case .satisfied: return
        case .raised(let from, let to):
            environment.logger.notice("clock set to the time floor", metadata: ["from": "\(from)", "to": "\(to)"])
        case .refused(let error):
            environment.logger.warning("clock behind the time floor", metadata: ["why": "\(error.message)"])
        }
    }

    /// Takes every interface of ours down.
    func takeDown() async throws {
        for name in [
            try environment.settings.name(.first), try environment.settings.name(.second),
            try environment.settings.temporaryName(),
        ] {
            try await environment.links.takeDown(name)
        }
    }
}
