import Base
import Logging
import NIOCore

/// The sockets by which containers take locks: one per service, in a directory that its container sees read-only.
/// A socket takes nothing but calls about that service's own locks.
public actor LockSockets {
    private let layout: StateLayout
    private let fileSystem: FileSystem
    private let eventLoops: any EventLoopGroup
    private let logger: Logger
    private let handler: @Sendable (LockingService, LocalRequest) async throws -> LocalResponse
    private var serving: [LockingService: Task<Void, Never>] = [:]

    public init(
        layout: StateLayout, fileSystem: FileSystem, eventLoops: any EventLoopGroup, logger: Logger,
        handler: @escaping @Sendable (LockingService, LocalRequest) async throws -> LocalResponse
    ) {
        self.layout = layout
        self.fileSystem = fileSystem
        self.eventLoops = eventLoops
        self.logger = logger
        self.handler = handler
    }

    /// Serves exactly these. Directories stay, so that an engine that starts its containers before the agent runs
    /// finds what they mount.
    public func serve(_ wanted: Set<LockingService>) {
        for (service, task) in serving where !wanted.contains(service) {
            task.cancel()
            serving[service] = nil
        }
        for service in wanted where serving[service] == nil {
            let directory = layout.lockDirectory(service)
            do {
                // Readable to users of the container; on the host the state directory above keeps everybody out.
                try fileSystem.makeDirectories(directory, mode: 0o755, op: "lock.directory")
            } catch {
                logger.warning(
                    "no lock socket", metadata: ["service": "\(service.service)", "why": "\(error.message)"])
                continue
            }
            let handler = handler
            let server = LocalServer(
                path: Path.join(directory, LockingService.socketName), group: "", mode: 0o666, logger: logger
            ) { try await handler(service, $0) }
            let (loops, log) = (eventLoops, logger)
            serving[service] = Task {
                do {
                    try await server.run(on: loops)
                } catch is CancellationError {
                } catch {
                    log.warning("lock socket ended", metadata: ["service": "\(service.service)", "why": "\(error)"])
                }
                self.ended(service)
            }
        }
    }

    private func ended(_ service: LockingService) { serving[service] = nil }

    public func stop() async {
        let tasks = serving.values
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
        serving = [:]
    }
}
