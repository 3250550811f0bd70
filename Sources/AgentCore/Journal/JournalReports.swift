import Base
import Model
import SQLite

/// What a device has to tell its hub, in the order in which it goes when there is no room.
public enum ReportPriority: Int64, Sendable, CaseIterable, Comparable {
    /// How things stand: the next look says it again.
    case state = 0
    /// What happened on the way.
    case event = 1
    /// What became of a release.
    case outcome = 2

    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }

    /// Of a journal event, by its code.
    public init(eventCode: String) {
        let outcomes = ["release.", "device.", "hub."]
        self = outcomes.contains { eventCode.hasPrefix($0) } ? .outcome : .event
    }
}

/// A numbered piece of the report stream, as it was signed: the same bytes go out until they are acknowledged.
public struct QueuedSegment: Sendable, Equatable {
    public var epoch: Int64
    public var sequence: Int64
    public var envelope: [UInt8]
}

/// What waits to be reported.
public struct ReportBacklog: Sendable, Equatable {
    public var entries: Int
    public var segments: Int
    /// Entries that went for want of room since the last segment.
    public var dropped: Int64
}

/// The report queue: entries wait until they are made a segment, segments until the hub has them.
extension Journal {
    /// Rows and bytes of entries that wait; beyond either the least important and oldest go, and are counted.
    public static let reportEntryLimit = 4_000
    public static let reportByteLimit: Int64 = 1 << 20
    /// Segments that wait for an acknowledgement; no more are made before.
    public static let reportSegmentLimit = 8

    static let reportMigration = Migration(
        "reports",
        """
        CREATE TABLE report_stream (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            epoch INTEGER NOT NULL,
            next_sequence INTEGER NOT NULL,
            dropped INTEGER NOT NULL,
            last_event INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE report_entry (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            priority INTEGER NOT NULL,
            body TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE report_segment (
            epoch INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            envelope BLOB NOT NULL,
            PRIMARY KEY (epoch, sequence)
        ) STRICT
        """)

    /// The epoch that this journal counts in; nil before the first.
    public func reportEpoch() throws -> Int64? {
        try database.first("SELECT epoch FROM report_stream WHERE id = 1") { try $0.integer(0) }
    }

    /// Starts to count anew, from what the journal's events say from now on: for a new enrolment, and after the
    /// journal was damaged, when numbers that were sent may be forgotten.
    public func beginReports(epoch: Int64) throws {
        try database.transaction("journal.report-epoch") {
            try database.run("DELETE FROM report_entry")
            try database.run("DELETE FROM report_segment")
            try database.run(
                """
                INSERT OR REPLACE INTO report_stream (id, epoch, next_sequence, dropped, last_event)
                VALUES (1, ?, 1, 0, coalesce((SELECT max(id) FROM event), 0))
                """, .integer(epoch))
        }
    }

    /// Takes in the events since the last call, and `state` in the place of one that still waits.
    /// Answers whether anything waits to be sent.
    public func gatherReports(state: JSONValue?) throws -> Bool {
        guard
            let last = try database.first(
                "SELECT last_event FROM report_stream WHERE id = 1", map: { try $0.integer(0) })
        else { return false }
        let news = try database.query(
            "SELECT id, at, app, code, message FROM event WHERE id > ? ORDER BY id", .integer(last)
        ) { row in
            EventRecord(
                id: try row.integer(0), at: try row.timestamp(1), app: try row.text(2), code: try row.text(3),
                message: try row.text(4))
        }
        guard !news.isEmpty || state != nil else { return try hasReports() }
        try database.transaction("journal.report") {
            for event in news {
                try enqueue(
                    [
                        "kind": "event", "at": .string(event.at.description), "app": .string(event.app),
                        "code": .string(event.code), "message": .string(event.message),
                    ], ReportPriority(eventCode: event.code))
            }
            if let newest = news.last {
                // Event rows are bounded too: what was trimmed before it was read here is lost, and counted.
                let missed = newest.id - last - Int64(news.count)
                try database.run(
                    "UPDATE report_stream SET last_event = ?, dropped = dropped + ?", .integer(newest.id),
                    .integer(max(0, missed)))
            }
            if let state {
                try database.run(
                    "DELETE FROM report_entry WHERE priority = ?", .integer(ReportPriority.state.rawValue))
                try enqueue(state, .state)
            }
            try trimReports()
        }
        return try hasReports()
    }

    private func enqueue(_ entry: JSONValue, _ priority: ReportPriority) throws {
        try database.run(
            "INSERT INTO report_entry (priority, body) VALUES (?, ?)", .integer(priority.rawValue),
            .text(String(decoding: try entry.serialized(.compact), as: UTF8.self)))
    }

    private func trimReports() throws {
        func size() throws -> (rows: Int64, bytes: Int64) {
            try database.first("SELECT count(*), coalesce(sum(length(body)), 0) FROM report_entry") {
                (try $0.integer(0), try $0.integer(1))
            } ?? (0, 0)
        }
        var now = try size()
        while now.rows > Int64(Self.reportEntryLimit) || now.bytes > Self.reportByteLimit {
            let gone = try database.run(
                """
                DELETE FROM report_entry WHERE id IN (SELECT id FROM report_entry ORDER BY priority, id LIMIT ?)
                """, .integer(max(1, now.rows - Int64(Self.reportEntryLimit), now.rows / 16)))
            try database.run("UPDATE report_stream SET dropped = dropped + ?", SQLiteValue(gone))
            now = try size()
        }
    }

    private func hasReports() throws -> Bool {
        try database.first(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM report_entry) OR EXISTS (SELECT 1 FROM report_segment)",
            map: { _ in true }) ?? false
    }

    /// Makes the entries that wait the next segment, unless enough of them wait for an acknowledgement.
    ///
    /// - Parameter sign: makes the envelope of the entries under their number.
    public func cutSegment(
        entries limit: Int, bytes: Int,
        sign: (_ epoch: Int64, _ sequence: Int64, _ dropped: Int64, _ entries: [JSONValue]) throws -> [UInt8]
    ) throws {
        let waiting = try database.first("SELECT count(*) FROM report_segment") { try $0.integer(0) } ?? 0
        let stream = try database.first(
            "SELECT epoch, next_sequence, dropped FROM report_stream WHERE id = 1"
        ) { (epoch: try $0.integer(0), sequence: try $0.integer(1), dropped: try $0.integer(2)) }
        guard let stream, waiting < Int64(Self.reportSegmentLimit) else { return }
        var taken: [(id: Int64, text: String)] = []
        var size = 0
        let rows = try database.query(
            "SELECT id, body FROM report_entry ORDER BY id LIMIT ?", SQLiteValue(limit)
        ) { (id: try $0.integer(0), text: try $0.text(1)) }
        for row in rows {
            size += row.text.utf8.count + 1
            guard taken.isEmpty || size <= bytes else { break }
            taken.append(row)
        }
        guard let last = taken.last else { return }
        let entries = try taken.map { try JSONValue(parsing: Array($0.text.utf8)) }
        let envelope = try sign(stream.epoch, stream.sequence, stream.dropped, entries)
        try database.transaction("journal.segment") {
            try database.run(
                "INSERT INTO report_segment (epoch, sequence, envelope) VALUES (?, ?, ?)", .integer(stream.epoch),
                .integer(stream.sequence), .blob(envelope))
            try database.run("DELETE FROM report_entry WHERE id <= ?", .integer(last.id))
            try database.run("UPDATE report_stream SET next_sequence = next_sequence + 1, dropped = 0")
        }
    }

    /// The segments to send, oldest first.
    public func segments() throws -> [QueuedSegment] {
        try database.query("SELECT epoch, sequence, envelope FROM report_segment ORDER BY epoch, sequence") { row in
            QueuedSegment(epoch: try row.integer(0), sequence: try row.integer(1), envelope: try row.blob(2))
        }
    }

    /// Forgets what the hub has, by the number that covers all before it.
    public func acknowledge(_ acknowledged: [Int64: Int64]) throws {
        guard !acknowledged.isEmpty else { return }
        try database.transaction("journal.acknowledge") {
            for (epoch, sequence) in acknowledged {
                try database.run(
                    "DELETE FROM report_segment WHERE epoch = ? AND sequence <= ?", .integer(epoch),
                    .integer(sequence))
            }
        }
    }

    /// Drops segments that the hub will never take; the count of what was dropped goes with the next one.
    public func discard(_ segments: [QueuedSegment]) throws {
        try database.transaction("journal.report-discard") {
            for segment in segments {
                try database.run(
                    "DELETE FROM report_segment WHERE epoch = ? AND sequence = ?", .integer(segment.epoch),
                    .integer(segment.sequence))
                try database.run("UPDATE report_stream SET dropped = dropped + 1")
            }
        }
    }

    public func reportBacklog() throws -> ReportBacklog {
        let counts = try database.first(
            """
            SELECT (SELECT count(*) FROM report_entry), (SELECT count(*) FROM report_segment),
                coalesce((SELECT dropped FROM report_stream WHERE id = 1), 0)
            """
        ) {
            ReportBacklog(entries: Int(try $0.integer(0)), segments: Int(try $0.integer(1)), dropped: try $0.integer(2))
        }
        return counts ?? ReportBacklog(entries: 0, segments: 0, dropped: 0)
    }
}
