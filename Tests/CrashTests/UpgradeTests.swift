import AgentCore
import AgentTestSupport
import Base
import Model
import TestSupport
import Testing
import Trust

/// The journal that an agent before the `locks` step left on a device: three releases, one of which had failed.
/// `Tests/Golden/journal-3.db` was written by that agent and is never made anew.
@Suite struct UpgradeTests {
    private let directory: TemporaryDirectory
    private let layout: StateLayout

    init() throws {
        directory = try TemporaryDirectory()
        layout = StateLayout(root: directory.file("state"))
        let bytes = try FileSystem().read(Path.join(Repository.root, "Tests/Golden/journal-3.db"), limit: 1 << 20)
        try FileSystem().makeDirectories(layout.root, op: "test")
        try FileSystem().replace(layout.journal, with: bytes, op: "test")
    }

    @Test func nothingIsLostOfAnOlderAgentsJournal() async throws {
        // Twice: the second start finds what the first has made of it.
        for _ in 0..<2 {
            let (journal, condition) = try Journal.open(layout: layout, fileSystem: FileSystem(), clock: .live)
            #expect(condition == .sound)
            let app = try #require(try await journal.desired().first)
            #expect(app.app == "plant" && app.phase == .committed)
            #expect(app.target.release.version.description == "1.0.1")
            #expect(app.previous?.release.version.description == "1.0.0")
            #expect(try await journal.device()?.id == "plant-1")
            let trust = try #require(try await journal.trustState())
            #expect(trust.floors["plant"]?.ctr == 2)
            #expect(trust.release.roles.contains("targets"))
            let failed = try await journal.releases().filter { !$0.failure.isEmpty }
            #expect(failed.map(\.version) == ["1.0.2"])
            #expect(try await journal.locks(at: BootClock(boot: "b", now: 1)).isEmpty)
        }
    }

    @Test func theNewTablesWork() async throws {
        let (journal, _) = try Journal.open(layout: layout, fileSystem: FileSystem(), clock: .live)
        let clock = BootClock(boot: "b", now: 1_000_000_000)
        _ = try await journal.takeLock(
            UpdateLock.Request(holder: "me", reason: "harvest", lifetime: 60), at: clock, wall: Timestamp(seconds: 0))
        #expect(try await journal.locks(at: clock).map(\.holder) == ["me"])
        #expect(try await journal.rollBack("plant").release.version.description == "1.0.0")
    }

    /// Killed, cut off or refused at any operation of the migration, the next start finds all of it.
    @Test func anUpgradeThatIsCutOffAnywhereIsDoneAgain() async throws {
        let faults = FaultPlan()
        let root = directory.path
        MonitoredVFS.watch(root, faults.monitor)
        defer { MonitoredVFS.unwatch(root) }
        let original = try FileSystem().read(layout.journal, limit: 1 << 20)
        func open() async throws -> String? {
            let (journal, condition) = try Journal.open(
                layout: layout, fileSystem: FileSystem(monitor: faults.monitor), clock: .live)
            #expect(condition == .sound)
            return try await journal.desired().first?.target.release.version.description
        }
        faults.arm(.kill, at: nil)
        _ = try await open()
        let count = faults.count
        #expect(count > 3)
        for index in 0..<count {
            for fault in [FaultPlan.Fault.kill, .powerCut(seed: UInt64(index)), .fail(errno: 28), .fail(errno: 5)] {
                try FileSystem().removeTree(layout.root, op: "test")
                try FileSystem().makeDirectories(layout.root, op: "test")
                try FileSystem().replace(layout.journal, with: original, op: "test")
                let disk = fault.endsProcess ? try VolatileDisk(root) : nil
                faults.arm(fault, at: index, disk: disk)
                _ = try? await open()
                faults.disarm()
                if case .powerCut(let seed) = fault { try disk?.cutPower(seed: seed) }
                #expect(try await open() == "1.0.1", "\(fault) at \(index) of \(count)")
            }
        }
    }
}
