import Base
import HubCore
import HubStore

/// Tells the parts of a hub that hold something in memory what changed in the store, in the order of the commits.
public actor ChangeFeed {
    /// Takes changes in. Nil means that changes were missed: read everything anew.
    public typealias Listener = @Sendable (_ changes: [RecordChange]?) async throws -> Void

    private struct Follower {
        let listener: Listener
        /// Of the last commit that it has taken in.
        var sequence: Int64
    }

    private let store: any MetadataStore
    private let start: Int64
    private var followers: [Follower] = []
    /// Whether the last round did not bring all to the end.
    private var isBehind = false
    /// The last round, which the next one waits for.
    private var round: Task<Void, any Error>?

    /// - Parameter sequence: of the last commit that the listeners know of.
    public init(store: any MetadataStore, after sequence: Int64) {
        self.store = store
        start = sequence
    }

    public func add(_ listener: @escaping Listener) { followers.append(Follower(listener: listener, sequence: start)) }

    /// Returns when every listener has taken in all that was committed before the call.
    public func settle() async throws {
        let earlier = round
        let next = Task {
            // What made an earlier round fail comes again in this one.
            _ = await earlier?.result
            try await deliver()
        }
        round = next
        try await next.value
    }

    /// Tells each follower what it has not taken in yet. One that fails keeps nothing from the others: it stays where it
    /// is, and hears the same again in the next round.
    private func deliver() async throws {
        isBehind = true
        var failure: (any Error)?
        var waiting = Set(followers.indices)
        // Those that are furthest behind first, so that a page is read once for all that need it.
        while let lowest = waiting.map({ followers[$0].sequence }).min() {
            let changes: [RecordChange]?
            let reached: Int64
            do {
                let page = try await store.changes(after: lowest, limit: HubStoreLimits.page)
                guard let last = page.last else { break }
                (changes, reached) = (page, last.sequence)
            } catch let error as HubStoreError where error.reason == .changesGone {
                // Before anybody reads: what is committed meanwhile is told after it.
                (changes, reached) = (nil, try await store.commit(Commit([])).sequence)
            }
            for index in waiting.sorted() where followers[index].sequence == lowest {
                do {
                    try await followers[index].listener(changes)
                    followers[index].sequence = reached
                } catch {
                    failure = failure ?? error
                    waiting.remove(index)
                }
            }
        }
        if let failure { throw failure }
        isBehind = false
    }

    /// Delivers again what was left undone; called now and then.
    public func catchUp() async throws { if isBehind { try await settle() } }
}

/// A store that returns from a commit when the hub's memory has it too: what was revoked is refused from then on.
public struct FollowedStore: MetadataStore {
    private let store: any MetadataStore
    private let feed: ChangeFeed
    /// Told of a follower that failed; the commit stands.
    private let onError: @Sendable (any Error) -> Void
    /// Told after each commit, with or without changes of records.
    private let onCommit: @Sendable () -> Void

    public init(
        _ store: any MetadataStore, feed: ChangeFeed, onCommit: @escaping @Sendable () -> Void,
        onError: @escaping @Sendable (any Error) -> Void
    ) {
        self.store = store
        self.feed = feed
        self.onCommit = onCommit
        self.onError = onError
    }

    public func commit(_ commit: Commit) async throws -> CommitReceipt {
        let receipt = try await store.commit(commit)
        do {
            try await feed.settle()
        } catch {
            onError(error)
        }
        onCommit()
        return receipt
    }

    /// As ``ChangeFeed/catchUp()``: what could not be done when something was committed is not left until the next commit.
    public func catchUp() async {
        do { try await feed.catchUp() } catch { onError(error) }
    }

    public func get(_ keys: [RecordKey]) async throws -> [RecordKey: StoredRecord] { try await store.get(keys) }
    public func list(
        _ kind: RecordKind, selector: Selector, after cursor: String?, limit: Int
    ) async throws -> RecordPage {
        try await store.list(kind, selector: selector, after: cursor, limit: limit)
    }
    public func bodies(_ kind: RecordKind, selector: Selector, after cursor: String?) async throws -> BodyPage {
        try await store.bodies(kind, selector: selector, after: cursor)
    }
    public func changes(after sequence: Int64, limit: Int) async throws -> [RecordChange] {
        try await store.changes(after: sequence, limit: limit)
    }
    public func events(from index: Int64, limit: Int) async throws -> [StoredEvent] {
        try await store.events(from: index, limit: limit)
    }
    public func ingest(_ segments: [ReportSegment]) async throws -> [IngestOutcome] {
        try await store.ingest(segments)
    }
    public func segments(after position: Int64, limit: Int) async throws -> [StoredSegment] {
        try await store.segments(after: position, limit: limit)
    }
    public func acquire(_ name: String, holder: String, seconds: Int64, now: Timestamp) async throws -> LeaseOutcome {
        try await store.acquire(name, holder: holder, seconds: seconds, now: now)
    }
    public func release(_ lease: Lease) async throws { try await store.release(lease) }
}
