import AgentCore
import Base
import HubProtocol
import WireGuard

/// Changes the device's WireGuard key without a gap, and follows the hub to a new end: `KeyRotation` decides the
/// order, this does the steps.
struct KeyChanger: Sendable {
    let environment: HubEnvironment
    let keeper: TunnelKeeper
    let client: HubClient
    /// The standing as it is on disk, and how to change it there.
    let read: @Sendable () async throws -> HubStanding
    let change: @Sendable (@escaping @Sendable (inout HubStanding) -> Void) async throws -> Void

    /// How long the old tunnel stays after the new one carried a request.
    static let grace: Duration = .seconds(10)

    func rotation(_ state: RotationState, grace: Duration = Self.grace) -> KeyRotation {
        KeyRotation(
            state: state, effects: effects,
            policy: KeyRotation.Policy(
                maxProbes: 5, probeBackoff: Backoff(base: .seconds(1), ceiling: .seconds(10)), grace: grace),
            clock: environment.clock)
    }

    private var effects: KeyRotation.Effects {
        KeyRotation.Effects(
            persist: { state in
                let now = environment.clock.now()
                try await change { standing in
                    if state.completed > standing.rotation.completed { standing.keyedAt = now }
                    // The slot that takes over leads to the newest end; what was said of it stays with it.
                    if state.active != standing.rotation.active { standing.activeEnd = standing.newestEnd }
                    standing.rotation = state
                }
            },
            makeKey: { slot in
                try environment.keys.prepare()
                return try environment.keys.tunnelKeyFile(slot).readOrCreate().derivePublicKey()
            },
            register: { key, slot in try await register(key, slot) },
            bringUp: { slot in try await keeper.bringUp(slot, of: try await read()) },
            probe: { slot in await probe(slot) },
            retire: { slot in
                let standing = try await read()
                let isGivenUp = standing.rotation.phase != .flipped
                if isGivenUp, await !probe(slot.other) {
                    // Given up, and the old tunnel is silent too: the hub may have let it go and its answer got lost.
                    throw HubLinkError(.unreachable, "neither tunnel answers; both keys stay")
                }
                try await environment.links.takeDown(try environment.settings.name(slot))
                // A hub forgets no key that it was offered: the next try offers this one again, not one more.
                if isGivenUp { return }
                try environment.fileSystem.unlink(
                    environment.keys.tunnelKeyFile(slot).path, op: DeviceKeys.operationLabel)
                try environment.fileSystem.syncDirectory(environment.keys.directory, op: DeviceKeys.operationLabel)
            })
    }

    /// Asks through the active slot. Where that is dead since the hub has heard the new key already, and this
    /// device was cut off before it had noted it, the new slot's own word is enough.
    private func register(_ key: WireGuard.PublicKey, _ slot: Slot) async throws {
        let standing = try await read()
        let own = try environment.keys.tunnelKeyFile(slot).read()
        let request = try KeyChangeRequest(
            device: standing.device, privateKey: own, hubKey: standing.hubEnd(slot.other).publicKey)
        do {
            let envelope = try request.envelope(signedBy: try environment.keys.signer())
            let answer = try await client.changeKey(envelope, try keeper.end(slot.other, of: standing))
            guard answer.address == standing.address(slot) else {
                throw HubLinkError(
                    .badAnswer,
                    "the hub gives \(answer.address) to slot \(slot.rawValue), not \(String(describing: standing.address(slot)))"
                )
            }
        } catch let error as HubLinkError where error.reason == .unreachable && standing.rotation.phase != .steady {
            try await keeper.bringUp(slot, of: standing)
            guard await probe(slot) else { throw error }
        }
    }

    /// A token asked for from the new key's address: the hub then lets the old one go.
    private func probe(_ slot: Slot) async -> Bool {
        do {
            let standing = try await read()
            let end = try keeper.end(slot, of: standing)
            try await client.renew(end.path, hubKey: end.hubKey)
            return true
        } catch {
            return false
        }
    }
}
