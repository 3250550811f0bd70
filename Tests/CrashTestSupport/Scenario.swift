import AgentCore
import AgentTestSupport
import Base
import Model
import Synchronization
import Trust

/// One thing that happens to a device, played with and without a fault. A row of the table.
package struct Scenario: Sendable, CustomStringConvertible {
    package var name: String
    /// Sets the stage; nothing strikes yet.
    var prepare: @Sendable (Stage) async throws -> Void
    /// What the fault strikes; the ticks that follow belong to it.
    var act: @Sendable (Stage) async throws -> Void
    /// What a person does when all is back, to finish what was begun.
    var again: @Sendable (Stage) async throws -> Void
    /// Versions that may be the target once the device has recovered by itself.
    var mayRun: Set<String>
    /// Every release that is signed in it.
    var signed: @Sendable (Bench) throws -> [Release]
    /// Whether `act` starts the agent itself.
    var beginsWithoutProcess = false
    /// Whether store and engine are damaged when it begins.
    var beginsDamaged = false

    package var description: String { name }
}

extension Scenario {
    package static let all: [Scenario] = [
        firstInstall, update, updateByDelta, failedUpdate, rollbackByCommand, importDuringImport, prune, keyRotation,
        selfRestart, journalMigration, selfUpdate, failedSelfUpdate, locks, scrub,
    ]

    private static let released: @Sendable (Bench) throws -> [Release] = { [try $0.v1(), try $0.v2()] }

    static let firstInstall = Scenario(
        name: "first install",
        prepare: { try $0.bench.lab.publish($0.bench.v1()) },
        act: { stage in
            try await stage.provision()
            try await stage.take()
        },
        again: { stage in
            if try await stage.running().journal.device() == nil { try await stage.provision() }
            try await stage.take(retry: true)
        },
        mayRun: ["none", "1.0.0"], signed: released, beginsWithoutProcess: true)

    static let update = Scenario(
        name: "update by full layers",
        prepare: { stage in
            try await installFirst(stage)
            try stage.bench.lab.publish(stage.bench.v2())
        },
        act: { try await $0.take() }, again: { try await $0.take(retry: true) },
        mayRun: ["1.0.0", "2.0.0"], signed: released)

    static let updateByDelta = Scenario(
        name: "update by delta",
        prepare: { stage in
            try await stage.provision()
            try await stage.install(DeltaPair(stage.bench).old)
            let pair = try await DeltaPair(stage.bench).withDelta(in: stage.bench)
            try stage.bench.lab.publish(pair)
        },
        act: { try await $0.take() }, again: { try await $0.take(retry: true) },
        mayRun: ["1.0.0", "2.0.0"],
        signed: { bench in
            let pair = try DeltaPair(bench)
            return [pair.old, pair.new]
        })

    static let failedUpdate = Scenario(
        name: "failed update, rollback",
        prepare: { stage in
            try await installFirst(stage)
            let bad = try stage.bench.lab.image("bad")
            stage.device.engine.behave(bad.config.digest, .unhealthy)
            try stage.bench.lab.publish(stage.bench.v2(image: "bad"))
        },
        act: { try await $0.take() },
        again: { stage in
            do {
                try await stage.take()
            } catch let error as AgentError where error.code == "agent.failed-before" {
                // It failed already, and that is remembered: nothing is left to do.
            }
        },
        mayRun: ["1.0.0"], signed: { [try $0.v1(), try $0.v2(image: "bad")] })

    static let rollbackByCommand = Scenario(
        name: "rollback by command",
        prepare: { stage in
            try await installFirst(stage)
            try await stage.install(stage.bench.v2())
        },
        act: { _ = try await $0.running().journal.rollBack("shop") },
        again: { stage in
            if try await stage.version() == "2.0.0" { _ = try await stage.running().journal.rollBack("shop") }
        },
        mayRun: ["1.0.0", "2.0.0"], signed: released)

    static let importDuringImport = Scenario(
        name: "import during an import",
        prepare: { stage in
            try await installFirst(stage)
            try stage.bench.lab.publish(stage.bench.v2())
        },
        act: { stage in
            let (process, bench) = (try await stage.running(), stage.bench)
            // The second comes in while the first is at its first blob.
            async let first: Void = bench.take(process)
            async let second: Void = bench.take(process)
            let results = (try? await first, try? await second)
            if results.0 == nil, results.1 == nil { throw Stage.StageError("both imports failed") }
        },
        again: { try await $0.take(retry: true) }, mayRun: ["1.0.0", "2.0.0"], signed: released)

    static let prune = Scenario(
        name: "prune",
        prepare: { stage in
            stage.policy.prune = false
            try await installFirst(stage)
            try await stage.install(stage.bench.v2())
            try await stage.install(v3(stage.bench))
            stage.policy.prune = true
        },
        act: { _ = try await $0.running() }, again: { _ in }, mayRun: ["3.0.0"],
        signed: { [try $0.v1(), try $0.v2(), try v3($0)] }, beginsWithoutProcess: true)

    static let keyRotation = Scenario(
        name: "key rotation",
        prepare: { stage in
            try await installFirst(stage)
            try publishWithNewKeys(stage.bench)
        },
        act: { try await $0.take() }, again: { try await $0.take(retry: true) },
        mayRun: ["1.0.0", "2.0.0"], signed: released)

    static let selfRestart = Scenario(
        name: "agent restarted in mid-update",
        prepare: { stage in
            try await installFirst(stage)
            try stage.bench.lab.publish(stage.bench.v2())
        },
        act: { stage in
            try await stage.take()
            _ = try await stage.device.converge(try await stage.running(), limit: 1)
            stage.stop()
            _ = try await stage.running()
        },
        again: { try await $0.take(retry: true) }, mayRun: ["1.0.0", "2.0.0"], signed: released)

    static let journalMigration = Scenario(
        name: "journal migration",
        prepare: { stage in
            try await installFirst(stage)
            stage.stop()
            try OldJournal.replace(stage.device.layout)
        },
        act: { _ = try await $0.running() },
        again: { stage in
            if try await stage.running().journal.trustState() == nil { try await stage.provision() }
            // The tables that the present schema added are there.
            try await lock(stage, seconds: 60)
            guard try await stage.running().journal.overrideLocks(nil, why: "test") == 1 else {
                throw Stage.StageError("no lock was held")
            }
        },
        mayRun: ["1.0.0"], signed: released, beginsWithoutProcess: true)

    static let selfUpdate = Scenario(
        name: "agent's own update",
        prepare: { stage in
            try await installFirst(stage)
            try await installAgent(stage)
            try stage.bench.lab.publish(agents(stage.bench).second)
        },
        act: { try await $0.take(app: agentApp) }, again: { try await $0.take(app: agentApp, retry: true) },
        mayRun: ["1.0.0"],
        signed: { bench in
            let agents = try agents(bench)
            return [try bench.v1(), agents.first, agents.second]
        })

    static let failedSelfUpdate = Scenario(
        name: "agent's own update fails",
        prepare: { stage in
            try await installFirst(stage)
            try await installAgent(stage)
            let second = try agents(stage.bench).second
            if let program = second.agent { stage.device.brokenPrograms.withLock { _ = $0.insert(program.binary.digest) } }
            try stage.bench.lab.publish(second)
        },
        act: { try await $0.take(app: agentApp) },
        again: { stage in
            do {
                try await stage.take(app: agentApp)
            } catch let error as AgentError where error.code == "agent.failed-before" {
                // It failed already, and that is remembered: nothing is left to do.
            }
        },
        mayRun: ["1.0.0"],
        signed: { bench in
            let agents = try agents(bench)
            return [try bench.v1(), agents.first, agents.second]
        })

    static let locks = Scenario(
        name: "lock, update, override",
        prepare: { stage in
            try await installFirst(stage)
            try stage.bench.lab.publish(stage.bench.v2())
        },
        act: { stage in
            try await lock(stage, seconds: 20)
            try await stage.take()
            _ = try await stage.device.converge(try await stage.running(), limit: 3)
            let isHeld = try await stage.running().journal.desired().allSatisfy { $0.phase == .candidate }
            if !isHeld, !stage.device.faults.hasStruck { throw Stage.StageError("the lock held nothing back") }
            _ = try await stage.running().journal.overrideLocks(nil, why: "test")
        },
        again: { stage in
            _ = try await stage.running().journal.overrideLocks(nil, why: "test")
            try await stage.take(retry: true)
        },
        mayRun: ["1.0.0", "2.0.0"], signed: released)

    static let scrub = Scenario(
        name: "scrub and repair",
        prepare: { stage in
            try await stage.provision()
            let pair = try DeltaPair(stage.bench)
            try await stage.install(pair.old)
            let new = try await pair.withDelta(in: stage.bench)
            try await stage.install(new)
            try Damage.spoil(stage, new)
        },
        act: { try await Damage.scrub($0) }, again: { try await Damage.scrub($0) }, mayRun: ["2.0.0"],
        signed: { bench in
            let pair = try DeltaPair(bench)
            return [pair.old, pair.new]
        }, beginsDamaged: true)

    // MARK: Parts

    @Sendable private static func installFirst(_ stage: Stage) async throws {
        try await stage.provision()
        try await stage.install(stage.bench.v1())
    }

    private static let agentApp = "holdfast-agent"

    private static func agents(_ bench: Bench) throws -> (first: Release, second: Release) {
        (
            try bench.lab.agentRelease("1.0.0", ctr: 1, program: Array("first program".utf8)),
            try bench.lab.agentRelease("2.0.0", ctr: 2, program: Array("second program".utf8))
        )
    }

    @Sendable private static func installAgent(_ stage: Stage) async throws {
        try FileSystem().replace(stage.device.installedProgram, with: Array("installed program".utf8), op: "test")
        try await stage.install(agents(stage.bench).first)
    }

    @Sendable private static func lock(_ stage: Stage, seconds: Int64) async throws {
        let process = try await stage.running()
        _ = try await process.journal.takeLock(
            UpdateLock.Request(holder: "pump", reason: "it is filling", lifetime: seconds),
            at: process.reconciler.bootClock, wall: stage.device.clock.now)
    }

    private static func v3(_ bench: Bench) throws -> Release {
        var release = try bench.v2(image: "web-3")
        guard let version = SemanticVersion("3.0.0") else { throw Stage.StageError("no version") }
        release.version = version
        release.ctr = 3
        return release
    }

    /// Root's, targets', snapshot's and timestamp's keys are all exchanged before the second release is signed.
    private static func publishWithNewKeys(_ bench: Bench) throws {
        let new = try (11...14).map { try Ed25519Signer(seed: [UInt8](repeating: UInt8($0), count: 32)) }
        let all = bench.lab.signers + new
        for (role, key) in zip(["targets", "snapshot", "timestamp", "root"], new) {
            try bench.lab.repository.rotate(
                role, plan: RolePlan(keys: [key.publicKey], threshold: 1, days: 365), signers: all)
        }
        try bench.lab.publish(bench.v2(), signers: new)
    }
}
