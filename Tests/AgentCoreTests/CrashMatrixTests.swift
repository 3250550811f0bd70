import AgentCore
import AgentTestSupport
import Base
import Glibc
import Model
import OCI
import Testing
import Trust

/// An update, stopped at each of its durable operations in turn.
@Suite struct CrashMatrixTests {
    private struct Outcome {
        var count = 0
        var problems: [String] = []
        /// What ran when the power had come back, before anything was imported again.
        var version: String?
    }

    /// Installs v1, then makes `fault` strike operation `index` of the update to v2. Nil index only counts.
    private func scenario(_ fault: FaultPlan.Fault, at index: Int?) async throws -> Outcome {
        let bench = try Bench()
        let device = bench.device
        var process = try await device.boot()
        try await bench.provision(process)
        try bench.lab.publish(bench.v1())
        try await bench.take(process)
        guard try await device.converge(process) else { return Outcome(problems: ["v1 did not converge"]) }
        try bench.lab.publish(bench.v2())
        let volumes = device.engine.update { Set($0.volumes.keys) }

        device.faults.arm(fault, at: index)
        _ = try? await bench.take(process)
        for _ in 0..<120 where !device.faults.isDead {
            _ = await process.reconciler.tick()
            device.clock.advance(500_000_000)
        }
        let count = device.faults.count
        var problems: [String] = []
        device.faults.disarm()

        // The power comes back, with no network: what runs is one whole release.
        process = try await device.boot()
        if !(try await device.converge(process)) {
            problems.append("did not converge: \(await process.reconciler.currentReport().blocked.map(\.description))")
        }
        let version = try await bench.version(process)
        problems += try await mismatches(process, device)
        if try await process.journal.trustState()?.floors["shop"]?.ctr ?? 0 < 1 {
            problems.append("a floor was lowered")
        }
        if case .restored = process.condition { problems.append("the journal was damaged") }

        // The technician tries again.
        do {
            try await bench.take(process, retry: true)
        } catch {
            problems.append("the second import failed: \(error)")
        }
        if !(try await device.converge(process)) { problems.append("the second import did not converge") }
        if try await bench.version(process) != "2.0.0" { problems.append("not on v2 in the end") }
        problems += try await mismatches(process, device)
        if !volumes.isSubset(of: device.engine.update { Set($0.volumes.keys) }) { problems.append("a volume is gone") }
        let staging = try FileSystem().list(process.store.stagingDirectory)
        if !staging.isEmpty { problems.append("left in staging: \(staging)") }
        return Outcome(count: count, problems: problems, version: version)
    }

    /// What runs against what the journal wants: exactly one container per service, all of one release.
    private func mismatches(_ process: LabDevice.Process, _ device: LabDevice) async throws -> [String] {
        guard let target = try await process.journal.desired().first?.target else { return ["no target"] }
        let specs = try ReleaseSpecs(target, layout: device.layout)
        let wanted = specs.containers.values.map(\.name).sorted()
        let running = device.engine.running().map(\.name).sorted()
        var problems = running == wanted ? [] : ["runs \(running), wanted \(wanted)"]
        for file in specs.files {
            let bytes = try? FileSystem().read(device.layout.path(file), limit: 1000)
            if bytes.map({ Digest.sha256($0) }) != file.blob.digest {
                problems.append("file \(file.name) is not whole")
            }
        }
        for blob in try process.store.list() where (try? process.store.verify(blob.digest)) == nil {
            problems.append("blob \(blob.digest.short) is not whole")
        }
        return problems
    }

    @Test func theScenarioIsWorthwhile() async throws {
        let outcome = try await scenario(.kill, at: nil)
        #expect(outcome.problems.isEmpty)
        #expect(outcome.count > 40)
    }

    @Test(arguments: [FaultPlan.Fault.kill, .tear, .fail(errno: ENOSPC), .fail(errno: EIO)])
    func anUpdateSurvives(_ fault: FaultPlan.Fault) async throws {
        let count = try await scenario(.kill, at: nil).count
        var versions: [String] = []
        for index in 0..<count {
            let outcome = try await scenario(fault, at: index)
            #expect(
                outcome.problems.isEmpty, "\(fault) at operation \(index): \(outcome.problems.joined(separator: "; "))")
            versions.append(outcome.version ?? "none")
        }
        // The faults did strike: an early one leaves the old release, a late one the new.
        #expect(versions.first == "1.0.0")
        #expect(versions.last == "2.0.0")
        #expect(Set(versions) == ["1.0.0", "2.0.0"])
    }
}
