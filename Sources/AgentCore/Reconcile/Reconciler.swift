import Base
import CLinux
import Logging
import Model
import SQLite

/// The loop that makes the device what the journal says: look, plan, act, and look again.
///
/// Import, engine events and a timer only wake it. Each step's intent is in the journal before it acts and its
/// outcome after; a process that ends in between leaves nothing that the next look would not put right.
public actor Reconciler {
    public struct Timing: Sendable {
        /// Between two looks when nothing calls for one.
        public var tick: Duration
        /// Waits after the engine or the journal failed.
        public var backoff: Backoff
        /// Waits before a failed step is tried again.
        public var stepBackoff: Backoff

        public init(
            tick: Duration = .seconds(60), backoff: Backoff = Backoff(base: .seconds(1), ceiling: .seconds(10)),
            stepBackoff: Backoff = Backoff(base: .seconds(1), ceiling: .seconds(300))
        ) {
            self.tick = tick
            self.backoff = backoff
            self.stepBackoff = stepBackoff
        }
    }

    public struct Environment: Sendable {
        public var journal: Journal
        public var engine: any ContainerEngine
        public var content: ReleaseContent
        public var fileSystem: FileSystem
        public var layout: StateLayout
        public var clock: SystemClock
        public var logger: Logger
        public var heartbeat: Heartbeat
        public var selfUpdate: SelfUpdate?
        public var gate: UpdateGate
        /// The kernel's name of this boot.
        public var boot: String
        /// Nil: a person restarts the engine.
        public var restartEngine: EngineRestart?
        /// Keeps the sockets of the services that may take locks.
        public var lockSockets: @Sendable (Set<LockingService>) async -> Void

        public init(
            journal: Journal, engine: any ContainerEngine, content: ReleaseContent, fileSystem: FileSystem,
            layout: StateLayout, clock: SystemClock, logger: Logger, heartbeat: Heartbeat,
            selfUpdate: SelfUpdate? = nil, gate: UpdateGate = UpdateGate(), boot: String = "",
            restartEngine: EngineRestart? = nil,
            lockSockets: @escaping @Sendable (Set<LockingService>) async -> Void = { _ in }
        ) {
            self.journal = journal
            self.engine = engine
            self.content = content
            self.fileSystem = fileSystem
            self.layout = layout
            self.clock = clock
            self.logger = logger
            self.heartbeat = heartbeat
            self.selfUpdate = selfUpdate
            self.gate = gate
            self.boot = boot
            self.restartEngine = restartEngine
            self.lockSockets = lockSockets
        }
    }

    /// How this agent replaces its own program.
    public struct SelfUpdate: Sendable {
        public var slots: AgentSlots
        /// Starts that a new program has to come up healthy.
        public var starts: Int
        /// Seconds for each.
        public var window: Int
        /// Asks the process to end and start the program that the slots name.
        public var restart: @Sendable () -> Void

        public init(slots: AgentSlots, starts: Int, window: Int, restart: @escaping @Sendable () -> Void) {
            self.slots = slots
            self.starts = starts
            self.window = window
            self.restart = restart
        }
    }

    /// Looks in one tick; a plan that never ends would otherwise keep the loop from hearing anything else.
    static let passLimit = 64

    let environment: Environment
    let policy: PlanPolicy
    private let timing: Timing
    private let reserve: DiskReserve
    private let files: ConfigFiles
    private var fileMemory = ConfigFiles.Memory()
    private var memory = PlanMemory()
    private var failures: [String: [String: StepFailure]] = [:]
    private var begunTrials: Set<Digest> = []
    private var engineAttempts = 0
    private var journalAttempts = 0
    private var generator = SystemRandomNumberGenerator()
    private var report = ReconcilerReport()
    private var maintenanceDue = true
    /// The disk was full: what an interrupted import left makes way.
    private var isShortOfSpace = false
    private var isMaintaining = false
    private var importsWaiting: [CheckedContinuation<Void, Never>] = []
    /// Imports under way: their blobs are in the store and in no release yet.
    private var importsRunning = 0
    private var wakePending = false
    /// A pass is looking or acting.
    private var isPassing = false
    /// Whoever works on the engine and must not be met there.
    private var pauses = 0
    private var pausesWaiting: [CheckedContinuation<Void, Never>] = []
    private var waiter: CheckedContinuation<Void, Never>?

    /// - Parameter reserve: bytes held back on the state directory's disk.
    public init(_ environment: Environment, policy: PlanPolicy, timing: Timing = Timing(), reserve: Int64) {
        self.environment = environment
        self.policy = policy
        self.timing = timing
        self.reserve = DiskReserve(
            path: environment.layout.reserve, size: reserve, fileSystem: environment.fileSystem)
        files = ConfigFiles(layout: environment.layout, fileSystem: environment.fileSystem)
    }

    // MARK: The loop

    /// Runs until the task is cancelled. Workloads are left as they are.
    public func run() async {
        await withTaskCancellationHandler {
            while !Task.isCancelled {
                let pause = await tick()
                await sleep(pause)
            }
        } onCancel: {
            Task { await self.wake() }
        }
    }

    /// Makes the loop look now, or again at once when it is looking.
    public func wake() {
        if let waiter {
            self.waiter = nil
            waiter.resume()
        } else {
            wakePending = true
        }
    }

    private func sleep(_ duration: Duration) async {
        guard !wakePending, !Task.isCancelled else {
            wakePending = false
            return
        }
        let timer = Task { [clock = environment.clock] in
            try? await clock.sleep(duration)
            if !Task.isCancelled { self.wake() }
        }
        await withCheckedContinuation { waiter = $0 }
        timer.cancel()
    }

    public func currentReport() -> ReconcilerReport { report }

    func noteLocks(_ locks: [UpdateLock]) { report.locks = locks }

    /// Looks, plans and acts until nothing can be done at present. Answers how long to wait.
    public func tick() async -> Duration {
        guard pauses == 0 else {
            environment.heartbeat.beat()
            return .seconds(1)
        }
        isPassing = true
        defer {
            isPassing = false
            for waiting in pausesWaiting { waiting.resume() }
            pausesWaiting = []
        }
        do {
            let pause = try await reconcile()
            journalAttempts = 0
            report.journalTrouble = nil
            return pause
        } catch let failure as EngineFailure {
            return engineTrouble(failure)
        } catch {
            return journalTrouble(error)
        }
    }

    /// Does something to the engine while the loop neither looks nor acts.
    func undisturbed<Value: Sendable>(_ work: @Sendable () async throws -> Value) async throws -> Value {
        pauses += 1
        defer {
            pauses -= 1
            wake()
        }
        while isPassing { await withCheckedContinuation { pausesWaiting.append($0) } }
        return try await work()
    }

    private func reconcile() async throws -> Duration {
        for _ in 0..<Self.passLimit {
            environment.heartbeat.beat()
            wakePending = false
            let desired = try await environment.journal.desired()
            try await beginTrials(desired)
            let observed = try await look(desired)
            await environment.lockSockets(Self.locking(desired))
            let holds = try await holds(on: desired, observed)
            let now = environment.clock.monotonic()
            let plan = Planner.plan(
                PlanInput(
                    desired: desired, observed: observed, policy: policy, memory: memory, failures: failures,
                    holds: holds, layout: environment.layout, now: now))
            memory = plan.memory
            report.blocked = plan.blocked
            report.settled = plan.settled
            if try await freeLostPort(failures.values.flatMap(\.values), observed.containers) {
                // It comes back in its own time; what failed for the port is tried anew then.
                for app in failures.keys { failures[app] = failures[app]?.filter { LostPort($0.value.failure) == nil } }
                report.engine = .unknown
                return .seconds(1)
            }
            if plan.steps.isEmpty {
                if maintenanceDue, plan.settled.count == desired.count { try await maintain() }
                return pause(after: plan)
            }
            try await perform(plan.steps, desired)
            try Task.checkCancellation()
        }
        return .seconds(1)
    }

    private func pause(after plan: Plan) -> Duration {
        min(timing.tick, plan.wakeAfter.map { .nanoseconds(Int64(min($0, UInt64(Int64.max)))) } ?? timing.tick)
    }

    private func beginTrials(_ desired: [DesiredApp]) async throws {
        for app in desired where app.phase == .candidate && !begunTrials.contains(app.target.digest) {
            try await environment.journal.beginTrial(app.app)
            begunTrials.insert(app.target.digest)
        }
        let candidates = Set(desired.filter { $0.phase == .candidate }.map(\.target.digest))
        begunTrials.formIntersection(candidates)
    }

    // MARK: Trouble

    private func engineTrouble(_ failure: EngineFailure) -> Duration {
        engineAttempts += 1
        let since: Timestamp
        if case .silent(_, let first, _) = report.engine { since = first } else { since = environment.clock.now() }
        if engineAttempts == 1 {
            environment.logger.warning(
                "engine does not answer", metadata: ["code": "\(failure.code)", "detail": "\(failure.detail)"])
        }
        report.engine = .silent(failure, since: since, attempts: engineAttempts)
        let delay = timing.backoff.delay(attempt: engineAttempts - 1, using: &generator)
        report.blocked = [
            Blocked(app: "", reason: .engineSilent(failure), retryInSeconds: Int(delay.components.seconds) + 1)
        ]
        return delay
    }

    private func journalTrouble(_ error: any Error) -> Duration {
        if error is CancellationError { return .zero }
        journalAttempts += 1
        report.journalTrouble = (error as? any CodedError)?.message ?? String(describing: error)
        environment.logger.error("cannot reconcile", metadata: ["error": "\(error)"])
        if Self.isFull(error), releaseReserve() { return .zero }
        return timing.backoff.delay(attempt: journalAttempts - 1, using: &generator)
    }

    /// Gives up what is held back on the disk; false when nothing was.
    private func releaseReserve() -> Bool {
        isShortOfSpace = true
        maintenanceDue = true
        guard reserve.release() else { return false }
        environment.logger.warning("disk is full: the reserve was released")
        return true
    }

    /// Does what a person orders; where the disk is too full for it, once more with the reserve released.
    package func withReserve<Value: Sendable>(_ work: @Sendable () async throws -> Value) async throws -> Value {
        do {
            return try await work()
        } catch where Self.isFull(error) && releaseReserve() {
            return try await work()
        }
    }

    static func isFull(_ error: any Error) -> Bool {
        switch error {
        case let error as SQLiteError: error.reason == .full
        case let error as FileSystemError: error.code == "file.no-space"
        default: false
        }
    }

    // MARK: Looking

    private func look(_ desired: [DesiredApp]) async throws -> ObservedState {
        let engine = environment.engine
        var observed = ObservedState()
        observed.containers = try await engine.containers()
        try await noteAnswer()
        observed.images = Dictionary(
            try await engine.images().map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        observed.networks = try await engine.networks()
        observed.volumes = try await engine.volumes()
        try await environment.journal.observe(observed.containers)
        observed.fingerprints = try await environment.journal.fingerprints()
        // The release before too: it is kept while its successor is held back.
        for pinned in desired.flatMap({ [$0.target, $0.phase == .candidate ? $0.previous : nil].compactMap { $0 } }) {
            guard let specs = try? ReleaseSpecs(pinned, layout: environment.layout) else { continue }
            observed.soundFiles.formUnion(specs.files.filter { files.isSound($0, memory: &fileMemory) })
            let absent = Set(specs.containers.values.map(\.imageID).filter { observed.images[$0] == nil })
            guard !absent.isEmpty else { continue }
            observed.missingBlobs[pinned.digest] = try await environment.content.missing(pinned.release, absent)
        }
        if case .answering(let version) = report.engine, let root = version.dataRoot {
            observed.engineFreeSpace = try? environment.fileSystem.freeSpace(root)
        }
        if desired.contains(where: { $0.target.release.agent != nil }) {
            observed.agent = environment.selfUpdate?.slots.view()
        }
        report.containers = observed.containers
        report.lastLook = environment.clock.now()
        return observed
    }

    private func noteAnswer() async throws {
        if case .answering = report.engine { return }
        let version = try await environment.engine.version()
        if engineAttempts > 0 { environment.logger.notice("engine answers again") }
        engineAttempts = 0
        report.engine = .answering(version)
    }

    // MARK: Acting

    private func perform(_ steps: [Plan.Item], _ desired: [DesiredApp]) async throws {
        var held: Set<String> = []
        for item in steps where !held.contains(item.app) {
            guard let app = desired.first(where: { $0.app == item.app }) else { continue }
            try Task.checkCancellation()
            environment.heartbeat.beat()
            switch item.step {
            case .commit:
                if app.target.release.agent != nil { try await confirmAgent() }
                try await environment.journal.commit(item.app, app.target.digest)
                environment.logger.notice("release committed", metadata: ["release": "\(app.target)"])
                maintenanceDue = true
                failures[item.app] = nil
            case .fail(let failure):
                try await environment.journal.fail(item.app, app.target.digest, failure)
                environment.logger.error(
                    "release failed",
                    metadata: ["release": "\(app.target)", "code": "\(failure.code)", "why": "\(failure)"])
                maintenanceDue = true
                failures[item.app] = nil
                memory.trials[item.app] = nil
            default:
                if try await !attempt(item, app), !item.step.isCleanup { held.insert(item.app) }
            }
        }
    }

    /// Journals and does one step; false when it failed.
    private func attempt(_ item: Plan.Item, _ app: DesiredApp) async throws -> Bool {
        let id = try await environment.journal.begin(item.step, app: item.app, release: app.target.digest)
        let failure: EngineFailure?
        do {
            try await act(item.step)
            failure = nil
        } catch {
            failure = Self.failure(of: item.step, error)
        }
        try await environment.journal.finish(id, failure: failure)
        guard let failure else {
            failures[item.app]?[item.step.key] = nil
            environment.logger.info("step done", metadata: ["app": "\(item.app)", "step": "\(item.step)"])
            return true
        }
        let attempts = (failures[item.app]?[item.step.key]?.attempts ?? 0) + 1
        let delay = timing.stepBackoff.delay(attempt: attempts - 1, using: &generator)
        let wait =
            UInt64(delay.components.seconds) * 1_000_000_000 + UInt64(delay.components.attoseconds / 1_000_000_000)
        failures[item.app, default: [:]][item.step.key] = StepFailure(
            attempts: attempts, failure: failure, notBefore: environment.clock.monotonic() + wait)
        environment.logger.warning(
            "step failed",
            metadata: [
                "app": "\(item.app)", "step": "\(item.step)", "code": "\(failure.code)", "detail": "\(failure.detail)",
            ])
        if failure.reason == .noSpace { _ = releaseReserve() }
        if failure.reason == .unavailable { report.engine = .unknown }
        return false
    }

    private static func failure(of step: Step, _ error: any Error) -> EngineFailure {
        switch error {
        case let failure as EngineFailure: failure
        case let error as FileSystemError where error.code == "file.no-space":
            EngineFailure(.noSpace, operation: step.description, detail: error.message)
        case let error as any CodedError: EngineFailure(.local, operation: step.description, detail: error.message)
        case is CancellationError: EngineFailure(.cancelled, operation: step.description, detail: "the agent stops")
        default: EngineFailure(.local, operation: step.description, detail: String(describing: error))
        }
    }

    private func act(_ step: Step) async throws {
        let engine = environment.engine
        switch step {
        case .writeFile(let file): try files.write(file, try await environment.content.read(file.blob))
        case .createNetwork(let spec): try await engine.createNetwork(spec)
        case .createVolume(let spec): try await engine.createVolume(spec)
        case .loadImage(let image, let tag): try await load(image, tag: tag)
        case .tagImage(let id, let tag): try await engine.tagImage(id, as: tag)
        case .createContainer(let spec): _ = try await engine.createContainer(spec)
        case .startContainer(let id, _): try await engine.startContainer(id)
        case .unpauseContainer(let id, _): try await engine.unpauseContainer(id)
        case .stopContainer(let id, _, let grace):
            environment.heartbeat.beat(covering: grace)
            try await engine.stopContainer(id, grace: grace)
        case .renameContainer(let id, let name): try await engine.renameContainer(id, to: name)
        case .removeContainer(let id, _): try await engine.removeContainer(id)
        case .removeNetwork(let name): try await engine.removeNetwork(name)
        case .removeImage(let tag): try await engine.removeImage(tag: tag)
        case .switchAgent(let program, let version): try await switchAgent(program, version: version)
        case .confirmAgent: try await confirmAgent()
        case .commit, .fail: return
        }
    }

    private func switchAgent(_ program: Release.AgentProgram, version: String) async throws {
        guard let update = environment.selfUpdate else { return }
        try await environment.journal.keepForReturn()
        let content = environment.content
        try update.slots.stage(program.binary, version: version, starts: update.starts, window: update.window) {
            try content.stream(program.binary, $0)
        }
        environment.logger.notice(
            "making way for another agent",
            metadata: ["version": "\(version)", "program": "\(program.binary.digest.short)"])
        update.restart()
    }

    /// The slots first: the journal then calls nothing committed that would not start again.
    private func confirmAgent() async throws {
        try environment.selfUpdate?.slots.confirm()
        try await environment.journal.dropReturnCopy()
    }

    /// Refuses what would be lost if the agent on trial had to go.
    public func refuseDuringTrial() throws(AgentError) {
        guard environment.selfUpdate?.slots.isTrialPending == true else { return }
        throw AgentError(
            .agentOnTrial, "a new agent is on trial and takes nothing before it is confirmed",
            hint: "try again in a moment; see: holdfast-agent status")
    }

    private func load(_ image: Release.Image, tag: String) async throws {
        let engine = environment.engine
        let diffIDs = image.layers.map(\.diffID)
        let present = try await engine.presentLayers(of: diffIDs)
        let archive = try await environment.content.archive(image, present)
        let heartbeat = environment.heartbeat
        // A long load is progress as long as bytes move.
        try await engine.loadImage(
            PullSequence {
                let next = archive.pull()
                return {
                    heartbeat.beat()
                    return try await next()
                }
            })
        // The engine's word that it loaded something is not enough: it must be this image, of these layers.
        guard let loaded = try await engine.image(image.config.digest) else {
            throw EngineFailure(
                .digestMismatch, operation: "load image \(image.reference)",
                detail: "the engine has no image \(image.config.digest.short) after the load")
        }
        guard loaded.diffIDs == diffIDs else {
            throw EngineFailure(
                .digestMismatch, operation: "load image \(image.reference)",
                detail: "the engine's layers are not the signed ones")
        }
        try await engine.tagImage(image.config.digest, as: tag)
    }

    // MARK: Maintenance

    /// Brackets an import, whose blobs no release names yet.
    ///
    /// Returns once no pruning is under way: it would take away what the import is about to count on.
    public func importBegan() async {
        importsRunning += 1
        guard isMaintaining else { return }
        await withCheckedContinuation { importsWaiting.append($0) }
    }
    /// - Parameter isDiskFull: it failed for want of room, so that what it copied does not wait for another try.
    public func importEnded(isDiskFull: Bool = false) {
        importsRunning -= 1
        if isDiskFull { isShortOfSpace = true }
        maintenanceDue = true
        wake()
    }

    /// Removes blobs and files that no target and no release before one needs, and rests.
    private func maintain() async throws {
        guard importsRunning == 0 else { return }
        isMaintaining = true
        defer {
            isMaintaining = false
            for waiting in importsWaiting { waiting.resume() }
            importsWaiting = []
        }
        // Read anew: since this pass looked, an import may have come and gone, whose blobs must stay.
        let desired = try await environment.journal.desired()
        guard importsRunning == 0 else { return }
        maintenanceDue = false
        let kept = desired.flatMap { [$0.target, $0.previous].compactMap { $0 } }
        // No import runs: what lies in staging is of one that was cut off, and waits for its next try for a while.
        if policy.prune {
            let wasCutOff = try await environment.journal.hasResumableImport()
            let isResumable = wasCutOff && !isShortOfSpace
            try await environment.content.clearStaging(isResumable)
            isShortOfSpace = false
        }
        if policy.prune, !desired.isEmpty {
            let freed = try await environment.content.prune(Set(kept.flatMap { $0.release.contentDigests }))
            if freed > 0 { environment.logger.info("pruned the store", metadata: ["bytes": "\(freed)"]) }
            var keys: Set<ConfigFileKey> = []
            for release in kept { keys.formUnion(try ReleaseSpecs(release, layout: environment.layout).files) }
            try files.prune(keeping: keys)
        }
        if environment.selfUpdate?.slots.isTrialPending != true { try await environment.journal.dropReturnCopy() }
        reserve.restore()
        try await environment.journal.refreshCopy()
        await environment.journal.releaseMemory()
        // What an import or an update took from the heap goes back to the system, not to the next one.
        holdfast_release_heap()
    }
}
