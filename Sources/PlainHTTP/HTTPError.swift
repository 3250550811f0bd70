import Base

/// An exchange that failed, with where.
public struct HTTPError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// No connection, or it broke; ``HTTPError/errorNumber`` says why.
        case connection
        /// No connection in time.
        case connectTimeout = "connect-timeout"
        /// Not done in time, or silent for too long.
        case timeout
        /// Below the minimum rate.
        case tooSlow = "too-slow"
        /// The connection ended before the answer did.
        case truncated
        /// The answer is not HTTP/1.1, or its head is larger than its limits.
        case malformed
        /// The body is larger than the caller wants it.
        case tooLarge = "too-large"
        /// As many exchanges as are allowed are under way.
        case busy
        /// The endpoint or the request cannot be used as it is.
        case argument
        /// The producer of the request's body failed, so the request was abandoned.
        case producer
    }

    public var reason: Reason
    public var endpoint: String
    public var detail: String
    /// The system's `errno`, where it gave one.
    public var errorNumber: Int32?

    public init(_ reason: Reason, at endpoint: HTTPEndpoint, _ detail: String, errorNumber: Int32? = nil) {
        self.reason = reason
        self.endpoint = endpoint.description
        self.detail = detail
        self.errorNumber = errorNumber
    }

    public var code: String { "http.\(reason.rawValue)" }
    public var message: String { "\(endpoint): \(detail)" }
    public var hint: String? {
        switch reason {
        case .connection, .connectTimeout: "check that the service runs and that it can be reached from here"
        case .timeout, .tooSlow, .truncated: "try again; the link or the service may be overloaded"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .connection, .connectTimeout: .unavailable
        case .timeout, .tooSlow, .truncated, .busy: .temporaryFailure
        case .malformed, .tooLarge: .dataError
        case .argument: .usage
        case .producer: .failure
        }
    }
}
