import Base
import Glibc
import Synchronization

/// Spreads reading over time, so that no more than the budget is read in a second.
final class ReadingPace: Sendable {
    private let budget: Int64
    private let clock: SystemClock
    private let start: UInt64
    private let count = Mutex(Int64(0))

    /// - Parameter budget: bytes per second; 0 for no limit.
    init(budget: Int64, clock: SystemClock) {
        self.budget = budget
        self.clock = clock
        start = clock.monotonic()
    }

    var bytes: Int64 { count.withLock { $0 } }

    /// Nanoseconds to wait after that many more bytes.
    private func debt(_ bytes: Int) -> UInt64 {
        let total = count.withLock { value in
            value += Int64(bytes)
            return value
        }
        guard budget > 0 else { return 0 }
        let due = UInt64(Double(total) / Double(budget) * 1_000_000_000)
        let spent = clock.monotonic() - start
        return due > spent ? min(due - spent, 5_000_000_000) : 0
    }

    func block(after bytes: Int) {
        let nanoseconds = debt(bytes)
        if nanoseconds > 1_000_000 { usleep(UInt32(nanoseconds / 1_000)) }
    }

    func wait(after bytes: Int) async throws {
        let nanoseconds = debt(bytes)
        if nanoseconds > 1_000_000 { try await clock.sleep(.nanoseconds(Int64(nanoseconds))) }
    }
}
