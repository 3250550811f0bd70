import Base
import Synchronization

final class CommitCounter: Sendable {
    private let count = Mutex(0)
    var value: Int { count.withLock { $0 } }
    var monitor: DurabilityMonitor {
        DurabilityMonitor { [self] operation in
            if operation.kind == .sqliteCommit { count.withLock { $0 += 1 } }
            return .perform
        }
    }
}
