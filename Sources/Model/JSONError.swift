import Base

/// Malformed JSON, with where.
public struct JSONError: CodedError, Equatable {
    public enum Reason: String, Sendable {
        case syntax, depth, size, count, duplicateKey = "duplicate-key", utf8, number, trailing, float
    }
    public var reason: Reason
    /// Byte offset from the start of the document.
    public var offset: Int
    /// 1-based; 0 when unknown.
    public var line: Int

    public init(reason: Reason, offset: Int, line: Int = 0) {
        self.reason = reason
        self.offset = offset
        self.line = line
    }

    public var code: String { "json.\(reason.rawValue)" }
    public var message: String {
        let place = line > 0 ? "line \(line), byte \(offset)" : "byte \(offset)"
        return switch reason {
        case .syntax: "malformed JSON at \(place)"
        case .depth: "JSON nested deeper than the limit at \(place)"
        case .size: "JSON document larger than the limit"
        case .count: "JSON document has more values than the limit at \(place)"
        case .duplicateKey: "the same JSON key twice in one object at \(place)"
        case .utf8: "invalid UTF-8 or escape in JSON string at \(place)"
        case .number: "JSON number out of range at \(place)"
        case .trailing: "unexpected bytes after the JSON document at \(place)"
        case .float: "a fraction or infinity where canonical JSON allows integers only"
        }
    }
    public var exitStatus: ExitStatus { .dataError }
}
