import Base
import Synchronization

/// When the reconciler last made progress. The watchdog reads it: a reconciler that hangs stops beating.
public final class Heartbeat: Sendable {
    private let last: Atomic<UInt64>
    private let monotonic: @Sendable () -> UInt64

    public init(clock: SystemClock) {
        monotonic = clock.monotonic
        last = Atomic(clock.monotonic())
    }

    public func beat() { last.store(monotonic(), ordering: .relaxed) }

    /// A beat that also covers a call that may rightly take up to `duration`.
    public func beat(covering duration: Duration) {
        let seconds = UInt64(min(max(0, duration.components.seconds), 86_400))
        last.store(monotonic() + seconds * 1_000_000_000, ordering: .relaxed)
    }

    /// Nanoseconds since the last beat.
    public var age: UInt64 {
        let now = monotonic()
        let then = last.load(ordering: .relaxed)
        return now > then ? now - then : 0
    }
}
