import AgentCore
import AgentTestSupport
import Base
import Model
import OCI
import TestSupport
import Testing
import Trust

@Suite struct DeviceTests {
    let bench: Bench
    init() throws { bench = try Bench() }

    private func runningV1() async throws -> LabDevice.Process {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        try bench.lab.publish(bench.v1())
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        return process
    }

    @Test func aFirstReleaseIsInstalledAndCommitted() async throws {
        let process = try await runningV1()
        #expect(try await process.journal.desired().first?.phase == .committed)
        #expect(bench.device.engine.running().map(\.service) == ["web", "worker"])
        #expect(try await process.journal.trustState()?.floors["shop"]?.ctr == 1)
    }

    @Test func aSecretIsAFileOfItsOwnModeInAPrivateDirectory() async throws {
        _ = try await runningV1()
        let fileSystem = FileSystem()
        let secrets = bench.device.layout.secrets
        #expect(try fileSystem.status(secrets)?.mode == 0o700)
        let name = try #require(try fileSystem.list(secrets).first)
        #expect(try fileSystem.status(Path.join(secrets, name))?.mode == 0o400)
        #expect(try fileSystem.read(Path.join(secrets, name), limit: 10) == Array("v1".utf8))
    }

    @Test func aTicketThatIsCarriedProvesWhatTheClockCannot() async throws {
        let bench = try Bench(clockIsTrusted: false)
        let process = try await bench.device.boot()
        await #expect(throws: AgentError.self) { _ = try await process.journal.nonce(anew: true) }
        try await bench.provision(process)
        try bench.lab.publish(bench.v1())
        try await bench.take(process)
        func freshness() async throws -> String? { try await process.journal.releases().first?.freshness }
        #expect(try await freshness() == "unknown")
        var source = bench.lab.source()
        let snapshot = try #require(try bench.lab.repository.status().roles.first { $0.name == "snapshot" })
        func ticket(_ nonce: [UInt8]) throws -> [UInt8] {
            let ticket = FreshnessTicket(
                device: "pump-7", nonce: nonce, snapshotVersion: snapshot.version,
                issued: bench.device.clock.clock.now())
            return try ticket.signed(by: [bench.lab.signers[3]]).bytes
        }
        let void = try await process.journal.nonce(anew: true)
        let nonce = try await process.journal.nonce(anew: true)
        source.trust.ticket = try ticket(void)
        let late = source
        await #expect(throws: TrustError.self) { try await process.importer.importRelease(from: late) { _ in } }
        #expect(try await freshness() == "unknown")
        source.trust.ticket = try ticket(nonce)
        try await process.importer.importRelease(from: source) { _ in }
        #expect(try await freshness() == "proven")
        let left = try await process.journal.trustState()?.nonce
        #expect(left == nil)
        // Without the ticket, which is used up, the same release stays what it was proven to be.
        try await bench.take(process)
        #expect(try await freshness() == "proven")
        // A state that was read before a nonce was made brings none back and takes none away.
        let old = try #require(try await process.journal.trustState())
        let out = try await process.journal.nonce(anew: true)
        try await process.journal.persist(old)
        #expect(try await process.journal.nonce(anew: false) == out)
    }

    @Test func anUpdateReplacesOnlyWhatChanged() async throws {
        let process = try await runningV1()
        let worker = bench.device.engine.running().first { $0.service == "worker" }
        try bench.lab.publish(bench.v2())
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        #expect(try await bench.version(process) == "2.0.0")
        #expect(bench.device.engine.running().first { $0.service == "worker" }?.id == worker?.id)
        // The release before stays pinned whole; there is nothing else.
        let blobs = try process.store.list().count
        let kept = Set(try bench.v1().contentBlobs.map(\.digest) + bench.v2().contentBlobs.map(\.digest))
        #expect(blobs == kept.count)
    }

    @Test(arguments: [
        (ModelEngine.Behavior.unhealthy, "trial.unhealthy"), (.neverHealthy, "trial.not-healthy-in-time"),
        (.exits(3), "trial.crash-loop"), (.createFails, "engine.invalid"), (.startFails, "engine.cannot-start"),
    ])
    func aBadReleaseIsRolledBackAndRemembered(behavior: ModelEngine.Behavior, code: String) async throws {
        let process = try await runningV1()
        let bad = try bench.v2(image: "bad")
        bench.device.engine.behave(try bench.lab.image("bad").config.digest, behavior)
        try bench.lab.publish(bad)
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        #expect(try await bench.version(process) == "1.0.0")
        #expect(bench.device.engine.running().map(\.service) == ["web", "worker"])
        #expect(try await process.journal.events().contains { $0.code == "release.failed" })
        #expect(try await process.journal.desiredHistory().contains { $0.phase == "failed" })
        let error = await #expect(throws: AgentError.self) { try await bench.take(process) }
        #expect(error?.code == "agent.failed-before")
        #expect(try await process.journal.trustState()?.floors["shop"]?.ctr == 1)
        // A person may insist.
        try await bench.take(process, retry: true)
        #expect(try await bench.version(process) == "2.0.0")
    }

    @Test func aFirstReleaseThatFailsStaysAndIsTriedOn() async throws {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        bench.device.engine.behave(try bench.lab.image("web-1").config.digest, .unhealthy)
        try bench.lab.publish(bench.v1())
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        #expect(try await process.journal.desired().first?.phase == .degraded)
        bench.device.engine.behave(try bench.lab.image("web-1").config.digest, .good())
        for _ in 0..<30 {
            _ = await process.reconciler.tick()
            bench.device.clock.advance(1_000_000_000)
        }
        #expect(try await process.journal.desired().first?.phase == .committed)
    }

    @Test func rollbackByCommandGoesBackAndForth() async throws {
        let process = try await runningV1()
        try bench.lab.publish(bench.v2())
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        for expected in ["1.0.0", "2.0.0"] {
            _ = try await process.journal.rollBack("shop")
            #expect(try await bench.device.converge(process))
            #expect(try await bench.version(process) == expected)
            #expect(bench.device.engine.running().map(\.service) == ["web", "worker"])
        }
    }

    @Test func everythingComesBackAfterAReboot() async throws {
        _ = try await runningV1()
        bench.device.engine.update { state in
            for id in state.entries.keys { state.entries[id]?.container.state = .exited }
            state.images = [:]
            state.entries = [:]
            state.networks = [:]
        }
        let process = try await bench.device.boot()
        #expect(try await bench.device.converge(process))
        #expect(bench.device.engine.running().map(\.service) == ["web", "worker"])
    }

    @Test func aSilentEngineIsWaitedForAndNamed() async throws {
        let process = try await runningV1()
        bench.device.engine.update { $0.isDown = true }
        for _ in 0..<5 { _ = await process.reconciler.tick() }
        let report = await process.reconciler.currentReport()
        #expect(report.blocked.map(\.code) == ["engine.unavailable"])
        bench.device.engine.restart()
        #expect(try await bench.device.converge(process))
    }

    @Test func aDamagedBlobIsNeverLoaded() async throws {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        let release = try bench.v1()
        try bench.lab.publish(release)
        let layer = try #require(release.images.values.first?.layers.last)
        bench.lab.blobs.replace(layer.blob.digest, with: [UInt8](repeating: 1, count: Int(layer.blob.size)))
        let error = await #expect(throws: (any Error).self) { try await bench.take(process) }
        #expect((error as? any CodedError)?.code == "oci.blob-digest")
        #expect(try await process.journal.desired().isEmpty)
    }

    @Test func anImportThatLacksABlobIsRefusedBeforeItCopies() async throws {
        let process = try await bench.device.boot()
        try await bench.provision(process)
        let release = try bench.v1()
        try bench.lab.publish(release)
        let layer = try #require(release.images.values.first?.layers.last)
        bench.lab.blobs.replace(layer.blob.digest, with: nil)
        let error = await #expect(throws: AgentError.self) { try await bench.take(process) }
        #expect(error?.code == "agent.missing-content")
        #expect(try process.store.list().isEmpty)
    }

    @Test func anUnprovisionedDeviceTakesNothing() async throws {
        let process = try await bench.device.boot()
        try bench.lab.publish(bench.v1())
        let error = await #expect(throws: AgentError.self) { try await bench.take(process) }
        #expect(error?.code == "agent.not-provisioned")
    }

    @Test func anEpochForbidsTheWayBack() async throws {
        let process = try await runningV1()
        var next = try bench.v2()
        next.epoch = 1
        try bench.lab.publish(next)
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        let error = await #expect(throws: AgentError.self) { _ = try await process.journal.rollBack("shop") }
        #expect(error?.code == "agent.epoch-floor")
    }

    @Test func aDamagedJournalIsReplacedByItsCopy() async throws {
        _ = try await runningV1()
        let path = bench.device.layout.journal
        let fileSystem = FileSystem()
        for suffix in ["-wal", "-shm"] { try fileSystem.unlink(path + suffix, op: "test") }
        try fileSystem.replace(path, with: [UInt8](repeating: 0x55, count: 20_000), op: "test")
        let process = try await bench.device.boot()
        guard case .restored = process.condition else {
            Issue.record("condition is \(process.condition)")
            return
        }
        #expect(try await bench.device.converge(process))
        #expect(try await bench.version(process) == "1.0.0")
        #expect(bench.device.engine.running().count == 2)
    }

    @Test func aLostJournalLeavesTheWorkloadRunning() async throws {
        _ = try await runningV1()
        let fileSystem = FileSystem()
        let layout = bench.device.layout
        for suffix in ["-wal", "-shm"] { try fileSystem.unlink(layout.journal + suffix, op: "test") }
        for path in [layout.journal, layout.journalBackup] {
            try fileSystem.replace(path, with: [UInt8](repeating: 0x55, count: 20_000), op: "test")
        }
        let process = try await bench.device.boot()
        guard case .lost = process.condition else {
            Issue.record("condition is \(process.condition)")
            return
        }
        for _ in 0..<5 { _ = await process.reconciler.tick() }
        #expect(bench.device.engine.running().map(\.service) == ["web", "worker"])
        #expect(await process.reconciler.currentReport().blocked.map(\.code) == ["agent.unknown-app"])
        // Provisioned and imported again, it is taken over without a restart.
        let before = bench.device.engine.running().map(\.id)
        try await bench.provision(process)
        try await bench.take(process)
        #expect(try await bench.device.converge(process))
        #expect(bench.device.engine.running().map(\.id) == before)
    }

    @Test func aTrialThatKeepsRestartingTheDeviceIsGivenUp() async throws {
        _ = try await runningV1()
        try bench.lab.publish(bench.v2())
        var process = try await bench.device.boot()
        try await bench.take(process)
        for _ in 0..<8 {
            for _ in 0..<3 { _ = await process.reconciler.tick() }
            process = try await bench.device.boot()
        }
        #expect(try await bench.device.converge(process))
        #expect(try await bench.version(process) == "1.0.0")
        #expect(
            try await process.journal.releases().first { $0.role == .failed }?.failure.contains("restarted") == true)
    }
}
