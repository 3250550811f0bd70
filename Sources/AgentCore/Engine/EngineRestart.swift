import Base
import Glibc
import Logging
import Model
import SQLite

/// Restarts the container engine where a person has named a program for it, for the one fault that nothing else ends:
/// a ``LostPort``. Seldom, and counted in the journal before it is done.
public struct EngineRestart: Sendable {
    /// In one boot of the device: what three restarts do not mend, a fourth does not.
    static let limit = 3
    /// Seconds between two.
    static let pause: Int64 = 600
    /// Failed starts of a service before the engine is blamed.
    static let attempts = 2

    /// Returns when the engine was restarted; throws when it was not.
    public var restart: @Sendable () async throws -> Void
    /// Whether something on this host is bound to a port.
    public var isBound: @Sendable (UInt16) -> Bool

    public init(
        restart: @escaping @Sendable () async throws -> Void,
        isBound: @escaping @Sendable (UInt16) -> Bool
    ) {
        self.restart = restart
        self.isBound = isBound
    }

    /// Runs a program without arguments; nil for an empty path.
    public init?(program path: String, clock: SystemClock, heartbeat: Heartbeat) {
        guard !path.isEmpty else { return nil }
        self.init(
            restart: { try await RestartProgram(path: path, clock: clock, heartbeat: heartbeat).run() },
            isBound: { LostPort.isBound($0) })
    }
}

/// A program that a person has written to restart the engine.
struct RestartProgram: Sendable {
    /// How long it may take; then it is killed.
    static let patience = Duration.seconds(120)

    let path: String
    let clock: SystemClock
    let heartbeat: Heartbeat

    /// - Throws: `agent.configuration` for a file that others may write, does not start, fails or does not end.
    func run() async throws {
        var info = stat()
        guard stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFREG, info.st_mode & 0o022 == 0,
            info.st_uid == 0 || info.st_uid == geteuid()
        else {
            throw refusal("is no file that only root or the agent's user may write", hint: "chmod 755 and chown root it")
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, 2, 1)
        let name = strdup(path)
        defer { free(name) }
        var child = pid_t()
        let code = posix_spawn(&child, path, &actions, nil, [name, nil], environ)
        guard code == 0 else { throw refusal("cannot be started: \(String(cString: strerror(code)))") }
        let status = try await end(of: child)
        guard status == 0 else { throw refusal("failed (wait status \(status))") }
    }

    private func end(of child: pid_t) async throws -> Int32 {
        var status: Int32 = 0
        let deadline = clock.monotonic() + UInt64(Self.patience.components.seconds) * 1_000_000_000
        while waitpid(child, &status, WNOHANG) == 0 {
            heartbeat.beat()
            guard clock.monotonic() < deadline, !Task.isCancelled else {
                kill(child, SIGKILL)
                while waitpid(child, &status, 0) < 0, errno == EINTR {}
                throw refusal("did not end in \(Self.patience.components.seconds) s and was killed")
            }
            try? await clock.sleep(.milliseconds(200))
        }
        return status
    }

    private func refusal(_ what: String, hint: String? = nil) -> AgentError {
        AgentError(.configuration, "engine.restartProgram \(path) \(what)", hint: hint)
    }
}

extension Journal {
    private static let restartKey = "engine.restarts"

    /// Counts a restart of the engine before it happens; false when there were too many in this boot.
    func mayRestartEngine(at clock: BootClock, for port: UInt16) throws -> Bool {
        let now = Int64(clock.now / 1_000_000_000)
        let known = try note(Self.restartKey)
        var count: Int64 = 0
        if let known, known["boot"]?.string == clock.boot {
            count = known["count"]?.integer ?? 0
            guard count < EngineRestart.limit, now - (known["last"]?.integer ?? 0) >= EngineRestart.pause else {
                return false
            }
        }
        try database.transaction("journal.engine") {
            try put(
                Self.restartKey,
                ["boot": .string(clock.boot), "count": .integer(count + 1), "last": .integer(now)])
            try insertEvent(
                app: "", code: "engine.restart",
                message: "the engine holds port \(port) and no container has it: it is restarted")
        }
        return true
    }
}

extension Reconciler {
    /// Restarts the engine when it holds a port that is nobody's; answers whether it did.
    func freeLostPort(_ failures: [StepFailure], _ containers: [ManagedContainer]) async throws -> Bool {
        guard let engine = environment.restartEngine,
            let lost = failures.filter({ $0.attempts >= EngineRestart.attempts }).lazy
                .compactMap({ LostPort($0.failure) }).first,
            !lost.isPublished(by: containers), !engine.isBound(lost.port),
            try await environment.journal.mayRestartEngine(at: bootClock, for: lost.port)
        else { return false }
        environment.logger.warning("restarting the engine for a lost port", metadata: ["port": "\(lost.port)"])
        do {
            try await engine.restart()
            return true
        } catch {
            let words = (error as? any CodedError)?.message ?? String(describing: error)
            environment.logger.error("the engine was not restarted", metadata: ["why": "\(words)"])
            try await environment.journal.record(app: "", code: "engine.restart-failed", message: words)
            return false
        }
    }
}
