import Base
import Logging
import Model

/// Wakes the reconciler when something happens in the engine.
public struct EngineWatcher: Sendable {
    private let engine: any ContainerEngine
    private let reconciler: Reconciler
    private let clock: SystemClock
    private let backoff = Backoff(base: .seconds(1), ceiling: .seconds(10))

    public init(engine: any ContainerEngine, reconciler: Reconciler, clock: SystemClock) {
        self.engine = engine
        self.reconciler = reconciler
        self.clock = clock
    }

    /// Until cancelled; a connection that breaks is made again.
    public func run() async {
        var attempt = 0
        var generator = SystemRandomNumberGenerator()
        while !Task.isCancelled {
            do {
                let events = try await engine.events()
                // Whatever happened while nobody listened.
                await reconciler.wake()
                for try await event in events {
                    attempt = 0
                    if Self.matters(event) { await reconciler.wake() }
                }
            } catch {
                attempt += 1
            }
            do {
                try await clock.sleep(backoff.delay(attempt: attempt, using: &generator))
            } catch {
                return
            }
        }
    }

    /// Health checks start a process each time, and each says so: those events mean nothing here.
    static func matters(_ event: EngineEvent) -> Bool {
        switch event.kind {
        case .container: !event.action.hasPrefix("exec_") && event.action != "top" && event.action != "resize"
        case .image, .network, .volume, .daemon: true
        }
    }
}
