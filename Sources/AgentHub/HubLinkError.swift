import Base
import HubProtocol

/// Why the device and its hub do not come together.
public struct HubLinkError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// No answer: no tunnel, no route, no hub.
        case unreachable
        /// The hub answered that it is busy.
        case busy
        /// The hub said no, with a reason of its own.
        case refused
        /// The answer is not what the protocol allows.
        case badAnswer = "bad-answer"
        case notEnrolled = "not-enrolled"
        case alreadyEnrolled = "already-enrolled"
        /// The tunnel cannot be made on this machine.
        case tunnel
        /// Files of the enrolment cannot be read.
        case state
        /// What the hub said contradicts what it said before.
        case inconsistentLog = "inconsistent-log"
        /// The hub names another root than the token, or none of its roots is the token's.
        case wrongRoot = "wrong-root"
    }
    public var reason: Reason
    public var message: String
    public var hint: String?
    /// The hub's own name of a refusal: the last part of a problem's type.
    public var problem: String?
    /// Seconds that the hub asked to wait.
    public var retryAfter: Int64?

    public init(
        _ reason: Reason, _ message: String, hint: String? = nil, problem: String? = nil, retryAfter: Int64? = nil
    ) {
        self.reason = reason
        self.message = message
        self.hint = hint
        self.problem = problem
        self.retryAfter = retryAfter
    }

    /// What a hub's answer with an error status means.
    init(status: Int, body: [UInt8], retryAfter header: Int64?, asking what: String) {
        let problem = Problem(parsing: body)
        let words = problem.map { $0.detail.isEmpty ? $0.title : $0.detail } ?? "status \(status)"
        let wait = header ?? problem?.retryAfter
        self.init(
            status == 429 || status >= 500 ? .busy : .refused,
            "\(what): the hub says \(words)\(problem.map { " [\($0.name)]" } ?? "")",
            hint: problem.flatMap { $0.hint.isEmpty ? nil : $0.hint }, problem: problem?.name, retryAfter: wait)
    }

    public var code: String { "hub-link.\(reason.rawValue)" }
    public var exitStatus: ExitStatus {
        switch reason {
        case .unreachable: .unavailable
        case .busy: .temporaryFailure
        case .refused: .noPermission
        case .badAnswer: .dataError
        case .notEnrolled, .alreadyEnrolled: .failure
        case .tunnel: .osError
        case .state: .ioError
        case .inconsistentLog, .wrongRoot: .notTrusted
        }
    }
}
