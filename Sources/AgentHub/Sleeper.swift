import Base
import Synchronization

/// A wait that someone else may end.
final class Sleeper: Sendable {
    private let state = Mutex((waiters: [Int: CheckedContinuation<Void, Never>](), next: 0, isPending: false))

    func wake() {
        let waiting = state.withLock { state in
            if state.waiters.isEmpty { state.isPending = true }
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiting { waiter.resume() }
    }

    /// Returns after `duration`, on ``wake()``, or when the task is cancelled.
    func sleep(_ duration: Duration, _ clock: SystemClock) async {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        let timer = Mutex<Task<Void, Never>?>(nil)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.isPending || Task.isCancelled {
                        state.isPending = false
                        return true
                    }
                    state.waiters[id] = continuation
                    return false
                }
                if isOver { return continuation.resume() }
                // Not before the waiter is there to be ended.
                timer.withLock {
                    $0 = Task {
                        try? await clock.sleep(duration)
                        self.end(id)
                    }
                }
            }
        } onCancel: {
            self.end(id)
        }
        timer.withLock { $0 }?.cancel()
    }

    private func end(_ id: Int) { state.withLock { $0.waiters.removeValue(forKey: id) }?.resume() }
}
