import Base
import Model

extension Reconciler {
    /// Where lifetimes of locks are counted.
    public nonisolated var bootClock: BootClock {
        BootClock(boot: environment.boot, now: environment.clock.monotonic())
    }

    /// What keeps candidates from being applied now: locks, then windows.
    func holds(on desired: [DesiredApp], _ observed: ObservedState) async throws -> [String: Hold] {
        let locks = try await environment.journal.locks(at: bootClock, running: observed.containers)
        noteLocks(locks)
        let candidates = desired.filter { $0.phase == .candidate }
        guard !candidates.isEmpty else { return [:] }
        let now = try await environment.journal.updatesNow()
        var holds: [String: Hold] = [:]
        for app in candidates {
            let release = app.target.release
            let lock = locks.filter { $0.app.isEmpty || $0.app == app.app }.max { $0.secondsLeft < $1.secondsLeft }
            if let lock, release.update.locks == .respect {
                holds[app.app] = .lock(holder: lock.holder, reason: lock.reason, secondsLeft: lock.secondsLeft)
            } else if now[app.app] != app.target.digest {
                holds[app.app] = environment.gate.hold(.apply, of: release)
            }
        }
        return holds
    }

    /// Whether a service may be restarted without being asked: no lock holds and the device's window is open.
    public func mayDisturb() async throws -> Bool {
        try await environment.journal.locks(at: bootClock).isEmpty && environment.gate.hold(.apply, of: nil) == nil
    }

    /// The services, of releases present and before, whose containers may take locks.
    static func locking(_ desired: [DesiredApp]) -> Set<LockingService> {
        var services: Set<LockingService> = []
        for pinned in desired.flatMap({ [$0.target, $0.previous].compactMap { $0 } }) {
            for (name, service) in pinned.release.services where service.locks {
                services.insert(LockingService(app: pinned.release.app, service: name))
            }
        }
        return services
    }
}
