import Base
import Glibc
import Synchronization

/// Counts durable operations, and makes one fault strike at exactly one of them.
public final class FaultPlan: Sendable {
    public enum Fault: Sendable, Hashable {
        /// The process ends before the operation; what it did stays, since the kernel lives.
        case kill
        /// The power goes: half of the write at hand reaches the disk, and of everything that was not synced
        /// whatever the seed says.
        case powerCut(seed: UInt64)
        /// That operation fails; the process goes on.
        case fail(errno: Int32)
        /// From that operation on nothing has room, but for a while after the agent's reserve was given up, until
        /// somebody makes room.
        case diskFull
        /// The container engine dies before the operation; the process goes on.
        case engineKilled
        /// The wall clock jumps to so many seconds since 1970 before the operation.
        case clock(seconds: Int64)

        /// Whether the agent's process is no more after it.
        public var endsProcess: Bool {
            switch self {
            case .kill, .powerCut: true
            case .fail, .diskFull, .engineKilled, .clock: false
            }
        }
    }

    private struct State {
        var count = 0
        var at: Int?
        var fault = Fault.kill
        var isDead = false
        var hasStruck = false
        var names: [String] = []
        var disk: VolatileDisk?
        /// Operations that still find room; nil while the disk is not full.
        var room: Int?

        /// Whether a full disk refuses the operation.
        mutating func refuses(_ operation: DurableOperation) -> Bool {
            guard let left = room else { return false }
            switch operation.kind {
            case .unlink where operation.label == "reserve.release":
                room = FaultPlan.reserveRoom
                return false
            case .create, .write, .makeDirectory, .link:
                room = max(0, left - 1)
                return left == 0
            case .sync, .rename, .unlink, .syncDirectory, .sqliteCommit, .engineCall: return false
            }
        }
    }
    /// Operations that the reserve has room for.
    private static let reserveRoom = 400
    private let state = Mutex(State())
    /// What happens to the machine when a fault of that kind strikes.
    private let strike: @Sendable (Fault) -> Void

    public init(strike: @escaping @Sendable (Fault) -> Void = { _ in }) { self.strike = strike }

    /// Starts to count anew; `at` is the operation, from 0, that the fault strikes.
    ///
    /// - Parameter disk: told of every operation, so that a power cut can take away what was not synced.
    public func arm(_ fault: Fault, at index: Int?, disk: VolatileDisk? = nil) {
        state.withLock { $0 = State(at: index, fault: fault, disk: disk) }
    }
    /// A new process: the dead one's operations are over.
    public func disarm() { state.withLock { $0 = State() } }

    /// Somebody frees a disk that was full.
    public func makeRoom() { state.withLock { $0.room = nil } }

    public var count: Int { state.withLock { $0.count } }
    public var names: [String] { state.withLock { $0.names } }
    public var isDead: Bool { state.withLock { $0.isDead } }
    public var hasStruck: Bool { state.withLock { $0.hasStruck } }

    public var monitor: DurabilityMonitor { DurabilityMonitor { self.willPerform($0) } }

    private func willPerform(_ operation: DurableOperation) -> DurabilityVerdict {
        state.withLock { state in
            if state.isDead { return .fail(errno: EIO) }
            defer { state.count += 1 }
            state.names.append("\(operation.kind.rawValue) \(operation.label)")
            guard state.count == state.at else {
                if state.refuses(operation) { return .fail(errno: ENOSPC) }
                state.disk?.willPerform(operation)
                return .perform
            }
            state.hasStruck = true
            strike(state.fault)
            switch state.fault {
            case .kill:
                state.isDead = true
                return .fail(errno: EIO)
            case .powerCut:
                state.isDead = true
                return .tear(count: 40)
            case .fail(let errno): return .fail(errno: errno)
            case .diskFull:
                state.room = 0
                return state.refuses(operation) ? .fail(errno: ENOSPC) : .perform
            case .engineKilled, .clock: return .perform
            }
        }
    }
}
