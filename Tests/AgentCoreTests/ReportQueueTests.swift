import AgentTestSupport
import Base
import Model
import TestSupport
import Testing

@testable import AgentCore

/// The queue of a device whose hub is away: it has an end, what matters stays, and what goes is counted.
@Suite struct ReportQueueTests {
    let folder: TemporaryDirectory
    let journal: Journal

    init() async throws {
        folder = try TemporaryDirectory()
        journal = try await LabDevice(path: folder.file("device")).boot().journal
        try await journal.beginReports(epoch: 3)
    }

    /// So many events, gathered as often as the reporter would.
    private func record(_ count: Int, code: String, message: String = "x") async throws {
        for number in 1...count {
            try await journal.record(app: "shop", code: code, message: "\(number) \(message)")
            if number.isMultiple(of: 500) { _ = try await journal.gatherReports(state: nil) }
        }
        _ = try await journal.gatherReports(state: nil)
    }

    /// Makes and acknowledges segments until nothing waits.
    private func drain() async throws -> (entries: [JSONValue], dropped: Int64) {
        var entries: [JSONValue] = []
        var dropped: Int64 = 0
        while true {
            var content: [JSONValue] = []
            var lost: Int64 = 0
            try await journal.cutSegment(entries: 500, bytes: 96 << 10) { _, _, count, taken in
                (content, lost) = (taken, count)
                return [1]
            }
            guard let last = try await journal.segments().last else { return (entries, dropped) }
            entries += content
            dropped += lost
            try await journal.acknowledge([last.epoch: last.sequence])
        }
    }

    @Test func whenTheQueueIsFullTheLeastImportantGoFirstAndAreCounted() async throws {
        try await record(50, code: "release.failed")
        try await record(5_000, code: "step.done")
        _ = try await journal.gatherReports(state: ["kind": "state"])
        let backlog = try await journal.reportBacklog()
        #expect(backlog.entries <= Journal.reportEntryLimit)
        #expect(backlog.dropped == Int64(5_051 - backlog.entries))
        let (entries, dropped) = try await drain()
        #expect(Int64(entries.count) + dropped == 5_051)
        // Outcomes are older than all that went, and still there; of the rest the newest stayed.
        #expect(entries.filter { $0["code"]?.string == "release.failed" }.count == 50)
        #expect(entries.last { $0["code"] != nil }?["message"]?.string == "5000 x")
        #expect(try await journal.reportBacklog() == ReportBacklog(entries: 0, segments: 0, dropped: 0))
    }

    @Test func largeEntriesAreBoundedByTheirBytes() async throws {
        try await record(1_500, code: "step.done", message: String(repeating: "y", count: 1_900))
        let (entries, dropped) = try await drain()
        #expect(dropped > 0)
        #expect(entries.count + Int(dropped) == 1_500)
        let bytes = try entries.reduce(0) { $0 + (try $1.serialized(.compact)).count }
        #expect(bytes <= Journal.reportByteLimit)
    }

    @Test func segmentsThatNobodyAcknowledgesHaveABound() async throws {
        try await record(200, code: "step.done")
        for _ in 0..<20 { try await journal.cutSegment(entries: 10, bytes: 96 << 10) { _, _, _, _ in [1] } }
        let segments = try await journal.segments()
        #expect(segments.map(\.sequence) == Array(1...Int64(Journal.reportSegmentLimit)))
        #expect(try await journal.reportBacklog().entries == 200 - 10 * Journal.reportSegmentLimit)
        // What the hub never takes is counted with the next segment.
        try await journal.discard([segments[0]])
        #expect(try await journal.reportBacklog().dropped == 1)
    }

    @Test func onlyTheNewestStateWaits() async throws {
        for number in Int64(1)...30 {
            _ = try await journal.gatherReports(state: ["kind": "state", "number": .integer(number)])
        }
        #expect(try await drain().entries == [["kind": "state", "number": 30]])
    }
}
