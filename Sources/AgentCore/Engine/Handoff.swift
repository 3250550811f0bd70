import Synchronization

/// Passes elements from one producing task to one consumer, one at a time: the producer waits until its element
/// was taken, so nothing piles up.
final class Handoff<Element: Sendable>: Sendable {
    private struct State {
        var offered: Element?
        var producer: CheckedContinuation<Void, Never>?
        var consumer: CheckedContinuation<Void, Never>?
        var end: Result<Void, any Error>?
        var isCancelled = false

        mutating func wake() -> [CheckedContinuation<Void, Never>] {
            defer { (producer, consumer) = (nil, nil) }
            return [producer, consumer].compactMap(\.self)
        }
    }
    private let state = Mutex(State())

    /// Returns once the consumer has taken `element`; throws when nobody will.
    func offer(_ element: Element) async throws {
        try change { state in
            if state.isCancelled { throw CancellationError() }
            state.offered = element
        }
        while try isPending() { await pause(\.producer) { $0.offered == nil || $0.isCancelled } }
    }

    private func isPending() throws -> Bool {
        try state.withLock { state in
            if state.isCancelled { throw CancellationError() }
            return state.offered != nil
        }
    }

    func finish(_ result: Result<Void, any Error>) {
        let waiting = state.withLock { state in
            state.end = state.end ?? result
            return state.wake()
        }
        for continuation in waiting { continuation.resume() }
    }

    /// The next element; nil at the end.
    func take() async throws -> Element? {
        while true {
            var waiting: [CheckedContinuation<Void, Never>] = []
            let taken: Element?? = try state.withLock { state in
                if let element = state.offered {
                    state.offered = nil
                    waiting = state.wake()
                    return .some(element)
                }
                if state.isCancelled { throw CancellationError() }
                guard let end = state.end else { return nil }
                try end.get()
                return .some(nil)
            }
            for continuation in waiting { continuation.resume() }
            if let taken { return taken }
            await withTaskCancellationHandler {
                await pause(\.consumer) { $0.offered != nil || $0.end != nil || $0.isCancelled }
            } onCancel: {
                cancel()
            }
        }
    }

    func cancel() {
        let waiting = state.withLock { state in
            state.isCancelled = true
            return state.wake()
        }
        for continuation in waiting { continuation.resume() }
    }

    private func change(_ body: (inout State) throws -> Void) throws {
        let waiting = try state.withLock { state in
            try body(&state)
            return state.wake()
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Suspends until the other side changes something, unless `isReady` says that it has already.
    private func pause(
        _ slot: WritableKeyPath<State, CheckedContinuation<Void, Never>?>,
        unless isReady: (State) -> Bool
    ) async {
        await withCheckedContinuation { continuation in
            let goOn = state.withLock { state in
                if isReady(state) { return true }
                state[keyPath: slot] = continuation
                return false
            }
            if goOn { continuation.resume() }
        }
    }
}

extension PullSequence {
    /// Pulls from a task that pushes: `produce` gets a function that returns once its element was taken.
    /// The task starts with the iteration and is cancelled when the iterator goes.
    static func produced(
        by produce: @escaping @Sendable (@escaping @Sendable (Element) async throws -> Void) async throws -> Void
    ) -> PullSequence {
        PullSequence {
            let pump = Pump(produce)
            return { try await pump.handoff.take() }
        }
    }

    private final class Pump: Sendable {
        let handoff: Handoff<Element>
        private let task: Task<Void, Never>

        init(_ produce: @escaping @Sendable (@escaping @Sendable (Element) async throws -> Void) async throws -> Void) {
            let handoff = Handoff<Element>()
            self.handoff = handoff
            task = Task {
                do {
                    try await produce { try await handoff.offer($0) }
                    handoff.finish(.success(()))
                } catch {
                    handoff.finish(.failure(error))
                }
            }
        }

        deinit {
            handoff.cancel()
            task.cancel()
        }
    }
}
