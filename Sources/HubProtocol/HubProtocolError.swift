import Base

/// What one side of the conversation between a device and its hub refuses of the other's.
public struct HubProtocolError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        case tokenMalformed = "token-malformed"
        case tokenChecksum = "token-checksum"
        case tokenVersion = "token-version"
        case documentMalformed = "document-malformed"
        case documentTooLarge = "document-too-large"
        case proofInvalid = "proof-invalid"
        case signatureInvalid = "signature-invalid"
        case crypto
    }
    public var reason: Reason
    /// What was refused: `token`, `enrolment request`, a field.
    public var element: String
    public var detail: String

    public init(_ reason: Reason, _ element: String, _ detail: String) {
        self.reason = reason
        self.element = element
        self.detail = detail
    }

    public var code: String { "hub-protocol.\(reason.rawValue)" }
    public var message: String { "\(element): \(detail)" }
    public var hint: String? {
        switch reason {
        case .tokenMalformed, .tokenChecksum: "copy the whole token again; it starts with HF1"
        case .tokenVersion: "update Holdfast on this machine, or make a token with a hub of its version"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .proofInvalid, .signatureInvalid: .notTrusted
        case .crypto: .software
        default: .dataError
        }
    }
}
