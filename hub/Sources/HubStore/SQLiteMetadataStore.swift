import Base
import HubCore
import SQLite

/// The embedded store: one SQLite database, written by one hub process at a time, safe under several.
///
/// It has a thread of its own: while that waits for a disk, the threads that check signatures go on.
public actor SQLiteMetadataStore: MetadataStore {
    private let executor = QueueExecutor(label: "holdfast-hub.store")
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
    let connection: Connection
    /// Changes of so many commits are kept.
    let changesKept: Int64
    var waiting: [WaitingIngest] = []
    var waitingCount = 0
    var waitingBytes = 0
    var isFlushDue = false

    /// Opens or creates the database at `path`.
    public init(path: String, changesKept: Int64 = 1_000_000, monitor: DurabilityMonitor = .passthrough) throws {
        var options = Connection.Options()
        options.pageCache = 16 << 10
        options.checkpointPages = HubStoreLimits.checkpointPages
        connection = try Connection(path: path, options: options, monitor: monitor)
        self.changesKept = changesKept
        try connection.migrate(Self.schema)
    }

    /// `counter` holds the number of the last commit and of events. Labels stand twice: in the record, to be
    /// matched, and as rows, to be found by.
    static let schema = [
        Migration(
            "hub tables",
            "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
            """
            CREATE TABLE record (kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, labels TEXT NOT NULL,
            body BLOB NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID
            """,
            """
            CREATE TABLE label (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL,
            PRIMARY KEY (kind, key, value, id)) WITHOUT ROWID
            """,
            """
            CREATE TABLE change (sequence INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
            deleted INTEGER NOT NULL, PRIMARY KEY (sequence, kind, id)) WITHOUT ROWID
            """,
            "CREATE TABLE event (idx INTEGER PRIMARY KEY, body BLOB NOT NULL)",
            """
            CREATE TABLE segment (position INTEGER PRIMARY KEY, device TEXT NOT NULL, epoch INTEGER NOT NULL,
            sequence INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (device, epoch, sequence))
            """,
            """
            CREATE TABLE stream (device TEXT NOT NULL, epoch INTEGER NOT NULL, acknowledged INTEGER NOT NULL,
            PRIMARY KEY (device, epoch)) WITHOUT ROWID
            """,
            """
            CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, fencing INTEGER NOT NULL,
            expires INTEGER NOT NULL) WITHOUT ROWID
            """,
            "INSERT INTO counter (name, value) VALUES ('commit', 0), ('event', 0)")
    ]

    // MARK: Reading

    public func get(_ keys: [RecordKey]) async throws -> [RecordKey: StoredRecord] {
        try check(keys.count, HubStoreLimits.page, "keys")
        var found: [RecordKey: StoredRecord] = [:]
        for key in keys where found[key] == nil {
            found[key] = try connection.first(
                "SELECT id, version, labels, body FROM record WHERE kind = ? AND id = ?", .text(key.kind.rawValue),
                .text(key.id)
            ) { try Self.record(key.kind, $0, Self.unpack($0.text(2))) }
        }
        return found
    }

    public func list(
        _ kind: RecordKind, selector: Selector, after cursor: String?, limit: Int
    ) async throws -> RecordPage {
        let limit = min(max(limit, 1), HubStoreLimits.page)
        var records: [StoredRecord] = []
        var looked = 0
        var next: String?
        // A fleet has few sets of labels: each is read once a page.
        var known: [String: Labels] = [:]
        let visit: (borrowing Row) throws -> Bool = { row in
            if records.count == limit || looked == HubStoreLimits.scan { return false }
            looked += 1
            let text = try row.text(2)
            let labels: Labels
            if let seen = known[text] {
                labels = seen
            } else {
                labels = try Self.unpack(text)
                known[text] = labels
            }
            let record = try Self.record(kind, row, labels)
            next = record.key.id
            if selector.matches(record.labels) { records.append(record) }
            return true
        }
        try scan(kind, selector, after: cursor, body: visit)
        let isFull = records.count == limit || looked == HubStoreLimits.scan
        return RecordPage(records: records, next: isFull ? next : nil)
    }

    /// Steps through the rows that a selector's best label finds, by id.
    private func scan(
        _ kind: RecordKind, _ selector: Selector, after cursor: String?, body: (borrowing Row) throws -> Bool
    ) throws {
        let start = cursor ?? ""
        // One more than is looked at, so that an end exactly there is known to be one.
        let bound = SQLiteValue(HubStoreLimits.scan + 1)
        if let anchor = selector.anchor {
            try connection.each(
                """
                SELECT record.id, record.version, record.labels, record.body FROM label JOIN record
                ON record.kind = label.kind AND record.id = label.id
                WHERE label.kind = ? AND label.key = ? AND label.value = ? AND label.id > ? ORDER BY label.id LIMIT ?
                """,
                [.text(kind.rawValue), .text(anchor.key), .text(anchor.value), .text(start), bound], body: body)
        } else {
            try connection.each(
                "SELECT id, version, labels, body FROM record WHERE kind = ? AND id > ? ORDER BY id LIMIT ?",
                [.text(kind.rawValue), .text(start), bound], body: body)
        }
    }

    public func bodies(_ kind: RecordKind, selector: Selector, after cursor: String?) async throws -> BodyPage {
        var page = BodyPage()
        page.bytes.reserveCapacity(HubStoreLimits.bodiesSize)
        var looked = 0
        var known: [String: Bool] = [:]
        try scan(kind, selector, after: cursor) { row in
            looked += 1
            if !selector.requirements.isEmpty {
                let text = try row.text(2)
                let matches = try known[text] ?? selector.matches(Self.unpack(text))
                known[text] = matches
                if matches { try row.withBlob(3) { page.append($0) } }
            } else {
                try row.withBlob(3) { page.append($0) }
            }
            guard looked == HubStoreLimits.bodies || page.bytes.count >= HubStoreLimits.bodiesSize else { return true }
            page.next = try row.text(0)
            return false
        }
        return page
    }

    private static func record(_ kind: RecordKind, _ row: borrowing Row, _ labels: Labels) throws -> StoredRecord {
        StoredRecord(
            key: RecordKey(kind, try row.text(0)), version: try row.integer(1), labels: labels, body: try row.blob(3))
    }

    public func changes(after sequence: Int64, limit: Int) async throws -> [RecordChange] {
        let last = try counter("commit")
        guard sequence >= last - changesKept, sequence <= last else {
            throw HubStoreError(.changesGone, "changes after \(sequence)", "the last \(changesKept) commits are kept")
        }
        let limit = min(max(limit, 1), HubStoreLimits.page)
        let page = try connection.query(
            "SELECT sequence, kind, id, deleted FROM change WHERE sequence > ? ORDER BY sequence, kind, id LIMIT ?",
            .integer(sequence), SQLiteValue(limit), map: Self.change)
        guard page.count == limit, let end = page.last?.sequence else { return page }
        // Its last commit may go on beyond the page, and nobody asks for half a commit.
        let whole = page.prefix { $0.sequence < end }
        if !whole.isEmpty { return Array(whole) }
        return try connection.query(
            "SELECT sequence, kind, id, deleted FROM change WHERE sequence = ? ORDER BY kind, id", .integer(end),
            map: Self.change)
    }

    private static func change(_ row: borrowing Row) throws -> RecordChange {
        let name = try row.text(1)
        guard let kind = RecordKind(rawValue: name) else {
            throw HubStoreError(.corrupt, "change", "of a kind \(name)")
        }
        return RecordChange(
            sequence: try row.integer(0), key: RecordKey(kind, try row.text(2)), isDeleted: try row.bool(3))
    }

    public func events(from index: Int64, limit: Int) async throws -> [StoredEvent] {
        try connection.query(
            "SELECT idx, body FROM event WHERE idx >= ? ORDER BY idx LIMIT ?", .integer(index),
            SQLiteValue(min(max(limit, 1), HubStoreLimits.page))
        ) { StoredEvent(index: try $0.integer(0), bytes: try $0.blob(1)) }
    }

    func counter(_ name: String) throws -> Int64 {
        guard
            let value = try connection.first(
                "SELECT value FROM counter WHERE name = ?", .text(name),
                map: { row in
                    try row.integer(0)
                })
        else { throw HubStoreError(.corrupt, "counter \(name)", "is missing") }
        return value
    }

    func check(_ count: Int, _ limit: Int, _ what: String) throws(HubStoreError) {
        guard count <= limit else { throw HubStoreError(.limit, what, "\(count), at most \(limit)") }
    }

    // MARK: Writing

    @discardableResult
    public func commit(_ commit: Commit) async throws -> CommitReceipt {
        try check(commit.writes.count, HubStoreLimits.writes, "writes of a commit")
        try check(commit.events.count, HubStoreLimits.writes, "events of a commit")
        for event in commit.events { try check(event.count, HubStoreLimits.bodySize, "bytes of an event") }
        for write in commit.writes {
            try check(write.key.id.utf8.count, HubStoreLimits.idLength, "bytes of the id of a \(write.key.kind)")
            try check(write.content?.body.count ?? 0, HubStoreLimits.bodySize, "bytes of \(write.key)")
        }
        guard Set(commit.writes.map(\.key)).count == commit.writes.count else {
            throw HubStoreError(.limit, "commit", "writes one record twice")
        }
        return try connection.transaction("hub.commit") {
            if let lease = commit.lease { try requireLease(lease) }
            for write in commit.writes { try require(write) }
            let sequence = try counter("commit") + 1
            for write in commit.writes { try apply(write, sequence: sequence) }
            var index = try counter("event")
            for event in commit.events {
                try connection.run("INSERT INTO event (idx, body) VALUES (?, ?)", .integer(index), .blob(event))
                index += 1
            }
            try connection.run("UPDATE counter SET value = ? WHERE name = 'commit'", .integer(sequence))
            try connection.run("UPDATE counter SET value = ? WHERE name = 'event'", .integer(index))
            try connection.run("DELETE FROM change WHERE sequence <= ?", .integer(sequence - changesKept))
            return CommitReceipt(sequence: sequence, events: index)
        }
    }

    private func require(_ write: Commit.Write) throws {
        guard write.expected != .any else { return }
        let found = try connection.first(
            "SELECT version FROM record WHERE kind = ? AND id = ?", .text(write.key.kind.rawValue),
            .text(write.key.id)
        ) { try $0.integer(0) }
        switch (write.expected, found) {
        case (.absent, nil): return
        case (.version(let wanted), let found?) where wanted == found: return
        default:
            let state = found.map { "is in version \($0)" } ?? "is absent"
            throw HubStoreError(.conflict, write.key.description, "\(state), another was expected")
        }
    }

    private func apply(_ write: Commit.Write, sequence: Int64) throws {
        let kind = SQLiteValue.text(write.key.kind.rawValue)
        let id = SQLiteValue.text(write.key.id)
        let old = try connection.first("SELECT labels FROM record WHERE kind = ? AND id = ?", kind, id) {
            try Self.unpack(try $0.text(0))
        }
        let labels = write.content?.labels ?? Labels()
        // Only what differs is touched: most writes change a record's body and none of its labels.
        for (key, value) in old?.values ?? [:] where labels[key] != value {
            try connection.run(
                "DELETE FROM label WHERE kind = ? AND key = ? AND value = ? AND id = ?", kind, .text(key),
                .text(value), id)
        }
        for (key, value) in labels.values where old?[key] != value {
            try connection.run(
                "INSERT INTO label (kind, key, value, id) VALUES (?, ?, ?, ?)", kind, .text(key), .text(value), id)
        }
        if let content = write.content {
            try connection.run(
                """
                INSERT INTO record (kind, id, version, labels, body) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, labels = excluded.labels,
                body = excluded.body
                """,
                kind, id, .integer(sequence), .text(Self.pack(labels)), .blob(content.body))
        } else {
            try connection.run("DELETE FROM record WHERE kind = ? AND id = ?", kind, id)
            guard old != nil else { return }
        }
        try connection.run(
            "INSERT INTO change (sequence, kind, id, deleted) VALUES (?, ?, ?, ?)", .integer(sequence), kind, id,
            SQLiteValue(write.content == nil))
    }

    /// `key=value` lines by key; neither may hold `=` or a newline.
    static func pack(_ labels: Labels) -> String {
        labels.values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: "\n")
    }

    static func unpack(_ text: String) throws(HubStoreError) -> Labels {
        var values: [String: String] = [:]
        for line in text.split(separator: "\n") {
            guard let equals = line.firstIndex(of: "=") else {
                throw HubStoreError(.corrupt, "labels", "a line without =")
            }
            values[String(line[..<equals])] = String(line[line.index(after: equals)...])
        }
        return Labels(stored: values)
    }

    /// Problems found by the database's own check; empty when it is sound.
    public func integrityProblems() throws -> [String] { try connection.integrityProblems() }
}
