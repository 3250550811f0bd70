import Base
import Glibc

/// Keeps a second agent off the same state directory. Held for as long as the value lives, and freed by the
/// kernel when the process ends, however it ends.
public final class InstanceLock: Sendable {
    private let file: WritableFile

    public init(_ layout: StateLayout, fileSystem: FileSystem) throws {
        try fileSystem.makeDirectories(layout.root, mode: 0o700, op: "agent.lock")
        file = try fileSystem.append(layout.lock, mode: 0o600, op: "agent.lock")
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw AgentError(
                .alreadyRunning, "another agent works on \(layout.root)", hint: "systemctl status holdfast-agent")
        }
    }
}
