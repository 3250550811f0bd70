import Synchronization

/// The last moment a piece of work moved.
final class Progress: Sendable {
    private let last = Mutex(ContinuousClock.now)

    func mark() { last.withLock { $0 = .now } }
    var moment: ContinuousClock.Instant { last.withLock { $0 } }
}

/// Work that was given up: silent for too long, or not done in time.
struct OutOfTime: Error {
    var detail: String
}

/// Runs `work` and cancels it once it is past `total`, or has not marked progress for `silence`; nil never cancels.
func withWatchdog<Value: Sendable>(
    total: Duration?, silence: Duration?, _ work: @escaping @Sendable (Progress) async throws -> Value
) async throws -> Value {
    let progress = Progress()
    guard total != nil || silence != nil else { return try await work(progress) }
    let start = progress.moment
    return try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask { try await work(progress) }
        group.addTask {
            while true {
                let now = ContinuousClock.now
                var due: [ContinuousClock.Instant] = []
                if let total {
                    guard now < start + total else { throw OutOfTime(detail: "not done after \(total)") }
                    due.append(start + total)
                }
                if let silence {
                    let moment = progress.moment
                    guard now < moment + silence else { throw OutOfTime(detail: "no progress for \(silence)") }
                    due.append(moment + silence)
                }
                try await Task.sleep(until: due.min() ?? now, clock: .continuous)
            }
        }
        defer { group.cancelAll() }
        while let finished = try await group.next() {
            if let value = finished { return value }
        }
        throw CancellationError()
    }
}
