import Base
import Glibc
import Synchronization

/// Counts durable operations, and from one on lets none through (a power cut) or spoils just that one.
final class FaultPlan: Sendable {
    enum Fault: String, CaseIterable, Sendable {
        case powerCut, torn, noSpace, ioError
    }

    private let count = Mutex(0)
    let fault: Fault?
    let target: Int

    /// Without a fault it only counts.
    init(_ fault: Fault? = nil, at target: Int = 0) {
        self.fault = fault
        self.target = target
    }

    var operations: Int { count.withLock { $0 } }

    var monitor: DurabilityMonitor {
        DurabilityMonitor { [self] _ in
            let index = count.withLock { value in
                value += 1
                return value
            }
            guard let fault, index >= target else { return .perform }
            switch fault {
            case .powerCut: return .fail(errno: EIO)
            case .torn: return index == target ? .tear(count: 3) : .fail(errno: EIO)
            case .noSpace: return index == target ? .fail(errno: ENOSPC) : .perform
            case .ioError: return index == target ? .fail(errno: EIO) : .perform
            }
        }
    }
}
