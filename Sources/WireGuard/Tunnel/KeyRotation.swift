import Base

/// Changes a device's tunnel key without a gap: make the new tunnel before breaking the old.
///
/// 1. make the other slot's key; 2. have the hub take it, through the tunnel that works; 3. bring the other slot up;
/// 4. probe through it; 5. make it the active one; 6. after a grace time, retire the old one. Up to step 5 the old
/// tunnel is untouched and giving up costs nothing. The hub's own key changes the same way: the new slot is then
/// brought up to the hub's new end (``HubDescriptor``).
public actor KeyRotation {
    /// What a rotation does to the world. Each is done again after a crash, so each must bear that.
    public struct Effects: Sendable {
        /// Returns once the state is durable.
        public var persist: @Sendable (RotationState) async throws -> Void
        /// Makes and stores the slot's key if there is none; one that was given up is used again.
        public var makeKey: @Sendable (Slot) async throws -> PublicKey
        /// Has the hub take the key for the slot. Idempotent at the hub.
        public var register: @Sendable (PublicKey, Slot) async throws -> Void
        public var bringUp: @Sendable (Slot) async throws -> Void
        /// One request through the slot; true when it was answered.
        public var probe: @Sendable (Slot) async -> Bool
        /// Takes the slot's tunnel away, and its key too once the other slot is in use.
        public var retire: @Sendable (Slot) async throws -> Void

        public init(
            persist: @escaping @Sendable (RotationState) async throws -> Void,
            makeKey: @escaping @Sendable (Slot) async throws -> PublicKey,
            register: @escaping @Sendable (PublicKey, Slot) async throws -> Void,
            bringUp: @escaping @Sendable (Slot) async throws -> Void,
            probe: @escaping @Sendable (Slot) async -> Bool,
            retire: @escaping @Sendable (Slot) async throws -> Void
        ) {
            self.persist = persist
            self.makeKey = makeKey
            self.register = register
            self.bringUp = bringUp
            self.probe = probe
            self.retire = retire
        }
    }

    public struct Policy: Sendable {
        /// Probes of the new tunnel before the rotation is given up.
        public var maxProbes: Int
        public var probeBackoff: Backoff
        /// How long the old tunnel stays for what is under way on it.
        public var grace: Duration

        public init(
            maxProbes: Int = 10, probeBackoff: Backoff = Backoff(base: .seconds(1), ceiling: .seconds(30)),
            grace: Duration = .seconds(180)
        ) {
            self.maxProbes = maxProbes
            self.probeBackoff = probeBackoff
            self.grace = grace
        }
    }

    public private(set) var state: RotationState
    private let effects: Effects
    private let policy: Policy
    private let clock: SystemClock
    private var isRunning = false

    public init(state: RotationState, effects: Effects, policy: Policy = Policy(), clock: SystemClock = .live) {
        self.state = state
        self.effects = effects
        self.policy = policy
        self.clock = clock
    }

    /// The slot that new connections use.
    public var activeSlot: Slot { state.active }

    /// After a start: brings up the active slot, and the old one while its grace lasts, then ends a rotation that
    /// was under way.
    public func resume() async throws {
        try await alone {
            if state.phase == .steady { _ = try await effects.makeKey(state.active) }
            try await effects.bringUp(state.active)
            if state.phase == .flipped {
                // The old tunnel is only a courtesy now; the new one has been proven.
                try? await effects.bringUp(state.active.other)
            }
            if state.phase != .steady { try await run() }
        }
    }

    /// Rotates once; returns when the old tunnel is retired. Throws ``WireGuardError/rotation(phase:why:)`` when the new
    /// tunnel was given up, and what an effect threw when it may go on later by ``resume()``.
    public func rotate() async throws {
        try await alone {
            if state.phase == .steady { try await enter(.keyed) }
            try await run()
        }
    }

    private func alone(_ body: () async throws -> Void) async throws {
        guard !isRunning else { throw WireGuardError.rotation(phase: state.phase.rawValue, why: "one is under way") }
        isRunning = true
        defer { isRunning = false }
        try await body()
    }

    private func run() async throws {
        let next = state.active.other
        if state.phase == .keyed || state.phase == .registered {
            // Both again after a crash or a rotation that was given up: the key may be there, and the hub may know it.
            let key = try await effects.makeKey(next)
            try await effects.register(key, next)
            if state.phase == .keyed { try await enter(.registered) }
            try await effects.bringUp(next)
            guard await answers(next) else { return try await abandon(next) }
            var flipped = state
            flipped.active = next
            flipped.phase = .flipped
            try await store(flipped)
        }
        if state.phase == .flipped {
            try await clock.sleep(policy.grace)
            try await effects.retire(state.active.other)
            var steady = state
            steady.phase = .steady
            steady.completed += 1
            try await store(steady)
        }
    }

    private func answers(_ slot: Slot) async -> Bool {
        var generator = SystemRandomNumberGenerator()
        for attempt in 0..<policy.maxProbes {
            if await effects.probe(slot) { return true }
            guard attempt + 1 < policy.maxProbes else { break }
            do { try await clock.sleep(policy.probeBackoff.delay(attempt: attempt, using: &generator)) } catch {
                return false
            }
        }
        return false
    }

    private func abandon(_ slot: Slot) async throws {
        // A cancelled wait is no verdict on the tunnel: the rotation stays where it is.
        try Task.checkCancellation()
        try await effects.retire(slot)
        var steady = state
        steady.phase = .steady
        steady.abandoned += 1
        try await store(steady)
        throw WireGuardError.rotation(
            phase: "probing", why: "no answer through the new tunnel in \(policy.maxProbes) attempts")
    }

    private func enter(_ phase: RotationState.Phase) async throws {
        var next = state
        next.phase = phase
        try await store(next)
    }

    /// Durable first, then in force.
    private func store(_ next: RotationState) async throws {
        try await effects.persist(next)
        state = next
    }
}
