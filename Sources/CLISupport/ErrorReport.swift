public import Base
import Model

extension Console {
    /// Writes an error to standard error: code, message and hint; one JSON object under `--output json`.
    public func report(_ error: any CodedError) {
        switch format {
        case .json:
            var fields: [String: JSONValue] = [
                "code": .string(error.code), "message": .string(error.message),
                "exitStatus": .integer(Int64(error.exitStatus.rawValue)),
            ]
            if let hint = error.hint { fields["hint"] = .string(hint) }
            diagnostic(["error": .object(fields)])
        case .text:
            let head = TextStyle.bad.apply("error:", enabled: colorsDiagnostics)
            let code = TextStyle.dim.apply("[\(TerminalText.sanitized(error.code))]", enabled: colorsDiagnostics)
            var text = "\(head) \(TerminalText.sanitized(error.message, lines: true)) \(code)\n"
            if let hint = error.hint { text += "  try: \(TerminalText.sanitized(hint, lines: true))\n" }
            write(Array(text.utf8), to: diagnostics)
        }
    }
}

/// An error of the command line itself.
public struct CommandError: CodedError, Equatable {
    public enum Reason: String, Sendable {
        case usage, cancelled, unexpected
        case noTerminal = "no-terminal"
        case passphrase
    }
    public var reason: Reason
    public var message: String
    public var hint: String?

    public init(_ reason: Reason, _ message: String, hint: String? = nil) {
        self.reason = reason
        self.message = message
        self.hint = hint
    }

    public var code: String { "cli.\(reason.rawValue)" }
    public var exitStatus: ExitStatus {
        switch reason {
        case .usage: .usage
        case .cancelled: .temporaryFailure
        case .unexpected: .software
        case .noTerminal: .noInput
        case .passphrase: .dataError
        }
    }
}
