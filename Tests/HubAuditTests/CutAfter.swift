import Base
import Glibc
import Synchronization

/// Lets durable operations through up to one, and none from there on: a power cut.
final class CutAfter: Sendable {
    private let count = Mutex(0)
    private let target: Int

    init(_ target: Int) { self.target = target }

    var monitor: DurabilityMonitor {
        DurabilityMonitor { [self] _ in
            let index = count.withLock { value in
                value += 1
                return value
            }
            return index < target ? .perform : .fail(errno: EIO)
        }
    }
}
