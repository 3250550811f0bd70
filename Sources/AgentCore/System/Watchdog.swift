import Base
import ServiceSupport

/// Answers systemd's watchdog for as long as the reconciler makes progress.
public struct Watchdog: Sendable {
    let manager: ServiceManager
    let heartbeat: Heartbeat
    let clock: SystemClock
    /// Nanoseconds without progress after which the answers stop.
    let patience: UInt64

    public init(manager: ServiceManager, heartbeat: Heartbeat, clock: SystemClock, patience: UInt64) {
        self.manager = manager
        self.heartbeat = heartbeat
        self.clock = clock
        self.patience = patience
    }

    public var isAlive: Bool { heartbeat.age < patience }

    /// Until cancelled. Returns at once when systemd does not watch.
    public func run() async {
        guard let interval = manager.watchdogInterval else { return }
        while !Task.isCancelled {
            if isAlive { manager.keepAlive() }
            // Twice as often as asked, as sd_watchdog_enabled(3) advises.
            do { try await clock.sleep(.nanoseconds(Int64(interval / 2))) } catch { return }
        }
    }
}
