import Dispatch
import Glibc
import Synchronization

/// SIGTERM and SIGINT as something a task can wait for.
public final class StopSignals: Sendable {
    // Kept alive and never touched again; Dispatch's own types are safe from any thread.
    nonisolated(unsafe) private let sources: [any DispatchSourceSignal]
    private let stream: AsyncStream<Void>
    private let raised = Atomic(false)

    public init() {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        self.stream = stream
        sources = [SIGTERM, SIGINT].map { number in
            // The source sees the signal only when its default action is off.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler { continuation.yield() }
            source.activate()
            return source
        }
    }

    public var isRaised: Bool { raised.load(ordering: .acquiring) }

    /// Returns when a signal has come, or the task is cancelled.
    public func wait() async {
        for await _ in stream {
            raised.store(true, ordering: .releasing)
            return
        }
    }
}
