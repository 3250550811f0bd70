import NIOConcurrencyHelpers

/// Something that happens again and again, and tasks that wait for the next time.
public final class Signal: Sendable {
    private struct State {
        var count: UInt64 = 0
        var nextWaiter: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    }
    private let state = NIOLockedValueBox(State())

    public init() {}

    /// How often it happened so far.
    public var count: UInt64 { state.withLockedValue { $0.count } }

    public func fire() {
        let woken = state.withLockedValue { state in
            state.count += 1
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in woken { waiter.resume() }
    }

    /// Returns when it has happened more often than `count` times, after `limit`, or when the task is cancelled.
    public func wait(beyond count: UInt64, limit: Duration) async {
        let number = state.withLockedValue { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        let timer = Task {
            try? await Task.sleep(for: limit)
            cancel(number)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDue = state.withLockedValue { state in
                    guard state.count <= count, !Task.isCancelled else { return true }
                    state.waiters[number] = continuation
                    return false
                }
                if isDue { continuation.resume() }
            }
        } onCancel: {
            cancel(number)
        }
        timer.cancel()
    }

    private func cancel(_ number: UInt64) {
        state.withLockedValue { $0.waiters.removeValue(forKey: number) }?.resume()
    }
}
