import Base
import HubCore
import HubStore
import TestSupport
import Testing

private let now = Timestamp(seconds: 1_800_000_000)

/// A scenario of commits and reports, interrupted at each of its durable operations in each way.
@Suite struct MetadataCrashTests {
    private static let steps = 6

    private static func commit(_ step: Int) -> Commit {
        Commit(
            [
                .put(RecordKey(.device, "d-\(step)"), labels: ["step": "s"], body: [UInt8(step)], expecting: .absent),
                .put(RecordKey(.site, "1"), body: [UInt8(step)], expecting: .any),
            ], events: [AuditEvent(.deviceEnrolled, at: now, actor: "test", subject: "\(step)")])
    }

    private static func segment(_ step: Int) throws -> ReportSegment {
        ReportSegment(device: try DeviceID("d-1"), epoch: 1, sequence: Int64(step), body: [UInt8(step)])
    }

    /// Runs until an operation fails; answers how many commits and segments were promised to be durable.
    private static func run(_ backend: MetadataBackend, _ directory: TemporaryDirectory, _ plan: FaultPlan) async
        -> (commits: Int, segments: Int)
    {
        var done = (commits: 0, segments: 0)
        guard let store = try? backend.open(directory, monitor: plan.monitor) else { return done }
        for step in 1...steps {
            guard (try? await store.commit(commit(step))) != nil else { return done }
            done.commits = step
            guard let segment = try? segment(step), (try? await store.ingest([segment])) != nil else { return done }
            done.segments = step
        }
        return done
    }

    /// After the fault: all that was promised is there, nothing by halves, and the rest can be done again.
    private static func check(
        _ backend: MetadataBackend, _ directory: TemporaryDirectory, _ done: (commits: Int, segments: Int)
    ) async throws {
        let store = try backend.open(directory)
        let devices = try await store.list(.device, selector: Selector("step=s"), after: nil, limit: 100).records.count
        let events = try await store.events(from: 0, limit: 100).count
        let segments = try await store.segments(after: 0, limit: 100).count
        #expect(devices >= done.commits && devices <= done.commits + 1)
        #expect(events == devices)
        #expect(segments >= done.segments && segments <= done.segments + 1)
        if devices > 0 {
            let site = RecordKey(.site, "1")
            #expect(try await store.get([site])[site]?.body == [UInt8(devices)])
        }
        for step in 1...steps {
            if step > devices { try await store.commit(commit(step)) }
            let acknowledged = try await store.ingest([segment(step)]).first?.acknowledged
            #expect((acknowledged ?? 0) >= Int64(step))
        }
        #expect(try await store.events(from: 0, limit: 100).count == steps)
        #expect(try await store.segments(after: 0, limit: 100).count == steps)
    }

    @Test(arguments: MetadataBackend.allCases, FaultPlan.Fault.allCases)
    func everyDurableOperationMayFail(_ backend: MetadataBackend, _ fault: FaultPlan.Fault) async throws {
        let counting = FaultPlan()
        let whole = await Self.run(backend, try TemporaryDirectory(), counting)
        #expect(whole == (Self.steps, Self.steps))
        let operations = counting.operations
        #expect(operations >= 2 * Self.steps)
        for target in 1...operations {
            let directory = try TemporaryDirectory()
            let done = await Self.run(backend, directory, FaultPlan(fault, at: target))
            #expect(done != (Self.steps, Self.steps), "operation \(target) did not fail")
            try await Self.check(backend, directory, done)
        }
    }

    /// The log of a database cut at any byte, as a power cut in mid-write leaves it.
    @Test func aTornLogLosesWholeCommitsOnly() async throws {
        let directory = try TemporaryDirectory()
        let store = try SQLiteMetadataStore(path: directory.file("hub.db"))
        for step in 1...Self.steps { try await store.commit(Self.commit(step)) }
        let files = FileSystem()
        let database = try files.read(directory.file("hub.db"), limit: 16 << 20)
        let log = try files.read(directory.file("hub.db-wal"), limit: 16 << 20)
        #expect(log.count > 10_000)
        var counts: Set<Int> = []
        for cut in stride(from: log.count, to: 0, by: -1_237) {
            let copy = try TemporaryDirectory()
            try files.replace(copy.file("hub.db"), with: database, op: "test")
            var torn = Array(log.prefix(cut))
            // The last sector that came through holds rubbish.
            for index in max(0, cut - 40)..<cut where cut < log.count { torn[index] ^= 0x5A }
            try files.replace(copy.file("hub.db-wal"), with: torn, op: "test")
            let reopened = try SQLiteMetadataStore(path: copy.file("hub.db"))
            #expect(try await reopened.integrityProblems().isEmpty)
            let devices = try await reopened.list(.device, selector: .everything, after: nil, limit: 100).records
            let events = try await reopened.events(from: 0, limit: 100)
            #expect(devices.count == events.count)
            #expect(devices.map(\.body) == (0..<devices.count).map { [UInt8($0 + 1)] })
            counts.insert(devices.count)
        }
        #expect(counts.contains(Self.steps))
        #expect(counts.count > 3)
    }
}
