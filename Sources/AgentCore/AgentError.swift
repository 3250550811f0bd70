import Base

/// A refusal by the agent itself, on one element.
public struct AgentError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// The device has no trust root yet.
        case notProvisioned = "not-provisioned"
        case alreadyProvisioned = "already-provisioned"
        /// A verified release that this agent cannot run as it stands.
        case invalidRelease = "invalid-release"
        /// This release failed here before and nothing has changed since.
        case failedBefore = "failed-before"
        /// A hub offers a release that is older than the target.
        case olderThanTarget = "older-than-target"
        /// A hub offers a release that a person went back from.
        case heldBack = "held-back"
        case wrongArchitecture = "wrong-architecture"
        case missingFeature = "missing-feature"
        case noSpace = "no-space"
        case missingContent = "missing-content"
        case unknownApp = "unknown-app"
        case unknownService = "unknown-service"
        case ambiguous
        case nothingToRollBackTo = "nothing-to-roll-back-to"
        /// The release before is below the epoch that a committed release has raised.
        case epochFloor = "epoch-floor"
        case importRunning = "import-running"
        case invalidRequest = "invalid-request"
        case notFound = "not-found"
        case forbidden
        /// The journal cannot be read or written.
        case journal
        /// The agent is not running, or its socket is elsewhere.
        case noAgent = "no-agent"
        case badAnswer = "bad-answer"
        case configuration
        case alreadyRunning = "already-running"
        /// A new program of the agent is being tried.
        case agentOnTrial = "on-trial"
        case scrubRunning = "scrub-running"
        case tooManyLocks = "too-many-locks"
        case unknownLock = "unknown-lock"
        /// Nothing waits for a window.
        case nothingToUpdate = "nothing-to-update"
        /// A window for downloads is closed.
        case windowClosed = "window-closed"
    }
    public var reason: Reason
    public var message: String
    public var hint: String?

    public init(_ reason: Reason, _ message: String, hint: String? = nil) {
        self.reason = reason
        self.message = message
        self.hint = hint
    }

    static func notProvisioned() -> AgentError {
        AgentError(
            .notProvisioned, "this device trusts no root yet",
            hint: "holdfast-agent provision --root root.json --device-id NAME")
    }

    public var code: String { "agent.\(reason.rawValue)" }
    public var exitStatus: ExitStatus {
        switch reason {
        case .notProvisioned, .configuration: .configuration
        case .invalidRelease, .missingContent, .wrongArchitecture, .missingFeature: .dataError
        case .alreadyProvisioned, .failedBefore, .olderThanTarget, .heldBack, .nothingToRollBackTo, .unknownApp,
            .unknownService, .ambiguous, .notFound, .unknownLock, .nothingToUpdate:
            .failure
        case .epochFloor: .notTrusted
        case .noSpace: .ioError
        case .importRunning, .alreadyRunning, .agentOnTrial, .tooManyLocks, .windowClosed,
            .scrubRunning:
            .temporaryFailure
        case .invalidRequest: .usage
        case .forbidden: .noPermission
        case .journal: .ioError
        case .noAgent: .unavailable
        case .badAnswer: .software
        }
    }
}
