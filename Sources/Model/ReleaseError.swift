public import Base

/// Why a release document is not one.
public struct ReleaseError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// Not JSON, or JSON beyond the limits.
        case json
        /// A major version of the format that this code does not read.
        case schema
        case unknownField = "unknown-field"
        case missingField = "missing-field"
        /// A value of the wrong JSON type.
        case type
        /// A value out of its range or form.
        case value
        /// Too many elements or too long a text.
        case limit
        /// A name that the document does not define.
        case reference
        /// Services that wait for one another.
        case cycle
        /// The same host port, mount point or path twice.
        case conflict
    }
    public var reason: Reason
    /// Where in the document: `services.web.ports[2].target`; empty for the document itself.
    public var path: String
    public var detail: String

    public init(_ reason: Reason, at path: String, _ detail: String) {
        self.reason = reason
        self.path = path
        self.detail = detail
    }

    public var code: String { "release.\(reason.rawValue)" }
    public var message: String {
        path.isEmpty ? "release document: \(detail)" : "release document, \(path): \(detail)"
    }
    public var hint: String? {
        switch reason {
        case .schema, .unknownField: "the release needs a newer version of this software, or is not a release"
        default: nil
        }
    }
    public var exitStatus: ExitStatus { .dataError }
}
