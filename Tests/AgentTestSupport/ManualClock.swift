import Base
import Synchronization

/// A clock that moves only when told to, or when somebody sleeps on it.
public final class ManualClock: Sendable {
    private let state: Mutex<(wall: Int64, monotonic: UInt64)>

    public init(wall: Int64 = 1_790_000_000) { state = Mutex((wall, 1_000_000_000)) }

    public var monotonic: UInt64 { state.withLock { $0.monotonic } }
    public var now: Timestamp { Timestamp(seconds: state.withLock { $0.wall }) }

    public func advance(_ nanoseconds: UInt64) {
        state.withLock {
            $0.monotonic += nanoseconds
            $0.wall = Int64(bitPattern: UInt64(bitPattern: $0.wall) &+ nanoseconds / 1_000_000_000)
        }
    }

    /// Moves the wall clock alone, as a bad battery does.
    public func jump(to wall: Int64) { state.withLock { $0.wall = wall } }

    /// Sleeping takes no real time: it moves the clock.
    public var clock: SystemClock {
        SystemClock(
            now: { self.now }, monotonic: { self.monotonic },
            sleep: { duration in
                try Task.checkCancellation()
                let parts = duration.components
                self.advance(
                    UInt64(max(0, parts.seconds)) * 1_000_000_000 + UInt64(max(0, parts.attoseconds / 1_000_000_000)))
                await Task.yield()
            })
    }
}
