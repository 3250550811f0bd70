import AgentCore
import Base
import Logging
import Model
import NIOPosix
import OCI
import Synchronization
import Trust

/// A device whose disk and engine outlive the agent processes that boot on it.
public final class LabDevice: Sendable {
    public let clock = ManualClock()
    public let engine: ModelEngine
    public let layout: StateLayout
    public let faults = FaultPlan()

    public init(path: String) {
        layout = StateLayout(root: path)
        let box = EngineBox()
        let made = ModelEngine(clock: clock) { archive in
            try await Lab.readArchive(archive) { box.layers() }
        }
        engine = made
        box.engine.withLock { $0 = made }
    }

    private final class EngineBox: Sendable {
        let engine = Mutex<ModelEngine?>(nil)
        func layers() -> [[Digest]] {
            engine.withLock { $0 }?.update { $0.images.values.map(\.diffIDs) } ?? []
        }
    }

    /// One process: what a power cut takes away.
    public struct Process: Sendable {
        public let journal: Journal
        public let condition: JournalCondition
        public let reconciler: Reconciler
        public let importer: Importer
        public let store: BlobStore
    }

    /// Starts an agent. Faults that the plan holds reach it through every durable operation.
    public func boot(policy: PlanPolicy = PlanPolicy(), reserve: Int64 = 0) async throws -> Process {
        let fileSystem = FileSystem(monitor: faults.monitor)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let (journal, condition) = try Journal.open(layout: layout, fileSystem: fileSystem, clock: clock.clock)
        _ = try await journal.markInterrupted()
        let store = BlobStore(root: layout.store, fileSystem: fileSystem)
        try store.prepare()
        let reconciler = Reconciler(
            Reconciler.Environment(
                journal: journal, engine: MonitoredEngine(engine, monitor: faults.monitor), content: .stored(in: store),
                fileSystem: fileSystem, layout: layout, clock: clock.clock, logger: logger,
                heartbeat: Heartbeat(clock: clock.clock)),
            policy: policy, reserve: reserve)
        let clock = clock
        let importer = Importer(
            journal: journal, reconciler: reconciler, store: store, engine: engine, fileSystem: fileSystem,
            layout: layout,
            clockReading: { ClockReading(now: clock.now, isTrusted: true) }, reserve: 0, features: [],
            architecture: "amd64", threads: NIOThreadPool.singleton, logger: logger)
        return Process(journal: journal, condition: condition, reconciler: reconciler, importer: importer, store: store)
    }

    /// Ticks until every app is committed (or degraded) and settled; false when that does not come.
    public func converge(_ process: Process, limit: Int = 200) async throws -> Bool {
        for _ in 0..<limit {
            let pause = await process.reconciler.tick()
            let report = await process.reconciler.currentReport()
            if report.journalTrouble == nil, case .answering = report.engine {
                let desired = try await process.journal.desired()
                if desired.allSatisfy({ $0.phase != .candidate && report.settled.contains($0.app) }),
                    report.blocked.isEmpty
                {
                    return true
                }
                if !desired.isEmpty, desired.allSatisfy({ $0.phase == .degraded }) { return true }
            }
            let parts = pause.components
            let nanoseconds =
                UInt64(max(0, parts.seconds)) * 1_000_000_000 + UInt64(max(0, parts.attoseconds / 1_000_000_000))
            clock.advance(min(max(nanoseconds, 100_000_000), 1_000_000_000))
        }
        return false
    }
}

/// Counts durable operations, and kills, tears or fails exactly one.
public final class FaultPlan: Sendable {
    public enum Fault: Sendable, Equatable {
        /// Nothing durable happens from this operation on.
        case kill
        /// Half of a write reaches the disk, and nothing after it.
        case tear
        case fail(errno: Int32)
    }
    private struct State {
        var count = 0
        var at: Int?
        var fault = Fault.kill
        var isDead = false
        var names: [String] = []
    }
    private let state = Mutex(State())
    public init() {}

    /// Starts to count anew; `at` is the operation, from 0, that the fault strikes.
    public func arm(_ fault: Fault, at index: Int?) {
        state.withLock { $0 = State(at: index, fault: fault) }
    }
    /// A new process: the dead one's operations are over.
    public func disarm() { state.withLock { $0 = State() } }

    public var count: Int { state.withLock { $0.count } }
    public var names: [String] { state.withLock { $0.names } }
    public var isDead: Bool { state.withLock { $0.isDead } }

    public var monitor: DurabilityMonitor {
        DurabilityMonitor { operation in
            self.state.withLock { state in
                if state.isDead { return .fail(errno: 5) }
                defer { state.count += 1 }
                state.names.append("\(operation.kind.rawValue) \(operation.label)")
                guard state.count == state.at else { return .perform }
                switch state.fault {
                case .kill:
                    state.isDead = true
                    return .fail(errno: 5)
                case .tear:
                    state.isDead = true
                    return .tear(count: 40)
                case .fail(let errno): return .fail(errno: errno)
                }
            }
        }
    }
}
