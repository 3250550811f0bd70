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
    public let faults: FaultPlan
    /// Whether anything vouches for the wall clock.
    private let clockIsTrusted: Bool
    /// Programs of the agent that end as soon as they are started.
    public let brokenPrograms = Mutex<Set<Digest>>([])
    /// The program that the device was installed with: any file.
    public let installedProgram: String

    public init(path: String, clockIsTrusted: Bool = true) {
        layout = StateLayout(root: path)
        installedProgram = Path.join(Path.parent(path), "holdfast-agent")
        self.clockIsTrusted = clockIsTrusted
        let clock = clock
        let struck = EngineBox()
        faults = FaultPlan { fault in
            switch fault {
            case .engineKilled: struck.engine.withLock { $0 }?.update { $0.isDown = true }
            case .clock(let seconds): clock.jump(to: seconds)
            case .kill, .powerCut, .fail, .diskFull: return
            }
        }
        let box = EngineBox()
        let made = ModelEngine(clock: clock) { archive in
            try await Lab.readArchive(archive) { box.layers() }
        }
        engine = made
        box.engine.withLock { $0 = made }
        struck.engine.withLock { $0 = made }
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
        /// SHA-256 of the program that runs; nil for the one that was installed with the device.
        public let program: Digest?
        let restart: RestartFlag

        /// It wants to make way for another program.
        public var wantsRestart: Bool { restart.isRaised.withLock { $0 } }
    }

    final class RestartFlag: Sendable {
        let isRaised = Mutex(false)
    }

    /// What the launcher does: the slots decide which program starts, and count the starts of a trial.
    private func launch(_ fileSystem: FileSystem) -> AgentSlots {
        let installed = AgentSlots(
            layout: layout, fileSystem: fileSystem, slot: nil, executable: installedProgram)
        for _ in 0..<Self.startLimit {
            guard case .slot(_, let digest, _) = try? installed.choose() else { return installed }
            if brokenPrograms.withLock({ $0.contains(digest) }) { continue }
            return AgentSlots(
                layout: layout, fileSystem: fileSystem, slot: "slot \(digest)", executable: installedProgram)
        }
        return installed
    }

    /// Starts of programs that end at once, before the tests give up.
    private static let startLimit = 20

    /// Starts an agent. Faults that the plan holds reach it through every durable operation.
    ///
    /// - Parameter content: puts something between the reconciler and its store.
    public func boot(
        policy: PlanPolicy = PlanPolicy(), reserve: Int64 = 0, gate: UpdateGate = UpdateGate(),
        restartEngine: EngineRestart? = nil,
        content: (ReleaseContent) -> ReleaseContent = { $0 }
    ) async throws -> Process {
        let fileSystem = FileSystem(monitor: faults.monitor)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let slots = launch(fileSystem)
        let restart = RestartFlag()
        let (journal, condition) = try Journal.open(layout: layout, fileSystem: fileSystem, clock: clock.clock)
        _ = try await journal.markInterrupted()
        let store = BlobStore(root: layout.store, fileSystem: fileSystem)
        try store.prepare()
        let reconciler = Reconciler(
            Reconciler.Environment(
                journal: journal, engine: MonitoredEngine(engine, monitor: faults.monitor),
                content: content(.stored(in: store)), fileSystem: fileSystem, layout: layout, clock: clock.clock,
                logger: logger,
                heartbeat: Heartbeat(clock: clock.clock),
                selfUpdate: .init(
                    slots: slots, starts: 3, window: 30, restart: { restart.isRaised.withLock { $0 = true } }),
                gate: gate, boot: "lab", restartEngine: restartEngine),
            policy: policy, reserve: reserve)
        let clock = clock
        let importer = Importer(
            journal: journal, reconciler: reconciler, store: store, engine: engine, fileSystem: fileSystem,
            layout: layout,
            clockReading: { [clockIsTrusted] in ClockReading(now: clock.now, isTrusted: clockIsTrusted) }, reserve: 0,
            features: [],
            architecture: "amd64", threads: NIOThreadPool.singleton, logger: logger)
        // It has its journal; the engine it sees with its first look.
        slots.noteHealthy()
        return Process(
            journal: journal, condition: condition, reconciler: reconciler, importer: importer, store: store,
            program: slots.runningSlot, restart: restart)
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
