import Base
import Testing

@testable import WireGuard

/// A hub and a device in memory: which keys each has, which tunnels are up, and what was stored.
private actor World {
    enum Stop: Error { case crash }

    var stored = RotationState()
    var keys: [Slot: UInt8] = [.first: 1]
    var hub: [Slot: UInt8] = [.first: 1]
    var up: Set<Slot> = [.first]
    var nextKey: UInt8 = 2
    var hubAnswers = true
    /// Effects until the crash; the crash comes before the effect or after it.
    var remaining = Int.max
    var crashesAfter = false
    var effects = 0
    var lowestWorking = Int.max

    func arm(at count: Int, after: Bool) {
        (remaining, crashesAfter) = (count, after)
    }
    func refuseNewTunnels() { hubAnswers = false }

    func isWorking(_ slot: Slot) -> Bool {
        up.contains(slot) && keys[slot] != nil && keys[slot] == hub[slot] && (hubAnswers || slot == .first)
    }
    var working: Int { Slot.allCases.filter(isWorking).count }

    func perform(_ change: () -> Void) throws {
        effects += 1
        if remaining == 0, !crashesAfter { throw Stop.crash }
        change()
        lowestWorking = min(lowestWorking, working)
        if remaining == 0 { throw Stop.crash }
        remaining -= 1
    }
    /// A crash takes the interfaces with it.
    func reboot() {
        up = []
        remaining = Int.max
    }

    func persist(_ state: RotationState) throws { try perform { stored = state } }
    func makeKey(_ slot: Slot) throws -> PublicKey {
        try perform {
            if keys[slot] == nil {
                keys[slot] = nextKey
                nextKey += 1
            }
        }
        return .repeating(keys[slot] ?? 0)
    }
    func register(_ key: PublicKey, _ slot: Slot) throws { try perform { hub[slot] = key.bytes[0] } }
    func bringUp(_ slot: Slot) throws {
        guard keys[slot] != nil else { throw WireGuardError.invalidKey(source: "\(slot)") }
        try perform { up.insert(slot) }
    }
    func retire(_ slot: Slot) throws {
        try perform {
            up.remove(slot)
            keys[slot] = nil
        }
    }
    func resetLowest() { lowestWorking = Int.max }
}

@Suite struct KeyRotationTests {
    private func rotation(_ world: World, _ state: RotationState) -> KeyRotation {
        KeyRotation(
            state: state,
            effects: KeyRotation.Effects(
                persist: { try await world.persist($0) }, makeKey: { try await world.makeKey($0) },
                register: { try await world.register($0, $1) }, bringUp: { try await world.bringUp($0) },
                probe: { await world.isWorking($0) }, retire: { try await world.retire($0) }),
            policy: KeyRotation.Policy(maxProbes: 3),
            clock: SystemClock(now: SystemClock.live.now, monotonic: SystemClock.live.monotonic, sleep: { _ in }))
    }

    @Test func rotatesBackAndForthWithATunnelUpAtEveryStep() async throws {
        let world = World()
        let rotation = rotation(world, RotationState())
        for round in 1...6 {
            try await rotation.rotate()
            let state = await rotation.state
            #expect(state.phase == .steady)
            #expect(state.completed == round)
            #expect(state.active == (round.isMultiple(of: 2) ? .first : .second))
            #expect(await world.stored == state)
            #expect(await world.isWorking(state.active))
            #expect(await world.working == 1)
        }
        #expect(await world.lowestWorking == 1)
    }

    @Test func givesUpWithoutTouchingTheOldTunnel() async throws {
        let world = World()
        await world.refuseNewTunnels()
        let rotation = rotation(world, RotationState())
        await #expect(
            throws: WireGuardError.rotation(phase: "probing", why: "no answer through the new tunnel in 3 attempts")
        ) {
            try await rotation.rotate()
        }
        #expect(await rotation.state == RotationState(active: .first, phase: .steady, abandoned: 1))
        #expect(await world.lowestWorking == 1)
        #expect(await world.up == [.first])
    }

    /// Stops at each effect, before and after it, and starts again: it must end, and the active tunnel must work.
    @Test func everyCrashEndsInAWorkingTunnel() async throws {
        let dry = World()
        try await rotation(dry, RotationState()).rotate()
        let count = await dry.effects
        #expect(count >= 7)
        for index in 0..<count {
            for after in [false, true] {
                let world = World()
                await world.arm(at: index, after: after)
                await #expect(throws: World.Stop.crash) { try await rotation(world, RotationState()).rotate() }
                #expect(await world.lowestWorking >= 1)
                await world.reboot()
                let again = rotation(world, await world.stored)
                try await again.resume()
                let state = await again.state
                #expect(state.phase == .steady, "crash \(after ? "after" : "before") effect \(index)")
                #expect(await world.isWorking(state.active))
                #expect(await world.working == 1)
                await world.resetLowest()
                try await again.rotate()
                #expect(await world.lowestWorking == 1)
            }
        }
    }

    /// The same for a rotation that is being given up.
    @Test func aCrashWhileGivingUpLeavesTheOldTunnel() async throws {
        for index in 0..<8 {
            for after in [false, true] {
                let world = World()
                await world.refuseNewTunnels()
                await world.arm(at: index, after: after)
                try? await rotation(world, RotationState()).rotate()
                await world.reboot()
                let again = rotation(world, await world.stored)
                try? await again.resume()
                #expect(await again.state.phase == .steady)
                #expect(await again.state.active == .first)
                #expect(await world.isWorking(.first))
            }
        }
    }
}
