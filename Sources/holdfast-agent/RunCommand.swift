import AgentCore
import AgentHub
import ArgumentParser
import Base
import Dispatch
import DockerEngine
import Glibc
import Logging
import Model
import NIOCore
import NIOPosix
import OCI
import ServiceSupport
import Synchronization
import Trust

/// The daemon. This file is where everything the agent is made of is put together.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run the agent until it is told to stop.",
        discussion: """
            SIGTERM and SIGINT stop the agent and leave all workloads running.

            Example: holdfast-agent run --config /etc/holdfast/agent.json
            """)

    @Option(help: "Configuration file; see holdfast-agent config schema.")
    var config: String

    func run() async throws {
        let config = try AgentConfig.load(config)
        let surroundings = try Surroundings.ofProcess()
        let clock = surroundings.clock
        let logger = Logger(label: "holdfast-agent") { _ in JSONLogHandler(level: .init(config.logLevel), clock: clock)
        }
        let fileSystem = FileSystem(monitor: HangFile.monitor ?? surroundings.monitor)
        Launcher(layout: config.layout, fileSystem: fileSystem, logger: logger).start()
        let slots = AgentSlots(layout: config.layout, fileSystem: fileSystem, slot: Launcher.slot)
        let restart = RestartRequest()
        let lock = try InstanceLock(config.layout, fileSystem: fileSystem)
        let (journal, condition) = try Journal.open(layout: config.layout, fileSystem: fileSystem, clock: clock)
        report(condition, logger)
        let interrupted = try await journal.markInterrupted()
        if interrupted > 0 { logger.notice("steps were interrupted", metadata: ["count": "\(interrupted)"]) }

        let eventLoops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let threads = NIOThreadPool(numberOfThreads: 1)
        threads.start()
        let client = EngineClient(socketPath: config.engineSocket, group: eventLoops)
        let engine = MonitoredEngine(DockerContainerEngine(client), monitor: surroundings.monitor)
        let store = BlobStore(root: config.layout.store, fileSystem: fileSystem)
        try store.prepare()
        let heartbeat = Heartbeat(clock: clock)
        let lockHandler = ServiceBox()
        let lockSockets = LockSockets(
            layout: config.layout, fileSystem: fileSystem, eventLoops: eventLoops, logger: logger,
            handler: { try await lockHandler.service().handleLock($0, $1) })
        let clockReading: @Sendable () -> ClockReading = { DeviceFacts.clockReading(clock, trust: config.clockTrust) }
        let reconciler = Reconciler(
            Reconciler.Environment(
                journal: journal, engine: engine, content: .stored(in: store), fileSystem: fileSystem,
                layout: config.layout, clock: clock, logger: logger, heartbeat: heartbeat,
                selfUpdate: .init(
                    slots: slots, starts: config.selfUpdateStarts, window: config.selfUpdateSeconds,
                    restart: { restart.raise() }),
                gate: UpdateGate(
                    windows: config.windows, isOpenWithoutClock: config.opensWithoutClock, clockReading: clockReading),
                boot: DeviceFacts.bootID(),
                restartEngine: EngineRestart(
                    program: config.engineRestartProgram, clock: clock, heartbeat: heartbeat),
                lockSockets: { await lockSockets.serve($0) }),
            policy: config.planPolicy, timing: config.timing, reserve: config.stateReserve)
        let importer = Importer(
            journal: journal, reconciler: reconciler, store: store, engine: engine,
            bases: .docker(client), fileSystem: fileSystem, layout: config.layout,
            clockReading: clockReading, reserve: config.stateReserve,
            features: DeviceFacts.features, architecture: DeviceFacts.architecture, threads: threads, logger: logger)
        let hub = HubWiring(
            config: config, fileSystem: fileSystem, journal: journal, importer: importer, reconciler: reconciler,
            store: store, eventLoops: eventLoops, clock: clock, logger: logger)
        // Of its own: a scrub holds its thread up on purpose.
        let scrubThreads = NIOThreadPool(numberOfThreads: 1)
        scrubThreads.start()
        let scrubber = Scrubber(
            journal: journal, reconciler: reconciler, store: store, engine: engine,
            export: { try await client.saveImage($0.description, consume: $1) },
            sources: [HubRepair(hub.service)], threads: scrubThreads, clock: clock, logger: logger, budget: config.scrubBytesPerSecond)
        let service = AgentService(
            journal: journal, reconciler: reconciler, importer: importer, engine: engine, config: config,
            condition: condition, openSource: { try ImportSource(bundle: $0) }, buildTime: DeviceFacts.sourceDate,
            hub: hub.control, logger: logger, scrubber: scrubber)
        lockHandler.set(service)
        try fileSystem.makeDirectories(Path.parent(config.socketPath), op: "agent.socket")
        let server = LocalServer(
            path: config.socketPath, group: config.socketGroup, logger: logger
        ) { try await service.handle($0) }
        let manager = ServiceManager.live
        let watchdog = Watchdog(
            manager: manager, heartbeat: heartbeat, clock: clock,
            patience: UInt64(config.watchdogSeconds) * 1_000_000_000)
        let trial = AgentTrial(
            slots: slots, reconciler: reconciler, socketPath: config.socketPath, clock: clock, threads: threads,
            logger: logger)
        let guardian = HangGuard(heartbeat: heartbeat, patience: UInt64(config.watchdogSeconds) * 1_000_000_000) {
            logger.critical("the reconciler hangs, the agent ends itself", metadata: ["status": "70"])
        }
        defer { withExtendedLifetime(guardian) {} }
        let watcher = EngineWatcher(engine: engine, reconciler: reconciler, clock: clock)

        let stop = StopSignals()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await reconciler.run() }
            group.addTask { await watcher.run() }
            group.addTask { await hub.service.run() }
            group.addTask { await watchdog.run() }
            group.addTask {
                try await server.run(on: eventLoops) {
                    logger.notice(
                        "agent ready",
                        metadata: ["socket": "\(config.socketPath)", "state": "\(config.stateDirectory)"])
                    manager.ready("ready")
                }
            }
            group.addTask { await stop.wait() }
            group.addTask { await restart.wait() }
            group.addTask { await trial.run() }
            group.addTask { await scrubber.repeatedly(every: config.scrubHours) }
            // The watchdog's task ends at once where nothing watches; the end of any other is the agent's.
            defer { group.cancelAll() }
            while try await group.next() != nil {
                if stop.isRaised || restart.isRaised { break }
            }
            // A process that becomes another program stays the same service.
            if !restart.isRaised { manager.stopping() }
            logger.notice("agent stops; workloads keep running")
        }
        await lockSockets.stop()
        await client.shutdown()
        await hub.shutDown()
        try? await threads.shutdownGracefully()
        try? await scrubThreads.shutdownGracefully()
        try? await eventLoops.shutdownGracefully()
        withExtendedLifetime(lock) {}
        if restart.isRaised, !stop.isRaised { Launcher.restart() }
    }

    private func report(_ condition: JournalCondition, _ logger: Logger) {
        switch condition {
        case .sound: return
        case .new: logger.notice("a new journal was made")
        case .returned(let moved):
            logger.error("a newer agent was given up, the journal from before is back", metadata: ["moved": "\(moved)"])
        case .restored(let problem, let moved):
            logger.error("journal damaged, copy restored", metadata: ["problem": "\(problem)", "moved": "\(moved)"])
        case .lost(let problem, let moved):
            logger.critical("journal damaged and lost", metadata: ["problem": "\(problem)", "moved": "\(moved)"])
        }
    }
}

/// The service, which knows the reconciler, which keeps the sockets that the service answers.
private final class ServiceBox: Sendable {
    private let value = Mutex<AgentService?>(nil)

    func set(_ service: AgentService) { value.withLock { $0 = service } }

    func service() throws -> AgentService {
        guard let service = value.withLock({ $0 }) else { throw AgentError(.noAgent, "the agent is starting") }
        return service
    }
}
