import Base
import HubCore
import SQLite

/// Callers whose segments go into the next group commit.
struct WaitingIngest {
    var segments: [ReportSegment]
    var continuation: CheckedContinuation<[IngestOutcome], any Error>
}

extension SQLiteMetadataStore {
    /// Callers that arrive while the disk is busy share one commit: its fsync is the price of all of them.
    public func ingest(_ segments: [ReportSegment]) async throws -> [IngestOutcome] {
        try check(segments.count, HubStoreLimits.segments, "segments of one call")
        for segment in segments {
            try check(segment.body.count, HubStoreLimits.segmentSize, "bytes of a segment of \(segment.device)")
            guard segment.sequence >= 1, segment.epoch >= 0 else {
                throw HubStoreError(.range, "segment of \(segment.device)", "numbers start at 1, epochs at 0")
            }
        }
        guard waitingCount + segments.count <= HubStoreLimits.waitingSegments else {
            throw HubStoreError(.busy, "reports", "\(waitingCount) segments wait to be written")
        }
        return try await withCheckedThrowingContinuation { continuation in
            waiting.append(WaitingIngest(segments: segments, continuation: continuation))
            waitingCount += segments.count
            guard !isFlushDue else { return }
            isFlushDue = true
            Task { self.flush() }
        }
    }

    private func flush() {
        let batch = waiting
        waiting = []
        waitingCount = 0
        isFlushDue = false
        do {
            let outcomes = try connection.transaction("hub.ingest") {
                try batch.map { try $0.segments.map(store) }
            }
            for (entry, outcome) in zip(batch, outcomes) { entry.continuation.resume(returning: outcome) }
        } catch {
            for entry in batch { entry.continuation.resume(throwing: error) }
        }
    }

    private func store(_ segment: ReportSegment) throws -> IngestOutcome {
        let device = SQLiteValue.text(segment.device.text)
        let epoch = SQLiteValue.integer(segment.epoch)
        var acknowledged =
            try connection.first(
                "SELECT acknowledged FROM stream WHERE device = ? AND epoch = ?", device, epoch
            ) { try $0.integer(0) } ?? 0
        guard segment.sequence <= acknowledged + HubStoreLimits.segmentWindow else {
            return IngestOutcome(fate: .ahead, acknowledged: acknowledged)
        }
        let found = try connection.first(
            "SELECT body FROM segment WHERE device = ? AND epoch = ? AND sequence = ?", device, epoch,
            .integer(segment.sequence)
        ) { try $0.blob(0) }
        if let found {
            return IngestOutcome(fate: found == segment.body ? .duplicate : .conflict, acknowledged: acknowledged)
        }
        try connection.run(
            "INSERT INTO segment (device, epoch, sequence, body) VALUES (?, ?, ?, ?)", device, epoch,
            .integer(segment.sequence), .blob(segment.body))
        guard segment.sequence == acknowledged + 1 else {
            return IngestOutcome(fate: .stored, acknowledged: acknowledged)
        }
        // What came before its turn counts as soon as the gap is closed; the window bounds this loop.
        repeat { acknowledged += 1 } while try isStored(device, epoch, acknowledged + 1)
        try connection.run(
            """
            INSERT INTO stream (device, epoch, acknowledged) VALUES (?, ?, ?)
            ON CONFLICT (device, epoch) DO UPDATE SET acknowledged = excluded.acknowledged
            """,
            device, epoch, .integer(acknowledged))
        return IngestOutcome(fate: .stored, acknowledged: acknowledged)
    }

    private func isStored(_ device: SQLiteValue, _ epoch: SQLiteValue, _ sequence: Int64) throws -> Bool {
        try connection.first(
            "SELECT 1 FROM segment WHERE device = ? AND epoch = ? AND sequence = ?", device, epoch,
            .integer(sequence)
        ) { _ in true } ?? false
    }

    public func segments(after position: Int64, limit: Int) async throws -> [StoredSegment] {
        try connection.query(
            "SELECT position, device, epoch, sequence, body FROM segment WHERE position > ? ORDER BY position LIMIT ?",
            .integer(position), SQLiteValue(min(max(limit, 1), HubStoreLimits.page))
        ) { row in
            StoredSegment(
                position: try row.integer(0),
                segment: ReportSegment(
                    device: try DeviceID(try row.text(1)), epoch: try row.integer(2), sequence: try row.integer(3),
                    body: try row.blob(4)))
        }
    }
}
