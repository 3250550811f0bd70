import Base
import Model

/// A config or secret as a file on this device. Content and mode name it, so that two releases never share
/// a path with different content, and a written file is never changed.
public struct ConfigFileKey: Hashable, Sendable {
    public var blob: Release.Blob
    public var mode: UInt32
    public var uid: UInt32
    public var gid: UInt32
    public var secret: Bool

    public init(blob: Release.Blob, mode: UInt32, uid: UInt32 = 0, gid: UInt32 = 0, secret: Bool) {
        self.blob = blob
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.secret = secret
    }

    /// File name below the directory for files or for secrets.
    public var name: String { "\(blob.digest.hex)-\(String(mode, radix: 8))-\(uid)-\(gid)" }
}

/// Where the agent keeps things on this device.
public struct StateLayout: Hashable, Sendable {
    /// Absolute, without a trailing slash.
    public var root: String
    public init(root: String) { self.root = root }

    public var journal: String { Path.join(root, "journal.db") }
    public var journalBackup: String { Path.join(root, "journal.backup.db") }
    public var store: String { Path.join(root, "store") }
    public var staging: String { Path.join(root, "staging") }
    public var files: String { Path.join(root, "files") }
    /// Mode 0700.
    public var secrets: String { Path.join(root, "secrets") }
    /// Keys and standing of the hub that this device joined. Mode 0700.
    public var hub: String { Path.join(root, "hub") }
    public var lock: String { Path.join(root, "agent.lock") }
    /// Bytes held back so that a rollback works on a full disk.
    public var reserve: String { Path.join(root, "reserve") }

    /// Programs of the agent that came as releases. Mode 0700.
    public var agent: String { Path.join(root, "agent") }
    /// The journal as it was before a new agent opened it; there during a trial only.
    public var journalBeforeTrial: String { Path.join(agent, "journal.before-trial.db") }

    /// What a container that may take locks sees; named by a hash, since a socket's path has at most 107 bytes.
    public func lockDirectory(_ service: LockingService) -> String {
        Path.join(root, "locks", String(Digest.sha256(Array("\(service.app)/\(service.service)".utf8)).hex.prefix(16)))
    }

    public func path(_ file: ConfigFileKey) -> String {
        Path.join(file.secret ? secrets : files, file.name)
    }
}
