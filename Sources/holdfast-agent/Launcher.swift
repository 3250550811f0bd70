import AgentCore
import Base
import Glibc
import Logging

/// Decides at the start of `run` which program goes on as the agent, and becomes it.
///
/// The installed program is always the one that decides. A program on trial runs under an alarm of the kernel, which
/// outlives the exec and kills a process that does not switch it off in time, however it hangs.
struct Launcher {
    let layout: StateLayout
    let fileSystem: FileSystem
    let logger: Logger

    /// What the environment says this process is: nil for the installed program.
    static var slot: String? { environment(AgentSlots.environmentName) }

    /// Returns when this process is the one that is to run.
    func start() {
        guard Self.slot == nil else { return }
        var refused: [Digest: String] = [:]
        // Both slots may be refused, and then the installed program goes on.
        for _ in 0..<3 {
            do {
                let slots = AgentSlots(layout: layout, fileSystem: fileSystem, slot: nil)
                // A second agent must not count the trial's starts; the lock goes with the exec.
                let lock = try InstanceLock(layout, fileSystem: fileSystem)
                defer { withExtendedLifetime(lock) {} }
                guard case .slot(let path, let digest, let seconds) = try slots.choose(refused: refused) else { return }
                refused[digest] = become(path, digest, trialSeconds: seconds)
            } catch {
                // Whatever is wrong with the slots, there must be an agent.
                logger.error("cannot choose an agent, the installed one goes on", metadata: ["error": "\(error)"])
                return
            }
        }
    }

    /// Returns the reason when it cannot.
    private func become(_ path: String, _ digest: Digest, trialSeconds: Int?) -> String {
        setenv(AgentSlots.environmentName, "slot \(digest)", 1)
        if let own = Self.executable() { setenv(AgentSlots.launcherName, own, 1) }
        alarm(UInt32(trialSeconds ?? 0))
        let code = Self.execute(path)
        alarm(0)
        unsetenv(AgentSlots.environmentName)
        let reason = "it cannot be executed: \(String(cString: strerror(code)))"
        logger.error("agent refused", metadata: ["program": "\(digest.short)", "why": "\(reason)"])
        return reason
    }

    /// Makes the present process the launcher again: after it has stopped in order, to start another program.
    static func restart() -> Never {
        let launcher = environment(AgentSlots.launcherName) ?? executable()
        unsetenv(AgentSlots.environmentName)
        for number in [SIGTERM, SIGINT] { signal(number, SIG_DFL) }
        if let launcher { _ = execute(launcher) }
        // Whatever started this process starts it again.
        exit(ExitStatus.temporaryFailure.rawValue)
    }

    private static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func executable() -> String? {
        guard let path = realpath("/proc/self/exe", nil) else { return nil }
        defer { free(path) }
        return String(cString: path)
    }

    /// Becomes the program at `path` with this process's arguments; returns errno when that fails.
    private static func execute(_ path: String) -> Int32 {
        // A thread of a pool may have signals blocked, and the mask outlives the exec: the alarm must get through.
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        var arguments: [UnsafeMutablePointer<CChar>?] = (["holdfast-agent"] + CommandLine.arguments.dropFirst()).map {
            strdup($0)
        }
        arguments.append(nil)
        execv(path, arguments)
        let code = errno
        for argument in arguments { free(argument) }
        return code
    }
}
