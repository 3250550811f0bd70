import Base
import HubCore
import HubStore
import TestSupport
import Testing

private let now = Timestamp(seconds: 1_800_000_000)

private func event(_ text: String) -> AuditEvent { AuditEvent(.hubCreated, at: now, actor: "test", subject: text) }
private func key(_ id: String) -> RecordKey { RecordKey(.device, id) }

/// What every metadata backend promises.
@Suite struct MetadataContractTests {
    let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    @Test(arguments: MetadataBackend.allCases)
    func aRecordComesBackAsItWasWritten(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        let labels: Labels = ["site": "berlin", "empty": ""]
        let receipt = try await store.commit(
            Commit([
                .put(key("d-1"), labels: labels, body: [0, 255, 10], expecting: .absent),
                .put(key("d-2"), body: [], expecting: .any),
            ]))
        #expect(receipt.sequence == 1)
        let found = try await store.get([key("d-1"), key("d-2"), key("d-3"), RecordKey(.fleet, "d-1")])
        #expect(found.count == 2)
        #expect(
            found[key("d-1")] == StoredRecord(key: key("d-1"), version: 1, labels: labels, body: [0, 255, 10]))
        let again = try backend.open(directory)
        #expect(try await again.get([key("d-1")])[key("d-1")] == found[key("d-1")])
    }

    @Test(arguments: MetadataBackend.allCases)
    func anExpectationThatFailsChangesNothing(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        try await store.commit(Commit([.put(key("d-1"), body: [1], expecting: .absent)], events: [event("a")]))
        let cases: [(RecordKey, Commit.Expectation)] = [
            (key("d-1"), .absent), (key("d-1"), .version(0)), (key("d-1"), .version(2)), (key("d-9"), .version(1)),
        ]
        for (target, expected) in cases {
            let error = await #expect(throws: HubStoreError.self) {
                try await store.commit(
                    Commit(
                        [
                            .put(key("d-0"), body: [9], expecting: .absent), .put(target, body: [9], expecting: expected),
                        ], events: [event("b")]))
            }
            #expect(error?.reason == .conflict)
            #expect(error?.element == target.description)
        }
        #expect(try await store.get([key("d-0"), key("d-1")]).values.map(\.body) == [[1]])
        #expect(try await store.events(from: 0, limit: 10).count == 1)
        #expect(try await store.changes(after: 0, limit: 10).map(\.sequence) == [1])
    }

    @Test(arguments: MetadataBackend.allCases)
    func aVersionNeverComesBackNotEvenOverDeletion(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        try await store.commit(Commit([.put(key("d-1"), body: [1], expecting: .absent)]))
        try await store.commit(Commit([.delete(key("d-1"), expecting: .version(1))]))
        #expect(try await store.get([key("d-1")]).isEmpty)
        try await store.commit(Commit([.put(key("d-1"), body: [2], expecting: .absent)]))
        let version = try await store.get([key("d-1")])[key("d-1")]?.version
        #expect(version == 3)
        await #expect(throws: HubStoreError.self) {
            try await store.commit(Commit([.put(key("d-1"), body: [3], expecting: .version(1))]))
        }
    }

    @Test(arguments: MetadataBackend.allCases)
    func listingWalksAllPagesInOrderOnceEach(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        let ids = (0..<257).map { "d-\($0)" }
        for start in stride(from: 0, to: ids.count, by: 100) {
            try await store.commit(
                Commit(
                    try ids[start..<min(start + 100, ids.count)].enumerated().map { offset, id in
                        let number = start + offset
                        return .put(
                            key(id),
                            labels: try Labels(["site": "s\(number % 3)", "ring": number % 5 == 0 ? "canary" : "stable"]),
                            body: [], expecting: .absent)
                    }))
        }
        let cases: [(String, (Int) -> Bool)] = [
            ("", { _ in true }), ("site=s1", { $0 % 3 == 1 }), ("site=s1,ring=canary", { $0 % 15 == 10 }),
            ("ring!=canary", { $0 % 5 != 0 }), ("site in (s0,s2)", { $0 % 3 != 1 }), ("gone", { _ in false }),
            ("!gone,site=s2", { $0 % 3 == 2 }), ("site=s9", { _ in false }),
        ]
        for (text, expected) in cases {
            for limit in [1, 7, 100, 1000] {
                var found: [String] = []
                var cursor: String?
                repeat {
                    let page = try await store.list(.device, selector: Selector(text), after: cursor, limit: limit)
                    #expect(page.records.count <= limit)
                    found += page.records.map(\.key.id)
                    cursor = page.next
                } while cursor != nil && found.count <= ids.count
                #expect(found == ids.indices.filter(expected).map { ids[$0] }.sorted(), "\(text) by \(limit)")
                if limit == 1, text.isEmpty { #expect(found.count == 257) }
            }
        }
        #expect(try await store.list(.fleet, selector: .everything, after: nil, limit: 10).records.isEmpty)
    }

    @Test(arguments: MetadataBackend.allCases)
    func aChangedLabelMovesARecordBetweenSelectors(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        func ids(_ text: String) async throws -> [String] {
            try await store.list(.device, selector: Selector(text), after: nil, limit: 10).records.map(\.key.id)
        }
        try await store.commit(Commit([.put(key("d-1"), labels: ["ring": "a", "keep": "x"], body: [], expecting: .any)]))
        #expect(try await ids("ring=a") == ["d-1"])
        try await store.commit(Commit([.put(key("d-1"), labels: ["ring": "b", "keep": "x"], body: [], expecting: .any)]))
        #expect(try await ids("ring=a").isEmpty)
        #expect(try await ids("ring=b") == ["d-1"])
        #expect(try await ids("keep=x") == ["d-1"])
        try await store.commit(Commit([.delete(key("d-1"), expecting: .any)]))
        #expect(try await ids("ring=b").isEmpty)
        #expect(try await ids("keep=x").isEmpty)
    }

    @Test(arguments: MetadataBackend.allCases)
    func changesAndEventsAreInOrderWithoutGaps(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        for number in 0..<25 {
            try await store.commit(
                Commit(
                    [.put(key("d-\(number % 4)"), body: [UInt8(number)], expecting: .any)],
                    events: (0..<(number % 3)).map { event("\(number).\($0)") }))
        }
        try await store.commit(Commit([.delete(key("d-0"), expecting: .any), .delete(key("d-none"), expecting: .any)]))
        var sequence: Int64 = 0
        var seen: [RecordChange] = []
        while case let page = try await store.changes(after: sequence, limit: 7), let last = page.last {
            seen += page
            sequence = last.sequence
        }
        #expect(seen.map(\.sequence) == Array(1...26))
        #expect(seen.last == RecordChange(sequence: 26, key: key("d-0"), isDeleted: true))
        let events = try await store.events(from: 0, limit: 1000)
        #expect(events.map(\.index) == Array(0..<Int64(events.count)))
        #expect(events.count == 24)
        #expect(try await store.events(from: 20, limit: 2).map(\.index) == [20, 21])
        await #expect(throws: HubStoreError.self) { try await store.changes(after: 27, limit: 1) }
    }

    /// Who goes on after the last change of a page must not step over the rest of its commit.
    @Test(arguments: MetadataBackend.allCases, 1...9)
    func noPageOfChangesEndsInsideACommit(_ backend: MetadataBackend, limit: Int) async throws {
        let store = try backend.open(directory)
        var made: [RecordKey] = []
        for count in [3, 1, 5, 2, 4] {
            let keys = (0..<count).map { key("d-\(made.count + $0)") }
            try await store.commit(Commit(keys.map { .put($0, body: [], expecting: .absent) }))
            made += keys
        }
        var sequence: Int64 = 0
        var seen: [RecordKey] = []
        while case let page = try await store.changes(after: sequence, limit: limit), let last = page.last {
            seen += page.map(\.key)
            sequence = last.sequence
        }
        #expect(Set(seen) == Set(made) && seen.count == made.count)
    }

    @Test(arguments: MetadataBackend.allCases)
    func manyWritersLoseNoUpdate(_ backend: MetadataBackend) async throws {
        // Two stores over one place, as two processes would have.
        let stores = [try backend.open(directory), try backend.open(directory)]
        try await stores[0].commit(Commit([.put(key("counter"), body: [0, 0], expecting: .absent)]))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<6 {
                group.addTask {
                    let store = stores[writer % 2]
                    var done = 0
                    while done < 20 {
                        guard let record = try await store.get([key("counter")])[key("counter")] else { return }
                        let value = Int(record.body[0]) << 8 | Int(record.body[1]) + 1
                        do {
                            try await store.commit(
                                Commit(
                                    [
                                        .put(
                                            key("counter"), body: [UInt8(value >> 8), UInt8(value & 255)],
                                            expecting: .version(record.version))
                                    ], events: [event("\(writer)")]))
                            done += 1
                        } catch let error as HubStoreError where error.reason == .conflict {
                            continue
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await stores[1].get([key("counter")])[key("counter")]?.body == [0, 120])
        #expect(try await stores[0].events(from: 0, limit: 1000).map(\.index) == Array(0..<120))
    }

    @Test(arguments: MetadataBackend.allCases)
    func segmentsCountOnceWhateverTheOrder(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        let device = try DeviceID("d-1")
        func segment(_ number: Int64, _ body: UInt8? = nil, epoch: Int64 = 1) -> ReportSegment {
            ReportSegment(device: device, epoch: epoch, sequence: number, body: [body ?? UInt8(truncatingIfNeeded: number)])
        }
        func outcomes(_ segments: ReportSegment...) async throws -> [IngestOutcome] {
            try await store.ingest(segments)
        }
        #expect(
            try await outcomes(segment(1), segment(3), segment(1)) == [
                .init(fate: .stored, acknowledged: 1), .init(fate: .stored, acknowledged: 1),
                .init(fate: .duplicate, acknowledged: 1),
            ])
        #expect(try await outcomes(segment(2)) == [.init(fate: .stored, acknowledged: 3)])
        #expect(try await outcomes(segment(2, 99)) == [.init(fate: .conflict, acknowledged: 3)])
        #expect(try await outcomes(segment(10_004)) == [.init(fate: .ahead, acknowledged: 3)])
        #expect(try await outcomes(segment(1, epoch: 2)) == [.init(fate: .stored, acknowledged: 1)])
        let again = try backend.open(directory)
        #expect(try await again.ingest([segment(3)]) == [.init(fate: .duplicate, acknowledged: 3)])
        let stored = try await again.segments(after: 0, limit: 100)
        #expect(stored.map(\.segment) == [segment(1), segment(3), segment(2), segment(1, epoch: 2)])
        #expect(try await again.segments(after: stored[1].position, limit: 1).map(\.segment) == [segment(2)])
        for bad in [segment(0), segment(1, epoch: -1)] {
            await #expect(throws: HubStoreError.self) { try await store.ingest([bad]) }
        }
    }

    @Test(arguments: MetadataBackend.allCases)
    func manyDevicesReportAtOnce(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        try await withThrowingTaskGroup(of: Int64.self) { group in
            for number in 0..<40 {
                group.addTask {
                    let device = try DeviceID("d-\(number)")
                    var last: Int64 = 0
                    for sequence in 1...10 {
                        // Each is sent twice, as after a lost answer.
                        let segment = ReportSegment(
                            device: device, epoch: 1, sequence: Int64(sequence), body: [UInt8(sequence)])
                        last = try await store.ingest([segment, segment]).last?.acknowledged ?? 0
                    }
                    return last
                }
            }
            for try await acknowledged in group { #expect(acknowledged == 10) }
        }
        #expect(try await store.segments(after: 0, limit: 1000).count == 400)
    }

    @Test(arguments: MetadataBackend.allCases)
    func aLeaseHasOneHolderAndItsNumberGrows(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        guard case .granted(let first) = try await store.acquire("signer", holder: "a", seconds: 30, now: now) else {
            Issue.record("not granted")
            return
        }
        #expect(try await store.acquire("signer", holder: "b", seconds: 30, now: now + 29) == .held(by: "a", until: now + 30))
        guard case .granted(let renewed) = try await store.acquire("signer", holder: "a", seconds: 30, now: now + 20)
        else {
            Issue.record("not renewed")
            return
        }
        #expect(renewed.fencing == first.fencing)
        guard case .granted(let second) = try await store.acquire("signer", holder: "b", seconds: 30, now: now + 50)
        else {
            Issue.record("not granted after its end")
            return
        }
        #expect(second.fencing > first.fencing)
        let late = await #expect(throws: HubStoreError.self) {
            try await store.commit(Commit([.put(key("d-1"), body: [], expecting: .any)], lease: renewed))
        }
        #expect(late?.reason == .leaseLost)
        try await store.commit(Commit([.put(key("d-1"), body: [], expecting: .any)], lease: second))
        // Another's release changes nothing.
        try await store.release(first)
        #expect(try await store.acquire("signer", holder: "c", seconds: 30, now: now + 51) == .held(by: "b", until: now + 80))
        try await store.release(second)
        guard case .granted(let third) = try await store.acquire("signer", holder: "c", seconds: 30, now: now + 51) else {
            Issue.record("not granted after release")
            return
        }
        #expect(third.fencing > second.fencing)
    }

    @Test(arguments: MetadataBackend.allCases)
    func everyBoundIsKept(_ backend: MetadataBackend) async throws {
        let store = try backend.open(directory)
        let many = (0...1000).map { Commit.Write.put(key("d-\($0)"), body: [], expecting: .any) }
        let large = [UInt8](repeating: 0, count: HubStoreLimits.bodySize + 1)
        let long = String(repeating: "i", count: 256)
        let commits = [
            Commit(many), Commit([.put(key("d"), body: large, expecting: .any)]),
            Commit([.put(key(long), body: [], expecting: .any)]),
            Commit([.put(key("d"), body: [], expecting: .any), .delete(key("d"), expecting: .any)]),
        ]
        for commit in commits {
            let error = await #expect(throws: HubStoreError.self) { try await store.commit(commit) }
            #expect(error?.reason == .limit)
        }
        #expect(try await store.list(.device, selector: .everything, after: nil, limit: 1).records.isEmpty)
        let segment = ReportSegment(
            device: try DeviceID("d-1"), epoch: 1, sequence: 1,
            body: [UInt8](repeating: 0, count: HubStoreLimits.segmentSize + 1))
        await #expect(throws: HubStoreError.self) { try await store.ingest([segment]) }
    }

    @Test func aSearchThatFindsLittleGoesOnWhereItStopped() async throws {
        let store = try SQLiteMetadataStore(path: directory.file("hub.db"))
        for start in stride(from: 0, to: 12_000, by: 1_000) {
            try await store.commit(
                Commit(
                    (start..<(start + 1_000)).map { number in
                        .put(key("d-\(100_000 + number)"), body: [], expecting: .any)
                    }))
        }
        try await store.commit(Commit([.put(key("d-111500"), labels: ["rare": "x"], body: [], expecting: .any)]))
        let first = try await store.list(.device, selector: Selector("rare"), after: nil, limit: 10)
        #expect(first.records.isEmpty)
        #expect(first.next == "d-109999")
        let second = try await store.list(.device, selector: Selector("rare"), after: first.next, limit: 10)
        #expect(second.records.map(\.key.id) == ["d-111500"])
        #expect(second.next == nil)
    }

    @Test func changesOlderThanThoseKeptAreRefused() async throws {
        let store = try SQLiteMetadataStore(path: directory.file("hub.db"), changesKept: 5)
        for number in 0..<20 { try await store.commit(Commit([.put(key("d-\(number)"), body: [], expecting: .any)])) }
        #expect(try await store.changes(after: 15, limit: 100).map(\.sequence) == [16, 17, 18, 19, 20])
        let error = await #expect(throws: HubStoreError.self) { try await store.changes(after: 14, limit: 100) }
        #expect(error?.reason == .changesGone)
    }
}
