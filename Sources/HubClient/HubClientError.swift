import Base

/// What keeps an operator's command from its hub.
public struct HubClientError: CodedError, Equatable {
    public enum Reason: Sendable, Equatable {
        /// The URL is not one of a hub.
        case url
        /// Nobody has logged in here, or the session is over.
        case session
        /// The session file can be read by others, or is not one.
        case sessionFile
        /// A file of trusted certificates that holds none.
        case certificate
        case connect
        /// An answer that no hub gives: not JSON, too long, another shape.
        case answer
        /// The hub refused, in RFC 9457's words: the name of its problem and the HTTP status.
        case refused(problem: String, status: Int)
    }
    public var reason: Reason
    public var message: String
    public var hint: String?

    public init(_ reason: Reason, _ message: String, hint: String? = nil) {
        self.reason = reason
        self.message = message
        self.hint = hint
    }

    public var code: String {
        switch reason {
        case .url: "hub-client.url"
        case .session: "hub-client.session"
        case .sessionFile: "hub-client.session-file"
        case .certificate: "hub-client.certificate"
        case .connect: "hub-client.connect"
        case .answer: "hub-client.answer"
        case .refused(let problem, _): "hub.\(problem)"
        }
    }

    public var exitStatus: ExitStatus {
        switch reason {
        case .url: .usage
        case .session, .sessionFile: .noPermission
        case .certificate: .noInput
        case .connect: .unavailable
        case .answer: .dataError
        case .refused(_, let status):
            switch status {
            case 401, 403: .noPermission
            case 404: .noInput
            case 408, 409, 412, 429, 503: .temporaryFailure
            case 500...: .unavailable
            default: .dataError
            }
        }
    }
}
