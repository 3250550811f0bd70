import Base
import HubCore
import HubDevices
import HubStore
import NIOConcurrencyHelpers
import TestSupport
import Testing

/// The parts of a hub hear of every commit, whatever another part cannot do.
@Suite struct ChangeFeedTests {
    private let folder: TemporaryDirectory
    init() throws { folder = try TemporaryDirectory() }

    private struct Refused: Error {}

    /// A part of the hub: what it heard, and whether it can take more.
    private final class Part: Sendable {
        private let state = NIOLockedValueBox((heard: [RecordKey](), anew: 0, isBroken: false))
        var heard: [RecordKey] { state.withLockedValue { $0.heard } }
        var anew: Int { state.withLockedValue { $0.anew } }
        func set(broken: Bool) { state.withLockedValue { $0.isBroken = broken } }
        func take(_ changes: [RecordChange]?) throws {
            try state.withLockedValue { state in
                if state.isBroken { throw Refused() }
                if let changes { state.heard += changes.map(\.key) } else { state.anew += 1 }
            }
        }
    }

    private func commit(_ numbers: Range<Int>, to store: SQLiteMetadataStore) async throws -> [RecordKey] {
        let keys = numbers.map { RecordKey(.device, "d-\($0)") }
        try await store.commit(Commit(keys.map { .put($0, body: [], expecting: .any) }))
        return keys
    }

    private func feed(_ store: SQLiteMetadataStore, _ parts: [Part]) async throws -> ChangeFeed {
        let feed = ChangeFeed(store: store, after: try await store.commit(Commit([])).sequence)
        for part in parts { await feed.add { try part.take($0) } }
        return feed
    }

    @Test func aPartThatFailsForLongKeepsNothingFromTheOthersAndHearsAllInTheEnd() async throws {
        let store = try SQLiteMetadataStore(path: folder.file("hub.db"))
        let (broken, sound) = (Part(), Part())
        let feed = try await feed(store, [broken, sound])
        var made = try await commit(0..<3, to: store)
        try await feed.settle()
        broken.set(broken: true)
        // More than a page of changes, and pages that would end inside a commit.
        for start in stride(from: 10, to: 2_500, by: 7) {
            made += try await commit(start..<start + 7, to: store)
            if start % 3 == 0 { await #expect(throws: Refused.self) { try await feed.settle() } }
        }
        await #expect(throws: Refused.self) { try await feed.settle() }
        #expect(made.count > 2 * HubStoreLimits.page)
        #expect(Set(sound.heard) == Set(made) && sound.heard.count == made.count)
        #expect(broken.heard.count == 3)
        broken.set(broken: false)
        try await feed.catchUp()
        #expect(Set(broken.heard) == Set(made) && broken.heard.count == made.count)
        #expect(sound.heard.count == made.count, "what was taken in is not told again")
    }

    @Test func whoMissedChangesReadsAnewAndMissesNothingThatComesMeanwhile() async throws {
        let store = try SQLiteMetadataStore(path: folder.file("hub.db"), changesKept: 4)
        let (broken, sound) = (Part(), Part())
        let feed = try await feed(store, [broken, sound])
        // Reads everything, and another commit comes before it has ended.
        let late = RecordKey(.device, "d-late")
        let meanwhile = Part()
        await feed.add { changes in
            try meanwhile.take(changes)
            if changes == nil { try await store.commit(Commit([.put(late, body: [], expecting: .any)])) }
        }
        broken.set(broken: true)
        for number in 0..<20 { _ = try await commit(number..<number + 1, to: store) }
        await #expect(throws: Refused.self) { try await feed.settle() }
        #expect(sound.anew == 1 && meanwhile.anew == 1 && broken.anew == 0)
        #expect(sound.heard == [late] && meanwhile.heard == [late])
        // Nobody commits anything more.
        broken.set(broken: false)
        try await feed.catchUp()
        #expect(broken.anew == 1 || broken.heard.last == late)
        #expect(sound.anew == 1 && sound.heard == [late])
    }
}
