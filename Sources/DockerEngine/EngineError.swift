import Base

/// Why a call to the container engine failed, with the engine's own words where it had any.
public struct EngineError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// The socket is missing, refuses, or the connection broke before an answer.
        case unreachable
        /// The socket may not be opened by this user.
        case permission
        /// No progress within the call's time limit.
        case timeout
        /// The caller's task was cancelled.
        case cancelled
        /// 400: the engine does not accept the request.
        case badRequest = "bad-request"
        /// 404.
        case notFound = "not-found"
        /// 409: a name is taken, a container is running, an image is in use.
        case conflict
        /// Any other 4xx.
        case refused
        /// 5xx, and errors reported inside a stream that began with 200.
        case failed
        /// 503: the engine is starting or stopping.
        case unavailable
        /// The answer ended before its length.
        case truncated = "truncated-answer"
        /// The answer is not what the API documents.
        case malformed = "malformed-answer"
        /// The answer is larger than its limit.
        case tooLarge = "answer-too-large"
        /// The engine and this client have no API version in common.
        case version = "api-version"
        /// The producer of a request body failed, so the request was abandoned.
        case producer
        /// The engine holds something other than what was loaded.
        case verification
        /// An argument cannot be put into a request.
        case argument
    }

    public var reason: Reason
    /// What was asked, on which element: `create container web`.
    public var operation: String
    /// The engine's own message, or what this client saw; one line.
    public var detail: String
    /// The HTTP status when there was an answer.
    public var status: Int?

    public init(_ reason: Reason, operation: String, detail: String, status: Int? = nil) {
        self.reason = reason
        self.operation = operation
        self.detail = detail
        self.status = status
    }

    /// Whether the same call may succeed later with nothing changed but time.
    public var isRetryable: Bool {
        switch reason {
        case .unreachable, .permission, .timeout, .failed, .unavailable, .truncated, .malformed: true
        case .cancelled, .badRequest, .notFound, .conflict, .refused, .tooLarge, .version, .producer,
            .verification,
            .argument:
            false
        }
    }

    public var code: String { "engine.\(reason.rawValue)" }
    public var message: String { "cannot \(operation): \(detail)" }
    public var hint: String? {
        switch reason {
        case .unreachable:
            "check that the container engine runs and that `engine.socket` (for holdfast: DOCKER_HOST) names its socket"
        case .permission: "run as root or as a member of the group that owns the engine's socket"
        case .timeout: "the engine may be busy or hung; look at its log"
        case .version: "install an engine with API \(APIVersion.oldestSupported) or newer"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .unreachable, .unavailable: .unavailable
        case .permission: .noPermission
        case .timeout, .cancelled: .temporaryFailure
        case .notFound: .noInput
        case .malformed, .tooLarge, .truncated, .version: .software
        case .badRequest, .argument: .dataError
        case .verification: .notTrusted
        case .conflict, .refused, .failed, .producer: .failure
        }
    }

    /// Longest engine message kept, in bytes: it ends up in a journal and in reports.
    static let detailLimit = 2000

    /// One line of at most ``detailLimit`` bytes without control characters.
    static func clean(_ text: String) -> String {
        var output = String.UnicodeScalarView()
        var bytes = 0
        for scalar in text.unicodeScalars {
            let shown = scalar.value < 0x20 || scalar.value == 0x7F ? " " : scalar
            bytes += UTF8.width(shown)
            if bytes > detailLimit { break }
            output.append(shown)
        }
        while let last = output.last, last == " " { output.removeLast() }
        return String(output)
    }
}
