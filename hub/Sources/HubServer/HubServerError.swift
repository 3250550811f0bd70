import Base

/// What keeps a hub from being made or from serving.
public struct HubServerError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        case exists
        case notInitialised = "not-initialised"
        case alreadyRunning = "already-running"
        case invalid
        case certificate
        case listen
        case tunnel
        case noOperator = "no-operator"
        /// The last account that may change accounts stays one.
        case lastOperator = "last-operator"
    }
    public var reason: Reason
    public var message: String
    public var hint: String?

    public init(_ reason: Reason, _ message: String, hint: String? = nil) {
        self.reason = reason
        self.message = message
        self.hint = hint
    }

    public var code: String { "hub-server.\(reason.rawValue)" }
    public var exitStatus: ExitStatus {
        switch reason {
        case .exists: .cannotCreate
        case .notInitialised, .noOperator: .noInput
        case .alreadyRunning: .temporaryFailure
        case .invalid, .certificate: .configuration
        case .lastOperator: .dataError
        case .listen, .tunnel: .unavailable
        }
    }
}
