import Base
import Glibc
import Model
import OCI
import Synchronization

/// The two places where programs of the agent lie that came as signed releases, and the file that says which starts.
///
/// A program is written beside the one that runs, synced and checked, before the file names it. The file counts
/// the starts of a trial before each; what has not been confirmed when they are used up is left for the program
/// before. Nothing here touches a workload.
public final class AgentSlots: Sendable {
    /// What the planner is told.
    public struct View: Hashable, Sendable {
        /// SHA-256 of the program that runs; nil when it cannot be told.
        public var running: Digest?
        /// The program that runs is on trial.
        public var isOnTrial: Bool
        /// The program on trial has its journal, has seen the engine, and answers on its socket.
        public var isHealthy: Bool
        /// The process is about to make way for another program.
        public var isRestarting: Bool
        public var failed: Failure?

        public struct Failure: Hashable, Sendable {
            public var digest: Digest
            public var reason: String
            public init(digest: Digest, reason: String) {
                self.digest = digest
                self.reason = reason
            }
        }

        public init(
            running: Digest?, isOnTrial: Bool = false, isHealthy: Bool = true, isRestarting: Bool = false,
            failed: Failure? = nil
        ) {
            self.running = running
            self.isOnTrial = isOnTrial
            self.isHealthy = isHealthy
            self.isRestarting = isRestarting
            self.failed = failed
        }
    }

    /// What the launcher is to start.
    public enum Choice: Equatable, Sendable {
        /// The program that the device was installed with.
        case installed
        case slot(path: String, digest: Digest, trialSeconds: Int?)
    }

    /// Names the slot's program to itself: `a sha256:…`. Set by the launcher only.
    public static let environmentName = "HOLDFAST_AGENT_SLOT"
    /// The installed program's path, for a slot's program to start again from.
    public static let launcherName = "HOLDFAST_AGENT_LAUNCHER"
    static let operationLabel = "agent.slot"
    /// Looks at the file before the installed program starts: two slots and once more.
    private static let choiceLimit = 3

    private let layout: StateLayout
    private let fileSystem: FileSystem
    /// This process's program, as the launcher named it; nil for the installed one.
    private let slotDigest: Digest?
    private let executable: String
    private struct Flags {
        var isHealthy = false
        var isRestarting = false
        var installedDigest: Digest?
    }
    private let flags = Mutex(Flags())

    /// - Parameters:
    ///   - slot: the value of ``environmentName``.
    ///   - executable: path of the program that runs.
    public init(layout: StateLayout, fileSystem: FileSystem, slot: String?, executable: String = "/proc/self/exe") {
        self.layout = layout
        self.fileSystem = fileSystem
        self.executable = executable
        slotDigest = slot.flatMap { $0.split(separator: " ").last }.flatMap { Digest(String($0)) }
    }

    /// SHA-256 of the slot's program that this process is; nil for the installed one.
    package var runningSlot: Digest? { slotDigest }

    private var directory: String { layout.agent }
    private var stateFile: String { Path.join(directory, "slots.json") }
    private func path(_ slot: SlotState.Slot) -> String {
        Path.join(directory, "slot-\(slot.rawValue)", "holdfast-agent")
    }

    func state() -> SlotState {
        guard let bytes = try? fileSystem.read(stateFile, limit: SlotState.sizeLimit) else { return SlotState() }
        return SlotState(parsing: bytes) ?? SlotState()
    }

    private func write(_ state: SlotState) throws {
        try fileSystem.replace(
            stateFile, with: try state.json.serialized(.compact), mode: 0o600, op: Self.operationLabel)
    }

    // MARK: Launcher

    /// Decides what starts, and counts the start of a trial before it happens.
    ///
    /// - Parameter refused: programs that could not be started just now, with the reason.
    public func choose(refused: [Digest: String] = [:]) throws -> Choice {
        for _ in 0..<Self.choiceLimit {
            var state = state()
            guard var trial = state.trial else {
                guard let current = state.current, refused[current.digest] == nil, isWhole(current) else {
                    return .installed
                }
                return .slot(path: path(current.slot), digest: current.digest, trialSeconds: nil)
            }
            let reason: String
            if let why = refused[trial.program.digest] {
                reason = why
            } else if !isWhole(trial.program) {
                reason = "its file is damaged"
            } else if trial.starts >= trial.limit {
                reason = "it did not come up healthy in \(trial.limit) starts of \(trial.window) s"
            } else {
                trial.starts += 1
                state.trial = trial
                try write(state)
                return .slot(path: path(trial.program.slot), digest: trial.program.digest, trialSeconds: trial.window)
            }
            state.trial = nil
            state.failed = SlotState.Failure(digest: trial.program.digest, reason: reason)
            try write(state)
        }
        return .installed
    }

    private func isWhole(_ program: SlotState.Program) -> Bool {
        (try? Self.digest(of: path(program.slot))) == program.digest
    }

    static func digest(of path: String) throws -> Digest {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileSystemError(operation: "open", path: path, errno: errno) }
        let file = ReadableFile(adopting: descriptor, path: path)
        var hasher = SHA256Hasher()
        var offset: Int64 = 0
        while true {
            let bytes = try file.read(at: offset, count: 1 << 20)
            if bytes.isEmpty { return hasher.finish() }
            offset += Int64(bytes.count)
            bytes.withUnsafeBytes { hasher.update($0) }
        }
    }

    // MARK: The running agent

    public func view() -> View {
        let state = state()
        let present = flags.withLock { $0 }
        let running = slotDigest ?? installedDigest()
        let isOnTrial = state.trial.map { $0.program.digest == running } ?? false
        return View(
            running: running, isOnTrial: isOnTrial, isHealthy: !isOnTrial || present.isHealthy,
            isRestarting: present.isRestarting,
            failed: state.failed.map { .init(digest: $0.digest, reason: $0.reason) })
    }

    private func installedDigest() -> Digest? {
        if let known = flags.withLock({ $0.installedDigest }) { return known }
        let digest = try? Self.digest(of: executable)
        flags.withLock { $0.installedDigest = digest }
        return digest
    }

    /// Until the trial has ended the agent takes nothing new: a return must lose nothing.
    public var isTrialPending: Bool { state().trial != nil }

    /// The program on trial works: planned stability may begin.
    public func noteHealthy() { flags.withLock { $0.isHealthy = true } }

    /// Writes a program into the slot that is not in use and puts it on trial. What runs goes on.
    ///
    /// - Parameter content: gives the program's bytes, its digest checked at the end.
    public func stage(
        _ binary: Release.Blob, version: String, starts: Int, window: Int,
        content: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void
    ) throws {
        var state = state()
        let slot = state.current?.slot.other ?? .a
        let program = SlotState.Program(slot: slot, digest: binary.digest, version: version)
        let folder = Path.parent(path(slot))
        try fileSystem.makeDirectories(folder, mode: 0o700, op: Self.operationLabel)
        try fileSystem.syncDirectory(directory, op: Self.operationLabel)
        try fileSystem.syncDirectory(layout.root, op: Self.operationLabel)
        if !isWhole(program) {
            let temporary = path(slot) + ".new"
            let output = try fileSystem.create(temporary, mode: 0o700, truncate: true, op: Self.operationLabel)
            try content { try output.write($0) }
            guard fchmod(output.descriptor, 0o700) == 0 else {
                throw FileSystemError(operation: "change mode of", path: temporary, errno: errno)
            }
            try output.sync()
            try fileSystem.rename(temporary, to: path(slot), op: Self.operationLabel)
        }
        state.failed = nil
        state.trial = SlotState.Trial(program: program, starts: 0, limit: starts, window: window)
        try write(state)
        flags.withLock { $0.isRestarting = true }
    }

    /// The program on trial becomes the one that starts from now on.
    public func confirm() throws {
        var state = state()
        guard let trial = state.trial else { return }
        state.current = trial.program
        state.trial = nil
        try write(state)
    }

    /// For `status`.
    func json(built: String) -> JSONValue {
        let state = state()
        let running = state.trial.map(\.program).flatMap { $0.digest == slotDigest ? $0 : nil } ?? state.current
        var members: [String: JSONValue] = ["built": .string(built)]
        if let running, running.digest == slotDigest {
            members["version"] = .string(running.version)
            members["slot"] = .string(running.slot.rawValue)
            members["digest"] = .string(running.digest.description)
        } else {
            members["version"] = .string(built)
            members["slot"] = "installed"
        }
        if let trial = state.trial {
            members["trial"] = [
                "version": .string(trial.program.version), "starts": .integer(Int64(trial.starts)),
                "limit": .integer(Int64(trial.limit)),
            ]
        }
        if let failed = state.failed {
            members["failed"] = ["digest": .string(failed.digest.description), "reason": .string(failed.reason)]
        }
        return .object(members)
    }
}
