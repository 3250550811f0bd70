import AgentTestSupport
import Base
import Glibc
import Model
import SQLite
import TestSupport
import Testing

@testable import AgentCore

/// The slots, the journal's way back, and the planner's part, without processes.
@Suite struct AgentSlotsTests {
    private let old = Array("old program".utf8)
    private let new = Array("new program".utf8)

    private func stage(_ bytes: [UInt8], _ slots: AgentSlots, version: String = "2.0.0") throws {
        let blob = Release.Blob(digest: .sha256(bytes), size: Int64(bytes.count))
        try slots.stage(blob, version: version, starts: 2, window: 30) { each in
            try bytes.withUnsafeBytes { try each($0) }
        }
    }

    private func slots(_ folder: TemporaryDirectory, _ monitor: DurabilityMonitor = .passthrough) -> AgentSlots {
        AgentSlots(
            layout: StateLayout(root: folder.file("state")), fileSystem: FileSystem(monitor: monitor), slot: nil)
    }

    private func started(_ slots: AgentSlots) throws -> [UInt8]? {
        switch try slots.choose() {
        case .installed: return nil
        case .slot(let path, _, _): return try FileSystem().read(path, limit: 100)
        }
    }

    @Test func aTrialIsStartedAsOftenAsAllowedAndThenLeft() throws {
        let folder = try TemporaryDirectory()
        let slots = slots(folder)
        #expect(try slots.choose() == .installed)
        try stage(old, slots, version: "1.0.0")
        #expect(try started(slots) == old)
        try slots.confirm()
        try stage(new, slots)
        #expect(try started(slots) == new)
        #expect(try started(slots) == new)
        #expect(try started(slots) == old)
        #expect(slots.view().failed?.digest == .sha256(new))
        #expect(try started(slots) == old)
    }

    @Test func aConfirmedProgramStaysAndTheOtherSlotIsTakenNext() throws {
        let folder = try TemporaryDirectory()
        let slots = slots(folder)
        try stage(old, slots)
        let first = try slots.choose()
        try slots.confirm()
        try stage(new, slots)
        #expect(try slots.choose() != first)
        try slots.confirm()
        for _ in 0..<5 { #expect(try started(slots) == new) }
    }

    @Test func aDamagedProgramIsNeverStarted() throws {
        let folder = try TemporaryDirectory()
        let slots = slots(folder)
        try stage(old, slots)
        guard case .slot(let path, _, _) = try slots.choose() else { throw Command.Failed(description: "no slot") }
        try slots.confirm()
        try FileSystem().replace(path, with: Array("old prOgram".utf8), op: "test")
        #expect(try slots.choose() == .installed)
        // It is written anew although its name is there.
        try stage(old, slots)
        #expect(try started(slots) == old)
    }

    @Test func aDamagedFileOfSlotsStartsTheInstalledProgram() throws {
        let folder = try TemporaryDirectory()
        let slots = slots(folder)
        try stage(old, slots)
        try slots.confirm()
        for bytes in [
            Array("{".utf8), [], [0xFF], Array("{\"schema\":2}".utf8), Array("{\"schema\":1,\"trial\":{}}".utf8),
        ] {
            try FileSystem().replace(folder.file("state/agent/slots.json"), with: bytes, op: "test")
            #expect(try slots.choose() == .installed)
        }
    }

    @Test func aProgramWithAnotherDigestIsNotStaged() throws {
        let folder = try TemporaryDirectory()
        let slots = slots(folder)
        struct Wrong: Error {}
        let blob = Release.Blob(digest: .sha256(new), size: Int64(new.count))
        #expect(throws: Wrong.self) {
            try slots.stage(blob, version: "2.0.0", starts: 1, window: 30) { _ in throw Wrong() }
        }
        #expect(try slots.choose() == .installed)
    }

    /// Whatever durable operation is the last, what starts next is a whole program, old or new.
    @Test(arguments: [FaultPlan.Fault.kill, .fail(errno: EIO), .fail(errno: ENOSPC)])
    func aCutAtAnyOperationLeavesAWholeProgram(_ fault: FaultPlan.Fault) throws {
        var index = 0
        while true {
            let folder = try TemporaryDirectory()
            try stage(old, slots(folder))
            try slots(folder).confirm()
            let faults = FaultPlan()
            faults.arm(fault, at: index)
            let cut = slots(folder, faults.monitor)
            try? stage(new, cut)
            _ = try? cut.choose()
            try? cut.confirm()
            let count = faults.count
            let program = try started(slots(folder))
            #expect(program == old || program == new, "\(fault) at \(index)")
            if index >= count { break }
            index += 1
        }
        #expect(index > 8)
    }

    @Test func aJournalOfANewerFormMakesWayForTheCopyFromBefore() async throws {
        let folder = try TemporaryDirectory()
        let layout = StateLayout(root: folder.file("state"))
        do {
            let (journal, _) = try Journal.open(layout: layout, fileSystem: FileSystem(), clock: .live)
            try await journal.record(app: "", code: "test.before", message: "before")
            try FileSystem().makeDirectories(layout.agent, op: "test")
            try await journal.keepForReturn()
            try await journal.record(app: "", code: "test.during", message: "during")
        }
        do {
            let newer = try Connection(path: layout.journal)
            try newer.migrate(JournalSchema.migrations + [Migration("later", "CREATE TABLE later (id INTEGER) STRICT")])
        }
        let (journal, condition) = try Journal.open(layout: layout, fileSystem: FileSystem(), clock: .live)
        guard case .returned = condition else { throw Command.Failed(description: "\(condition)") }
        #expect(try await journal.events().map(\.code) == ["test.before"])
    }

    @Test func aJournalOfANewerFormWithoutATrialIsRefused() throws {
        let folder = try TemporaryDirectory()
        let layout = StateLayout(root: folder.file("state"))
        _ = try Journal.open(layout: layout, fileSystem: FileSystem(), clock: .live)
        do {
            let newer = try Connection(path: layout.journal)
            try newer.migrate(JournalSchema.migrations + [Migration("later", "CREATE TABLE later (id INTEGER) STRICT")])
        }
        #expect(throws: SQLiteError.self) {
            try Journal.open(layout: layout, fileSystem: FileSystem(), clock: .live)
        }
    }
}

@Suite struct AgentPlanTests {
    private let program = Release.AgentProgram(binary: .init(digest: .sha256([1]), size: 1))

    private func app(_ phase: DesiredApp.Phase = .candidate) throws -> DesiredApp {
        let version = try #require(SemanticVersion("2.0.0"))
        let release = Release(
            app: "holdfast-agent", version: version, ctr: 2, requirements: .init(architectures: ["amd64"]),
            services: [:], images: [:], update: .init(stableSeconds: 0), agent: program)
        return DesiredApp(
            app: release.app, target: PinnedRelease(digest: .sha256(try release.encoded()), release: release),
            phase: phase)
    }

    private func plan(_ desired: [DesiredApp], _ view: AgentSlots.View?) -> Plan {
        Planner.plan(
            PlanInput(desired: desired, observed: ObservedState(agent: view), layout: StateLayout(root: "/s"), now: 1))
    }

    @Test func anotherProgramIsSwitchedToAndTheRightOneCommitted() throws {
        let target = try app()
        #expect(
            plan([target], .init(running: .sha256([0]))).steps.map(\.step) == [.switchAgent(program, version: "2.0.0")])
        #expect(plan([target], .init(running: .sha256([0]), isRestarting: true)).steps.isEmpty)
        let own = program.binary.digest
        #expect(plan([target], .init(running: own, isOnTrial: true, isHealthy: false)).steps.isEmpty)
        #expect(plan([target], .init(running: own, isOnTrial: true)).steps.map(\.step) == [.commit])
        #expect(plan([try app(.committed)], .init(running: own, isOnTrial: true)).steps.map(\.step) == [.confirmAgent])
        #expect(plan([try app(.committed)], .init(running: own)).steps.isEmpty)
        #expect(plan([try app(.committed)], .init(running: own)).settled == ["holdfast-agent"])
    }

    @Test func aProgramThatCameBackIsGivenUpAndNotTriedAgain() throws {
        let view = AgentSlots.View(
            running: .sha256([0]), failed: .init(digest: program.binary.digest, reason: "it hung"))
        #expect(plan([try app()], view).steps.map(\.step) == [.fail(.agentReturned(reason: "it hung"))])
        #expect(plan([try app(.committed)], view).steps.isEmpty)
        #expect(plan([try app()], nil).steps.map(\.step.key) == ["fail"])
    }

    @Test func theAgentWaitsForCandidatesOfApps() throws {
        let release = Releases.release(version: "1.0.0", services: ["web": "web"])
        let other = DesiredApp(app: "shop", target: Releases.pinned(release), phase: .candidate)
        let plan = plan([try app(), other], .init(running: .sha256([0])))
        #expect(!plan.steps.contains { $0.app == "holdfast-agent" })
        #expect(plan.blocked.contains { $0.reason == .waitingForApps(["shop"]) })
    }
}
