import Base
import HubCore

/// Where a hub keeps its records: small, consistent, and the one truth. Every backend passes one contract suite.
///
/// A commit is all or nothing, and durable when it returns. A record's version is the number of the commit
/// that wrote it: it only grows, also over deletion, so an expected version never matches by accident.
public protocol MetadataStore: Sendable {
    /// Those of the records that are there.
    func get(_ keys: [RecordKey]) async throws -> [RecordKey: StoredRecord]

    /// Records of one kind that a selector chooses, by id. A page may be short or empty and still have a `next`:
    /// one call looks at no more than ``HubStoreLimits/scan`` records.
    func list(_ kind: RecordKind, selector: Selector, after cursor: String?, limit: Int) async throws -> RecordPage

    /// Bodies alone of what ``list(_:selector:after:limit:)`` gives, many in one piece: for reading a whole fleet.
    func bodies(_ kind: RecordKind, selector: Selector, after cursor: String?) async throws -> BodyPage

    /// Writes all or nothing. - Throws: `hub-store.conflict` naming the first record that is not as expected,
    /// `hub-store.lease-lost`.
    @discardableResult
    func commit(_ commit: Commit) async throws -> CommitReceipt

    /// What changed in commits after `sequence`, oldest first: whole commits, so that one may go on after the last. At most
    /// `limit` changes, or one commit of more. - Throws: `hub-store.changes-gone`.
    func changes(after sequence: Int64, limit: Int) async throws -> [RecordChange]

    /// Audit events from `index` (0 is the first), in the order of their commits, without gaps.
    func events(from index: Int64, limit: Int) async throws -> [StoredEvent]

    /// Takes segments in, each once, durable when it returns. One outcome per segment, in their order.
    func ingest(_ segments: [ReportSegment]) async throws -> [IngestOutcome]

    /// Segments in the order in which they came, after a position (0 for all).
    func segments(after position: Int64, limit: Int) async throws -> [StoredSegment]

    /// Gives a named lease to a holder, renews it, or says who has it.
    func acquire(_ name: String, holder: String, seconds: Int64, now: Timestamp) async throws -> LeaseOutcome

    /// Ends a lease that is still the caller's; another's is left alone.
    func release(_ lease: Lease) async throws
}

public struct RecordKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var kind: RecordKind
    public var id: String

    public init(_ kind: RecordKind, _ id: String) {
        self.kind = kind
        self.id = id
    }
    public var description: String { "\(kind.rawValue) \(id)" }
    public static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.kind.rawValue, lhs.id) < (rhs.kind.rawValue, rhs.id)
    }
}

public struct StoredRecord: Hashable, Sendable {
    public var key: RecordKey
    public var version: Int64
    public var labels: Labels
    public var body: [UInt8]

    public init(key: RecordKey, version: Int64, labels: Labels, body: [UInt8]) {
        self.key = key
        self.version = version
        self.labels = labels
        self.body = body
    }
}

public struct RecordPage: Sendable {
    public var records: [StoredRecord]
    /// Where the next page starts; nil at the end.
    public var next: String?

    public init(records: [StoredRecord], next: String?) {
        self.records = records
        self.next = next
    }
}

/// Bodies of records, one behind the other.
public struct BodyPage: Sendable {
    public var bytes: [UInt8] = []
    /// Where each body ends.
    public var ends: [Int] = []
    /// Where the next page starts; nil at the end.
    public var next: String?

    public init() {}

    mutating func append(_ body: some Collection<UInt8>) {
        bytes.append(contentsOf: body)
        ends.append(bytes.count)
    }

    /// Visits each body.
    public func forEach(_ visit: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        try bytes.withUnsafeBytes { buffer in
            var start = 0
            for end in ends {
                try visit(UnsafeRawBufferPointer(rebasing: buffer[start..<end]))
                start = end
            }
        }
    }
}

/// Changes that happen together.
public struct Commit: Sendable {
    public enum Expectation: Hashable, Sendable {
        case any, absent
        case version(Int64)
    }

    public struct Write: Sendable {
        public var key: RecordKey
        /// Nil deletes.
        public var content: (labels: Labels, body: [UInt8])?
        public var expected: Expectation

        public static func put(
            _ key: RecordKey, labels: Labels = Labels(), body: [UInt8], expecting expected: Expectation
        ) -> Write {
            Write(key: key, content: (labels, body), expected: expected)
        }

        public static func put(
            _ record: some HubRecord, expecting expected: Expectation
        ) throws(HubError) -> Write {
            .put(record.key, labels: record.recordLabels, body: try record.encoded(), expecting: expected)
        }

        public static func delete(_ key: RecordKey, expecting expected: Expectation) -> Write {
            Write(key: key, content: nil, expected: expected)
        }
    }

    public var writes: [Write]
    /// Leaves of the audit log, appended in this order.
    public var events: [[UInt8]]
    /// When set, the commit happens only while this lease is its holder's.
    public var lease: Lease?

    public init(_ writes: [Write], events: [AuditEvent] = [], lease: Lease? = nil) {
        self.writes = writes
        self.events = events.map(\.bytes)
        self.lease = lease
    }
}

extension HubRecord {
    public var key: RecordKey { RecordKey(Self.kind, recordID) }
}

public struct CommitReceipt: Hashable, Sendable {
    /// The commit's number; the version of every record it wrote.
    public var sequence: Int64
    /// Events in the log after it.
    public var events: Int64

    public init(sequence: Int64, events: Int64) {
        self.sequence = sequence
        self.events = events
    }
}

public struct RecordChange: Hashable, Sendable {
    public var sequence: Int64
    public var key: RecordKey
    public var isDeleted: Bool

    public init(sequence: Int64, key: RecordKey, isDeleted: Bool) {
        self.sequence = sequence
        self.key = key
        self.isDeleted = isDeleted
    }
}

public struct StoredEvent: Hashable, Sendable {
    public var index: Int64
    public var bytes: [UInt8]

    public init(index: Int64, bytes: [UInt8]) {
        self.index = index
        self.bytes = bytes
    }
}

/// A piece of a device's report stream as it was signed. `sequence` counts from 1 in each epoch; a device that
/// lost its state starts a later epoch.
public struct ReportSegment: Hashable, Sendable {
    public var device: DeviceID
    public var epoch: Int64
    public var sequence: Int64
    public var body: [UInt8]

    public init(device: DeviceID, epoch: Int64, sequence: Int64, body: [UInt8]) {
        self.device = device
        self.epoch = epoch
        self.sequence = sequence
        self.body = body
    }
}

public struct StoredSegment: Hashable, Sendable {
    public var position: Int64
    public var segment: ReportSegment

    public init(position: Int64, segment: ReportSegment) {
        self.position = position
        self.segment = segment
    }
}

public struct IngestOutcome: Hashable, Sendable {
    public enum Fate: String, Hashable, Sendable {
        case stored
        /// The same bytes were there.
        case duplicate
        /// Other bytes are there under this number: the device, or its key, exists twice. Nothing was written.
        case conflict
        /// Further ahead than ``HubStoreLimits/segmentWindow``. Nothing was written.
        case ahead
    }
    public var fate: Fate
    /// Every segment of this device and epoch up to this number is durable.
    public var acknowledged: Int64

    public init(fate: Fate, acknowledged: Int64) {
        self.fate = fate
        self.acknowledged = acknowledged
    }
}

/// A right that one holder has for a time.
public struct Lease: Hashable, Sendable {
    public var name: String
    public var holder: String
    /// Grows with each change of hands: what a late holder still writes is recognised by it.
    public var fencing: Int64
    public var expires: Timestamp

    public init(name: String, holder: String, fencing: Int64, expires: Timestamp) {
        self.name = name
        self.holder = holder
        self.fencing = fencing
        self.expires = expires
    }
}

public enum LeaseOutcome: Hashable, Sendable {
    case granted(Lease)
    case held(by: String, until: Timestamp)
}

// MARK: - Records as values

extension MetadataStore {
    /// One record as its value, with its version; nil when it is not there.
    public func record<Record: HubRecord>(
        _ type: Record.Type = Record.self, _ id: String
    ) async throws -> (value: Record, version: Int64)? {
        let key = RecordKey(Record.kind, id)
        guard let stored = try await get([key])[key] else { return nil }
        return (try Record(decoding: stored.body), stored.version)
    }

    /// For backends that have nothing quicker.
    public func bodies(_ kind: RecordKind, selector: Selector, after cursor: String?) async throws -> BodyPage {
        let page = try await list(kind, selector: selector, after: cursor, limit: HubStoreLimits.page)
        var bodies = BodyPage()
        for record in page.records { bodies.append(record.body) }
        bodies.next = page.next
        return bodies
    }

    /// Every record of a kind that a selector chooses, by id, in pages; a page is read while the one before it is
    /// worked on. What is committed meanwhile may or may not be among them.
    public func each<Record: HubRecord>(
        _ type: Record.Type = Record.self, _ selector: Selector = .everything,
        isolation: isolated (any Actor)? = #isolation, _ body: (Record) throws -> Void
    ) async throws {
        try await eachBody(Record.kind, selector) { try body(Record(decoding: Array($0))) }
    }

    /// The same of devices as a hub keeps them in memory, which is far quicker.
    public func eachBrief(
        _ selector: Selector = .everything, isolation: isolated (any Actor)? = #isolation,
        _ body: (DeviceBrief) throws -> Void
    ) async throws {
        try await eachBody(.device, selector) { try DeviceBrief.read($0, body) }
    }

    private func eachBody(
        _ kind: RecordKind, _ selector: Selector, isolation: isolated (any Actor)? = #isolation,
        _ body: (UnsafeRawBufferPointer) throws -> Void
    ) async throws {
        var page = try await bodies(kind, selector: selector, after: nil)
        while true {
            let cursor = page.next
            async let following = next(kind, selector, cursor)
            try page.forEach(body)
            guard let next = try await following else { return }
            page = next
        }
    }

    private func next(_ kind: RecordKind, _ selector: Selector, _ cursor: String?) async throws -> BodyPage? {
        guard let cursor else { return nil }
        return try await bodies(kind, selector: selector, after: cursor)
    }
}
