/// One operation whose effect is meant to outlive a power cut.
///
/// Every durable operation of the agent passes through ``DurabilityMonitor/willPerform``, so that a
/// crash test can count them, and then stop, tear or fail exactly one.
public struct DurableOperation: Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable, CaseIterable {
        case create, write, sync, rename, link, unlink, makeDirectory, syncDirectory, sqliteCommit, engineCall
    }
    public var kind: Kind
    /// What the operation is for, stable across runs: `journal.adopt`, `store.blob`.
    public var label: String
    /// The file, or the engine route.
    public var subject: String

    public init(kind: Kind, label: String, subject: String) {
        self.kind = kind
        self.label = label
        self.subject = subject
    }

    public var description: String { "\(kind.rawValue) \(label) \(subject)" }
}

/// What a monitor lets happen.
public enum DurabilityVerdict: Sendable {
    case perform
    /// Only the first `count` bytes of a write reach the file; the write then fails with EIO.
    case tear(count: Int)
    /// The operation fails with this errno, nothing done.
    case fail(errno: Int32)
}

/// Sees every durable operation before it happens. The default lets all through.
public struct DurabilityMonitor: Sendable {
    public var willPerform: @Sendable (DurableOperation) -> DurabilityVerdict

    public init(willPerform: @escaping @Sendable (DurableOperation) -> DurabilityVerdict) {
        self.willPerform = willPerform
    }

    public static let passthrough = DurabilityMonitor { _ in .perform }
}
