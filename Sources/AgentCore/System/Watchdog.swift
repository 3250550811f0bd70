import Base
import Dispatch
import Glibc
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

/// Ends the process when the reconciler hangs, whoever watches it from outside.
///
/// Looks from a thread of its own: a reconciler that blocks its thread may block all that tasks run on. The process is
/// left as after a power cut, which is what the journal is made for.
public final class HangGuard: Sendable {
    /// Exit status of a process that found itself hanging.
    public static let exitStatus = ExitStatus.software

    // Kept alive and never touched again; Dispatch's own types are safe from any thread.
    nonisolated(unsafe) private let timer: any DispatchSourceTimer

    /// - Parameter patience: nanoseconds without progress.
    public init(heartbeat: Heartbeat, patience: UInt64, report: @escaping @Sendable () -> Void) {
        timer = DispatchSource.makeTimerSource(queue: DispatchQueue(label: "holdfast.hang-guard"))
        let interval = max(1, Int(patience / 8_000_000_000))
        timer.schedule(deadline: .now() + .seconds(interval), repeating: .seconds(interval), leeway: .seconds(1))
        timer.setEventHandler {
            guard heartbeat.age >= patience else { return }
            report()
            _exit(Self.exitStatus.rawValue)
        }
        timer.activate()
    }

    deinit { timer.cancel() }
}
