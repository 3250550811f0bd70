import AgentCore
import AgentTestSupport
import Base
import Glibc
import Model
import OCI

/// Plays a scenario once to count its durable operations, and then again for each of them with a fault at it.
package struct CrashMatrix {
    /// A column of the table.
    package enum FaultKind: String, CaseIterable, Sendable {
        case kill = "SIGKILL"
        case powerCut = "power cut"
        case noSpace = "ENOSPC"
        case inputOutput = "EIO"
        case diskFull = "disk full"
        case engineKilled = "engine killed"
        case clock1970 = "clock 1970"
        case clockAhead = "clock +20 y"
        case clockBack = "clock -1 y"

        /// Wall clocks of the lab begin here.
        private static let labTime: Int64 = 1_790_000_000
        private static let year: Int64 = 31_557_600

        func fault(seed: UInt64) -> FaultPlan.Fault {
            switch self {
            case .kill: .kill
            case .powerCut: .powerCut(seed: seed)
            case .noSpace: .fail(errno: ENOSPC)
            case .inputOutput: .fail(errno: EIO)
            case .diskFull: .diskFull
            case .engineKilled: .engineKilled
            case .clock1970: .clock(seconds: 0)
            case .clockAhead: .clock(seconds: Self.labTime + 20 * Self.year)
            case .clockBack: .clock(seconds: Self.labTime - Self.year)
            }
        }
        /// A clock that jumps is one that nothing vouches for.
        var clockIsTrusted: Bool { ![.clock1970, .clockAhead, .clockBack].contains(self) }
    }

    package struct Outcome {
        package var count = 0
        package var hasStruck = false
        package var problems: [String] = []
        package var state: DeviceState?
        package var names: [String] = []

        /// Syncs of files and directories among its operations.
        package var syncs: Int { names.filter { $0.hasPrefix("sync") }.count }
    }

    let scenario: Scenario
    let kind: FaultKind
    private let stage: Stage
    /// The stage as the scenario wants it.
    private let memory: Stage.Memory
    private let invariants: Invariants

    package init(_ scenario: Scenario, _ kind: FaultKind) async throws {
        self.scenario = scenario
        self.kind = kind
        stage = try Stage(clockIsTrusted: kind.clockIsTrusted)
        // Before the stage is set: making a release anew puts its blobs where a scenario may have taken some away.
        let signed = try scenario.signed(stage.bench)
        try await scenario.prepare(stage)
        invariants = try await Invariants(stage, signed: signed)
        memory = try stage.remember()
    }

    /// Plays the scenario with the fault at operation `index`; nil only counts.
    package func play(at index: Int?, wanted: DeviceState? = nil) async throws -> Outcome {
        try stage.restore(memory)
        if !scenario.beginsWithoutProcess { _ = try await stage.settle() }
        let before = stage.device.engine.update { (Set($0.entries.keys), Set($0.images.keys)) }

        let seed = UInt64(index ?? 0) &* 0x9E37_79B9 &+ 7
        let fault = kind.fault(seed: seed)
        let disk = kind == .powerCut && index != nil ? try VolatileDisk(stage.bench.disk) : nil
        stage.device.faults.arm(fault, at: index, disk: disk)
        do {
            try await scenario.act(stage)
            _ = try await stage.settle()
        } catch {
            // What the fault broke is told by the invariants, not by the order that failed.
        }
        var outcome = Outcome(
            count: stage.device.faults.count, hasStruck: stage.device.faults.hasStruck,
            names: stage.device.faults.names)
        stage.stop()
        stage.device.faults.disarm()
        if let disk { try Self.losePower(disk, stage, before, seed: seed) }

        outcome.problems += try await afterwards()
        let process = try await stage.running()
        let state = try await DeviceState(process, stage.device)
        if let wanted { outcome.problems += state.difference(from: wanted) }
        outcome.state = state
        return outcome
    }

    /// The disk loses what was not synced, and the engine what it had only begun.
    private static func losePower(
        _ disk: VolatileDisk, _ stage: Stage, _ before: (Set<String>, Set<Digest>), seed: UInt64
    ) throws {
        try disk.cutPower(seed: seed)
        var generator = SeededGenerator(seed: seed)
        let coins = (0..<64).map { _ in generator.chance(30) }
        stage.device.engine.update { state in
            for (place, id) in state.entries.keys.filter({ !before.0.contains($0) }).sorted().enumerated()
            where coins[place % coins.count] {
                state.entries[id] = nil
            }
            let used = Set(state.entries.values.map(\.container.imageID))
            for (place, id) in state.images.keys.filter({ !before.1.contains($0) && !used.contains($0) }).sorted()
                .enumerated() where coins[(place + 20) % coins.count]
            {
                state.images[id] = nil
            }
        }
        stage.device.engine.restart()
    }

    /// The power is back, with no network: one whole release runs. Then a person finishes what was begun.
    private func afterwards() async throws -> [String] {
        var problems: [String] = []
        if stage.device.engine.update({ $0.isDown }) { stage.device.engine.restart() }
        var process = try await stage.running()
        let isSettled = try await stage.settle()
        process = try await stage.running()
        if !isSettled {
            let report = await process.reconciler.currentReport()
            problems.append("does not settle: \(report.blocked.map(\.description)) \(report.journalTrouble ?? "")")
        }
        if let version = try await stage.version() {
            if !scenario.mayRun.contains(version) { problems.append("runs \(version)") }
        } else if !scenario.mayRun.contains("none") {
            problems.append("runs nothing")
        }
        problems += try await invariants.problems(
            process, stage.device, isSettled: true, mayBeDamaged: scenario.beginsDamaged)
        _ = await process.reconciler.tick()
        // What an import that was cut off can go on with waits for it, and nothing else.
        let isResumable = try await process.journal.hasResumableImport()
        let staging = try FileSystem().list(process.store.stagingDirectory)
            .filter { !isResumable || !$0.hasSuffix(".partial") }
        if !staging.isEmpty { problems.append("left in staging: \(staging)") }

        do {
            try await scenario.again(stage)
        } catch {
            problems.append("the second attempt failed: \(error)")
        }
        process = try await stage.running()
        if try await !stage.settle() { problems.append("does not settle after the second attempt") }
        process = try await stage.running()
        _ = await process.reconciler.tick()
        return problems + (try await invariants.problems(process, stage.device, isSettled: true))
    }
}
