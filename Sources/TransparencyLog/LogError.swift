import Base

/// A proof, note or checkpoint that does not hold.
public struct LogError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        case proofInvalid = "proof-invalid"
        case noteMalformed = "note-malformed"
        case signatureMissing = "signature-missing"
        case signatureInvalid = "signature-invalid"
        case checkpointMalformed = "checkpoint-malformed"
        case keyMalformed = "key-malformed"
        case range
        /// The tree's stored hashes do not make the tree: storage was damaged or changed.
        case treeDamaged = "tree-damaged"
    }
    public var reason: Reason
    public var element: String
    public var detail: String

    public init(_ reason: Reason, _ element: String, _ detail: String) {
        self.reason = reason
        self.element = element
        self.detail = detail
    }

    public var code: String { "log.\(reason.rawValue)" }
    public var message: String { "\(element): \(detail)" }
    public var hint: String? {
        reason == .proofInvalid ? "keep both checkpoints: they show that the log's history was changed" : nil
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .noteMalformed, .checkpointMalformed, .keyMalformed, .range: .dataError
        default: .notTrusted
        }
    }
}
