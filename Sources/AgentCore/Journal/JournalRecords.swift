import Base
import Model
import Trust

/// Who this device is, kept since it was provisioned.
public struct DeviceRecord: Hashable, Sendable {
    public var id: String
    public var labels: [String: String]
    /// Whether the device takes nothing without a director's word.
    public var requiresDirector: Bool

    public init(id: String, labels: [String: String], requiresDirector: Bool) {
        self.id = id
        self.labels = labels
        self.requiresDirector = requiresDirector
    }
}

/// Why a desired state was written.
public enum AdoptionCause: String, Sendable, Codable {
    case imported = "import"
    /// A person asked for the release before.
    case rollbackCommand = "rollback-command"
    /// The candidate failed.
    case rollback
}

/// A row of the append-only list of desired states.
public struct DesiredRecord: Sendable {
    public var id: Int64
    public var app: String
    public var release: Digest
    public var version: String
    public var phase: String
    public var cause: String
    public var detail: String
    public var adoptedAt: Timestamp
    public var settledAt: Timestamp?
    public var isActive: Bool
}

/// A release that this device has verified once.
public struct ReleaseRecord: Sendable {
    public enum Role: String, Sendable { case current, candidate, previous, degraded, failed, old }
    public var digest: Digest
    public var app: String
    public var version: String
    public var ctr: Int64
    public var epoch: Int64
    public var freshness: String
    public var verifiedAt: Timestamp
    public var role: Role
    /// Why it failed here; empty when it did not.
    public var failure: String
}

public struct StepRecord: Sendable {
    public var id: Int64
    public var app: String
    public var release: String
    public var key: String
    public var description: String
    public var startedAt: Timestamp
    public var finishedAt: Timestamp?
    /// `done`, `failed`, `interrupted`; nil while it is under way.
    public var outcome: String?
    public var code: String?
    public var message: String?
}

public struct EventRecord: Sendable {
    public var id: Int64
    public var at: Timestamp
    public var app: String
    public var code: String
    public var message: String
}

public struct ObservedRecord: Hashable, Sendable {
    public var container: String
    public var app: String
    public var service: String
    public var name: String
    public var state: String
    public var health: String
    public var exitCode: Int64
    public var restarts: Int64
}

/// What the journal was found to be when it was opened.
public enum JournalCondition: Hashable, Sendable {
    case sound
    case new
    /// A newer agent, which was given up, had changed the file's form: it was moved to `movedTo`, and the copy from
    /// before put in its place.
    case returned(movedTo: String)
    /// The file was damaged, moved to `movedTo`, and the last good copy put in its place.
    case restored(problem: String, movedTo: String)
    /// The file was damaged and there was no good copy: the device must be provisioned again. What runs keeps running.
    case lost(problem: String, movedTo: String)
}
