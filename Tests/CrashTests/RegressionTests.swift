import AgentCore
import AgentTestSupport
import Base
import CrashTestSupport
import Glibc
import OCI
import Testing

/// Faults that the crash matrix found, each by itself.
@Suite struct RegressionTests {
    private let stage: Stage
    init() throws { stage = try Stage(clockIsTrusted: true) }

    private var layout: StateLayout { stage.device.layout }

    private func provisionedAndInstalled() async throws {
        try await stage.provision()
        try await stage.install(stage.bench.v1())
    }

    @Test func aCopyOfTheJournalThatWasCutOffIsRemovedAndMadeAnew() async throws {
        try await provisionedAndInstalled()
        stage.stop()
        let fileSystem = FileSystem()
        for name in [".tmp", ".tmp-journal"] {
            try fileSystem.replace(layout.journalBackup + name, with: [1, 2, 3], op: "test")
        }
        try fileSystem.unlink(layout.journalBackup, op: "test")
        #expect(try await stage.settle())
        let names = try fileSystem.list(layout.root)
        #expect(names.filter { $0.contains(".tmp") }.isEmpty)
        #expect(names.contains(Path.name(layout.journalBackup)))
    }

    @Test func aCommitStandsWhenItsCopyCannotBeWritten() async throws {
        try await provisionedAndInstalled()
        try stage.bench.lab.publish(stage.bench.v2())
        // The last sync of the copy that follows the adoption.
        stage.device.faults.arm(.kill, at: nil)
        try await stage.take()
        let names = stage.device.faults.names
        let last = try #require(names.lastIndex(of: "sync journal.backup"))
        stage.stop()

        let other = try Stage(clockIsTrusted: true)
        try await other.provision()
        try await other.install(other.bench.v1())
        try other.bench.lab.publish(other.bench.v2())
        other.device.faults.arm(.fail(errno: ENOSPC), at: last)
        try await other.take()
        #expect(other.device.faults.hasStruck)
        #expect(try await other.version() == "2.0.0")
        // A full disk is not made fuller, and the copy comes later.
        let root = other.device.layout.root
        #expect(try FileSystem().list(root).filter { $0.contains(".tmp") }.isEmpty)
        other.device.faults.disarm()
        #expect(try await other.settle())
    }

    @Test func anImportThatWasCutOffOnAnEmptyDeviceLeavesNoStaging() async throws {
        try await stage.provision()
        let store = try await stage.running().store
        try FileSystem().replace(Path.join(store.stagingDirectory, "ab.partial"), with: [1], op: "test")
        stage.stop()
        #expect(try await stage.settle())
        #expect(try FileSystem().list(store.stagingDirectory).isEmpty)
    }

    @Test func aNewDirectorysNameIsSynced() throws {
        let faults = FaultPlan()
        faults.arm(.kill, at: nil)
        try FileSystem(monitor: faults.monitor).makeDirectories(Path.join(stage.bench.disk, "a/b"), op: "test")
        #expect(
            faults.names == [
                "makeDirectory test", "syncDirectory test", "makeDirectory test", "syncDirectory test",
            ])
    }
}
