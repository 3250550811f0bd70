import AgentTestSupport
import Base
import Model
import TestSupport
import Trust
import Testing

@testable import AgentCore

@Suite struct LockTests {
    private let folder: TemporaryDirectory
    private let journal: Journal
    private let wall = Timestamp(seconds: 1_800_000_000)

    init() throws {
        folder = try TemporaryDirectory()
        journal = try Journal.open(
            layout: StateLayout(root: folder.file("state")), fileSystem: FileSystem(), clock: .live
        ).journal
    }

    private func at(_ seconds: UInt64, boot: String = "first") -> BootClock {
        BootClock(boot: boot, now: seconds * 1_000_000_000)
    }

    private func take(
        _ holder: String, app: String = "", service: String = "", for seconds: Int64 = 100, at clock: BootClock
    ) async throws {
        _ = try await journal.takeLock(
            UpdateLock.Request(app: app, holder: holder, service: service, reason: "why", lifetime: seconds), at: clock,
            wall: wall)
    }

    @Test func aLockEndsWhenItsTimeHasRun() async throws {
        try await take("me", at: at(1_000))
        #expect(try await journal.locks(at: at(1_099)).map(\.secondsLeft) == [1])
        #expect(try await journal.locks(at: at(1_100)).isEmpty)
        #expect(try await journal.events().first?.code == "lock.expired")
    }

    @Test func theSameHolderExtendsItsLock() async throws {
        try await take("me", at: at(0))
        try await take("me", for: 500, at: at(50))
        #expect(try await journal.locks(at: at(60)).map(\.secondsLeft) == [490])
    }

    @Test func aRebootNeitherEndsNorRestartsALock() async throws {
        try await take("me", for: 1_000, at: at(5_000))
        // Looks along the way note what was spent.
        for second in stride(from: UInt64(5_000), through: 5_600, by: 10) {
            _ = try await journal.locks(at: at(second))
        }
        let left = try #require(try await journal.locks(at: at(3, boot: "second")).first?.secondsLeft)
        #expect((400...460).contains(left), "at most a twentieth, or a minute, is forgotten")
        #expect(try await journal.locks(at: at(470, boot: "second")).isEmpty)
    }

    /// However often the device reboots, looks in between or not, a lock ends.
    @Test func rebootsWithoutEndCannotKeepALock() async throws {
        try await take("me", for: 600, at: at(0, boot: "0"))
        var ended = false
        for boot in 1...200 where !ended {
            for second in stride(from: UInt64(5), through: 200, by: 5) {
                ended = try await journal.locks(at: at(second, boot: "\(boot)")).isEmpty
                if ended { break }
            }
        }
        #expect(ended)
    }

    @Test func aContainersLockEndsWithItsContainer() async throws {
        try await take("service web", app: "shop", service: "web", at: at(0))
        try await take("me", at: at(0))
        var container = ManagedContainer(
            id: "1", name: "shop-web-1", app: "shop", service: "web", configHash: "", release: "",
            imageID: .sha256([]), state: .running)
        #expect(try await journal.locks(at: at(1), running: [container]).count == 2)
        container.state = .exited
        #expect(try await journal.locks(at: at(2), running: [container]).map(\.holder) == ["me"])
        #expect(try await journal.locks(at: at(3), running: []).map(\.holder) == ["me"])
        #expect(try await journal.events().first?.code == "lock.orphaned")
    }

    @Test func locksAreBoundedInNumberTextAndTime() async throws {
        for index in 0..<UpdateLock.countLimit { try await take("holder \(index)", at: at(0)) }
        await #expect(throws: AgentError.self) { try await take("one more", at: at(0)) }
        try await take("holder 3", for: 200, at: at(1))
        for (holder, reason, seconds) in [
            ("", "why", Int64(10)), ("me", "", 10), ("me", "why", 0), ("me", "why", -1), ("me", "two\nlines", 10),
            (String(repeating: "x", count: 300), "why", 10), ("me", "why", UpdateLock.lifetimeLimit + 1),
        ] {
            #expect(throws: AgentError.self) {
                try UpdateLock.Request(holder: holder, reason: reason, lifetime: seconds)
            }
        }
        #expect(throws: AgentError.self) {
            try UpdateLock.Request(
                holder: "s", service: "s", reason: "why", lifetime: UpdateLock.serviceLifetimeLimit + 1)
        }
    }

    @Test func releaseAndOverrideEndLocks() async throws {
        try await take("me", app: "shop", at: at(0))
        try await take("me", app: "mill", at: at(0))
        try await take("you", at: at(0))
        #expect(try await journal.releaseLocks(holder: "me", app: "shop", why: "done") == 1)
        #expect(try await journal.releaseLocks(holder: "nobody", why: "done") == 0)
        #expect(try await journal.overrideLocks(nil, why: "a person") == 2)
        #expect(try await journal.locks(at: at(1)).isEmpty)
    }
}

/// Locks and windows against the planner: they hold a candidate back, and nothing else.
@Suite struct HoldTests {
    private static let holds: [Hold] = [
        // Longer than the device is watched: their end is played by taking them away.
        .lock(holder: "me", reason: "harvest", secondsLeft: 86_400), .window(opens: nil, secondsLeft: nil),
        .window(opens: Timestamp(seconds: 1_800_000_000), secondsLeft: 86_400), .untrustedClock,
        .unknownTimeZone("Nowhere/Land"),
    ]

    /// A release of two services, each with a strategy of its own.
    private static func release(_ version: String, _ random: inout SeededGenerator) -> Release {
        let strategies: [Service.UpdateStrategy] = [
            .downloadThenKill, .killThenDownload, .deleteThenDownload, .handOver,
        ]
        return Releases.release(
            version: version, ctr: version == "1.0.0" ? 1 : 2, services: ["a": "a-\(version)", "b": "b-\(version)"]
        ) { release in
            for name in release.services.keys { release.services[name]?.strategy = random.pick(strategies) }
        }
    }

    /// Steps until nothing is left to do now, without waiting for anything.
    private func settle(_ world: PlanWorld) async throws {
        #expect(try await world.converge(), "the device does not settle")
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    @Test(arguments: 1...60) func aHeldReleaseWaitsAndTheOneBeforeIsKept(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let world = PlanWorld()
        world.adopt(Self.release("1.0.0", &random))
        try await settle(world)
        world.holds["shop"] = random.pick(Self.holds)
        world.adopt(Self.release("2.0.0", &random))
        let old = Set(world.engine.running().map(\.name))
        #expect(old.count == 2)
        try await settle(world)
        #expect(Set(world.engine.running().map(\.name)) == old, "what runs was touched")
        // What dies meanwhile comes back, and what somebody removes too.
        for name in old where random.chance(50) {
            if random.chance(50) {
                world.engine.kill(name)
            } else {
                world.engine.update { state in state.entries = state.entries.filter { $0.value.container.name != name }
                }
            }
        }
        try await settle(world)
        #expect(Set(world.engine.running().map(\.name)) == old, "the release before was not kept")
        let plan = Planner.plan(try await world.input())
        #expect(plan.steps.isEmpty)
        #expect(plan.blocked.contains { if case .held = $0.reason { true } else { false } })
        // Its end always unblocks.
        world.holds = [:]
        try await settle(world)
        #expect(world.desired["shop"]?.phase == .committed)
        #expect(world.desired["shop"]?.target.release.version.major == 2)
        #expect(world.mismatches("shop").isEmpty)
    }

    /// A lock that comes at any step of an update: something whole runs, and in the end the update is done.
    @Test(arguments: 1...60) func aHoldAtAnyStepLeavesSomethingWholeRunning(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let world = PlanWorld()
        world.adopt(Self.release("1.0.0", &random))
        try await settle(world)
        world.adopt(Self.release("2.0.0", &random))
        _ = try await world.converge(limit: Int.random(in: 0...8, using: &random))
        world.holds["shop"] = random.pick(Self.holds)
        _ = try await world.converge()
        #expect(world.names() == ["a", "b"], "a service is missing while the update is held")
        world.holds = [:]
        try await settle(world)
        #expect(world.desired["shop"]?.target.release.version.major == 2)
        #expect(world.desired["shop"]?.phase == .committed)
    }

    @Test func aCommittedReleaseIsNeverHeld() async throws {
        for hold in Self.holds {
            let world = PlanWorld()
            world.adopt(Releases.release(version: "1.0.0", services: ["a": "a"]))
            try await settle(world)
            world.holds["shop"] = hold
            world.engine.kill(try #require(world.engine.running().first?.name))
            try await settle(world)
            #expect(world.names() == ["a"])
        }
    }

    @Test func theEndOfALockWakesThePlanner() async throws {
        let world = PlanWorld()
        world.adopt(Releases.release(version: "1.0.0", services: ["a": "a"]))
        world.holds["shop"] = .lock(holder: "me", reason: "harvest", secondsLeft: 60)
        _ = try await world.converge(limit: 5)
        let plan = Planner.plan(try await world.input())
        #expect(plan.wakeAfter == 60_000_000_000)
        #expect(plan.blocked.contains { $0.code == "wait.lock" && $0.retryInSeconds == 61 })
    }
}

@Suite struct UpdateGateTests {
    private let folder: TemporaryDirectory
    init() throws { folder = try TemporaryDirectory() }

    private func gate(
        _ apply: String, device: Bool = true, trusted: Bool = true, open: Bool = false, at text: String
    ) throws -> (UpdateGate, Release) {
        let window = try #require(MaintenanceWindow(apply))
        let now = try #require(Timestamp(rfc3339: text))
        let windows = MaintenanceWindows(apply: [window])
        let gate = UpdateGate(
            windows: device ? windows : .init(), isOpenWithoutClock: open,
            clockReading: { .init(now: now, isTrusted: trusted) })
        let release = Releases.release(version: "1.0.0", services: ["a": "a"]) { release in
            if !device { release.update.windows = windows }
        }
        return (gate, release)
    }

    @Test(arguments: [true, false]) func theDevicesAndTheReleasesWindowsBothHold(_ device: Bool) throws {
        let (open, release) = try gate("0 2 * * * 1h", device: device, at: "2026-11-24T02:30:00Z")
        #expect(open.hold(.apply, of: release) == nil)
        let (closed, other) = try gate("0 2 * * * 1h", device: device, at: "2026-11-24T03:30:00Z")
        #expect(
            closed.hold(.apply, of: other)
                == .window(opens: Timestamp(rfc3339: "2026-11-25T02:00:00Z"), secondsLeft: 22 * 3600 + 1800))
        #expect(closed.hold(.download, of: other) == nil)
    }

    @Test func withoutATrustedClockWindowsAreClosedUnlessTheDeviceSaysOtherwise() throws {
        let (closed, release) = try gate("* * * * * 1h", trusted: false, at: "1970-01-01T00:00:00Z")
        #expect(closed.hold(.apply, of: release) == .untrustedClock)
        let (open, other) = try gate("0 2 * * * 1h", trusted: false, open: true, at: "1970-01-01T00:00:00Z")
        #expect(open.hold(.apply, of: other) == nil)
        #expect(UpdateGate().hold(.apply, of: release) == nil, "without windows the clock does not matter")
    }

    @Test func anUnknownTimeZoneHoldsAndIsNamed() throws {
        let (gate, made) = try gate("* * * * * 1h", device: false, at: "2026-11-24T02:30:00Z")
        var release = made
        release.update.windows?.timeZone = "Nowhere/Land"
        #expect(gate.hold(.apply, of: release) == .unknownTimeZone("Nowhere/Land"))
    }
}
