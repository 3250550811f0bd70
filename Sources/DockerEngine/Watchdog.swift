import Base
import Synchronization

/// The last moment a piece of work moved.
final class Progress: Sendable {
    private let last = Mutex(ContinuousClock.now)

    func mark() { last.withLock { $0 = .now } }
    var moment: ContinuousClock.Instant { last.withLock { $0 } }
}

struct NoProgress: Error {}

/// Runs `work` and cancels it once it has not marked progress for `limit`; nil never cancels.
///
/// A limit on the whole is a limit on work that never marks.
func withWatchdog<Value: Sendable>(
    _ limit: Duration?, _ work: @escaping @Sendable (Progress) async throws -> Value
) async throws -> Value {
    let progress = Progress()
    guard let limit else { return try await work(progress) }
    return try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask { try await work(progress) }
        group.addTask {
            while true {
                let due = progress.moment + limit
                if ContinuousClock.now >= due { throw NoProgress() }
                try await Task.sleep(until: due, clock: .continuous)
            }
        }
        defer { group.cancelAll() }
        while let finished = try await group.next() {
            if let value = finished { return value }
        }
        throw CancellationError()
    }
}
