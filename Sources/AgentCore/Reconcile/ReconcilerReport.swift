import Base
import Model

/// Whether the engine answers, and since when it does not.
public enum EngineCondition: Sendable, Equatable {
    case unknown
    case answering(EngineVersion)
    case silent(EngineFailure, since: Timestamp, attempts: Int)
}

/// What the reconciler saw and said last, for `status` and `why`.
public struct ReconcilerReport: Sendable {
    public var engine: EngineCondition = .unknown
    public var blocked: [Blocked] = []
    public var settled: Set<String> = []
    public var containers: [ManagedContainer] = []
    public var lastLook: Timestamp?
    /// Why the journal cannot be read or written; nil when it can.
    public var journalTrouble: String?
    /// Locks that hold, whether or not something waits for them.
    public var locks: [UpdateLock] = []
    public init() {}
}
