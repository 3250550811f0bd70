import Synchronization

/// Asks the process to end in order and start again as another program.
final class RestartRequest: Sendable {
    private let raised = Atomic(false)
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1)) }

    var isRaised: Bool { raised.load(ordering: .acquiring) }

    func raise() {
        raised.store(true, ordering: .releasing)
        continuation.yield()
    }

    /// Returns when it is raised, or the task is cancelled.
    func wait() async { for await _ in stream { return } }
}
