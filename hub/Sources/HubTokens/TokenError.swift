import Base

/// Why an access token is not taken. The answer to the caller says only that it is not; this is for the log.
public struct TokenError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        case tooLarge = "too-large"
        case malformed, type, algorithm, critical, header, signature, issuer, audience, expired, lifetime, scope
        case unknownKey = "unknown-key"
        case notYet = "not-yet"
        /// Presented in another device's tunnel.
        case confirmation
        /// Issued before the device's credentials were renewed or revoked.
        case generation
        case claims
    }
    public var reason: Reason
    public var detail: String

    public init(_ reason: Reason, _ detail: String) {
        self.reason = reason
        self.detail = detail
    }

    public var code: String { "hub-token.\(reason.rawValue)" }
    public var message: String { "access token: \(detail)" }
    public var hint: String? { reason == .expired ? "ask the hub for a new one" : nil }
    public var exitStatus: ExitStatus { .notTrusted }
}
