/// An error a person and a script can both act on.
///
/// `message` says what failed, on which element and why; `hint` says what to do next.
/// `code` is stable: scripts and tests match on it, so it never changes once released.
public protocol CodedError: Error, Sendable, CustomStringConvertible {
    /// Stable dotted identifier, `module.reason`, for example `trust.threshold-not-met`.
    var code: String { get }
    var message: String { get }
    var hint: String? { get }
    var exitStatus: ExitStatus { get }
}

extension CodedError {
    public var hint: String? { nil }
    public var description: String {
        hint.map { "\(message) [\(code)]\n  try: \($0)" } ?? "\(message) [\(code)]"
    }
}

/// Process exit codes, after `sysexits.h`, documented in README.md.
public enum ExitStatus: Int32, Sendable, CaseIterable {
    case success = 0
    /// The command ran and the answer is no (a check found problems).
    case failure = 1
    /// The command line is wrong.
    case usage = 64
    /// Input data is malformed.
    case dataError = 65
    /// An input file is missing or unreadable.
    case noInput = 66
    /// A service the command needs (agent, engine, hub) does not answer.
    case unavailable = 69
    /// A defect in Holdfast itself.
    case software = 70
    /// The operating system refused something it should grant.
    case osError = 71
    /// An output cannot be created.
    case cannotCreate = 73
    /// Reading or writing failed.
    case ioError = 74
    /// Failed for now; the same call may succeed later.
    case temporaryFailure = 75
    /// Not trusted: a signature, threshold, hash, version or expiry check refused it.
    case notTrusted = 76
    /// The caller may not do this.
    case noPermission = 77
    /// The configuration is wrong.
    case configuration = 78
}
