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
        let size = segments.reduce(0) { $0 + $1.body.count }
        guard waitingCount + segments.count <= HubStoreLimits.waitingSegments,
            waitingBytes + size <= HubStoreLimits.waitingBytes
        else { throw HubStoreError(.busy, "reports", "\(waitingCount) segments wait to be written") }
        return try await withCheckedThrowingContinuation { continuation in
            waiting.append(WaitingIngest(segments: segments, continuation: continuation))
            waitingCount += segments.count
            waitingBytes += size
            guard !isFlushDue else { return }
            isFlushDue = true
            Task { self.flush() }
        }
    }

    private func flush() {
        let batch = waiting
        waiting = []
        waitingCount = 0
        waitingBytes = 0
        isFlushDue = false
        do {
            let outcomes = try connection.transaction("hub.ingest") {
                try batch.map { try store($0.segments) }
            }
            for (entry, outcome) in zip(batch, outcomes) { entry.continuation.resume(returning: outcome) }
        } catch {
            for entry in batch { entry.continuation.resume(throwing: error) }
        }
    }

    /// One device's segments of one epoch as the tables have them.
    private struct Stream {
        var device: DeviceID
        var epoch: Int64
        var acknowledged: Int64
        /// The highest number that is there; only up to it anything can be found.
        var highest: Int64
        var isChanged = false

        func holds(_ segment: ReportSegment) -> Bool { segment.epoch == epoch && segment.device == device }
    }

    /// Segments of one call: nearly always one stream, which is read and written once.
    private func store(_ segments: [ReportSegment]) throws -> [IngestOutcome] {
        var outcomes: [IngestOutcome] = []
        outcomes.reserveCapacity(segments.count)
        var open: Stream?
        for segment in segments {
            if let stream = open, !stream.holds(segment) {
                try close(stream)
                open = nil
            }
            var stream = try open ?? find(segment)
            outcomes.append(
                IngestOutcome(fate: try store(segment, in: &stream), acknowledged: stream.acknowledged))
            open = stream
        }
        if let open { try close(open) }
        return outcomes
    }

    private func find(_ segment: ReportSegment) throws -> Stream {
        var stream = Stream(device: segment.device, epoch: segment.epoch, acknowledged: 0, highest: 0)
        try connection.each(
            """
            SELECT coalesce((SELECT acknowledged FROM stream WHERE device = ?1 AND epoch = ?2), 0),
            coalesce((SELECT max(sequence) FROM segment WHERE device = ?1 AND epoch = ?2), 0)
            """,
            [.text(segment.device.text), .integer(segment.epoch)]
        ) {
            stream.acknowledged = try $0.integer(0)
            stream.highest = try $0.integer(1)
            return false
        }
        return stream
    }

    private func close(_ stream: Stream) throws {
        guard stream.isChanged else { return }
        try connection.run(
            """
            INSERT INTO stream (device, epoch, acknowledged) VALUES (?, ?, ?)
            ON CONFLICT (device, epoch) DO UPDATE SET acknowledged = excluded.acknowledged
            """,
            .text(stream.device.text), .integer(stream.epoch), .integer(stream.acknowledged))
    }

    private func store(_ segment: ReportSegment, in stream: inout Stream) throws -> IngestOutcome.Fate {
        guard segment.sequence <= stream.acknowledged + HubStoreLimits.segmentWindow else { return .ahead }
        let device = SQLiteValue.text(segment.device.text)
        let epoch = SQLiteValue.integer(segment.epoch)
        if segment.sequence <= stream.highest {
            let found = try connection.first(
                "SELECT body FROM segment WHERE device = ? AND epoch = ? AND sequence = ?", device, epoch,
                .integer(segment.sequence)
            ) { try $0.blob(0) }
            if let found { return found == segment.body ? .duplicate : .conflict }
        }
        try connection.run(
            "INSERT INTO segment (device, epoch, sequence, body) VALUES (?, ?, ?, ?)", device, epoch,
            .integer(segment.sequence), .blob(segment.body))
        stream.highest = max(stream.highest, segment.sequence)
        guard segment.sequence == stream.acknowledged + 1 else { return .stored }
        stream.isChanged = true
        stream.acknowledged += 1
        // What came before its turn counts as soon as the gap is closed; the window bounds this loop.
        while stream.acknowledged < stream.highest, try isStored(device, epoch, stream.acknowledged + 1) {
            stream.acknowledged += 1
        }
        return .stored
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
