import Base
import Glibc
public import Model

/// The two streams of a command and how to write to them.
///
/// Standard output carries the result and nothing else; progress, notes and errors go to standard error.
public struct Console: Sendable {
    public var format: OutputFormat
    public var quiet: Bool
    /// Where results go; a descriptor that stays open.
    public var output: Int32
    public var diagnostics: Int32
    public var outputIsTerminal: Bool
    public var diagnosticsAreTerminal: Bool
    /// Whether colours are wanted at all (`NO_COLOR` unset or empty, `TERM` not `dumb`).
    public var allowsColor: Bool

    public init(format: OutputFormat = .text, quiet: Bool = false) {
        self.init(
            format: format, quiet: quiet, output: STDOUT_FILENO, diagnostics: STDERR_FILENO,
            outputIsTerminal: isatty(STDOUT_FILENO) == 1, diagnosticsAreTerminal: isatty(STDERR_FILENO) == 1,
            allowsColor: Self.environmentAllowsColor)
    }

    public init(
        format: OutputFormat, quiet: Bool, output: Int32, diagnostics: Int32, outputIsTerminal: Bool,
        diagnosticsAreTerminal: Bool, allowsColor: Bool
    ) {
        self.format = format
        self.quiet = quiet
        self.output = output
        self.diagnostics = diagnostics
        self.outputIsTerminal = outputIsTerminal
        self.diagnosticsAreTerminal = diagnosticsAreTerminal
        self.allowsColor = allowsColor
    }

    /// `NO_COLOR` set and not empty means no colour (no-color.org).
    private static var environmentAllowsColor: Bool {
        if let value = getenv("NO_COLOR"), value.pointee != 0 { return false }
        guard let term = getenv("TERM") else { return true }
        return String(cString: term) != "dumb"
    }

    public var colorsOutput: Bool { outputIsTerminal && allowsColor }
    public var colorsDiagnostics: Bool { diagnosticsAreTerminal && allowsColor }

    // MARK: Results

    /// Writes a command's result: `json` under `--output json`, otherwise `text`.
    /// `text` may hold line feeds; a missing last one is added, an empty text writes nothing.
    public func result(_ json: @autoclosure () -> JSONValue, text: () -> String) {
        switch format {
        case .json: write(jsonLine(json(), style: .pretty), to: output)
        case .text: line(text())
        }
    }

    /// A table as text, or an array of objects as JSON. `empty` is said when there is no row.
    public func table(_ table: Table, json: @autoclosure () -> JSONValue, empty: String) {
        result(json()) { table.rows.isEmpty ? empty : table.rendered(color: colorsOutput) }
    }

    /// One JSON value on one line of standard output (event streams), or `text`.
    public func event(_ json: @autoclosure () -> JSONValue, text: () -> String) {
        switch format {
        case .json: write(jsonLine(json(), style: .compact) + [0x0A], to: output)
        case .text: line(text())
        }
    }

    /// Raw text on standard output, whatever the format.
    public func line(_ text: String) {
        guard !text.isEmpty else { return }
        write(Array((text.hasSuffix("\n") ? text : text + "\n").utf8), to: output)
    }

    public func styled(_ text: String, _ style: TextStyle) -> String {
        style.apply(TerminalText.sanitized(text), enabled: colorsOutput)
    }

    // MARK: Diagnostics

    /// A remark for people on standard error; `{"note": …}` under `--output json`. Silent when quiet.
    public func note(_ text: String) {
        guard !quiet else { return }
        switch format {
        case .json: diagnostic(["note": .string(text)])
        case .text: write(Array((TerminalText.sanitized(text, lines: true) + "\n").utf8), to: diagnostics)
        }
    }

    /// A warning on standard error, also when quiet.
    public func warn(_ text: String) {
        switch format {
        case .json: diagnostic(["warning": .string(text)])
        case .text:
            let head = TextStyle.warning.apply("warning:", enabled: colorsDiagnostics)
            write(Array("\(head) \(TerminalText.sanitized(text, lines: true))\n".utf8), to: diagnostics)
        }
    }

    /// One JSON object on one line of standard error.
    public func diagnostic(_ json: JSONValue) { write(jsonLine(json, style: .compact) + [0x0A], to: diagnostics) }

    private func jsonLine(_ json: JSONValue, style: JSONValue.Style) -> [UInt8] {
        // Only a double that is no number cannot be written; results hold none.
        (try? json.serialized(style)) ?? Array("null".utf8)
    }

    /// Writes all bytes. A reader that went away ends the process as SIGPIPE would, without a word.
    func write(_ bytes: [UInt8], to descriptor: Int32) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, bytes.count - done)
            }
            if count >= 0 {
                done += count
            } else if errno == EPIPE {
                signal(SIGPIPE, SIG_DFL)
                raise(SIGPIPE)
                return
            } else if errno == EAGAIN {
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&waiting, 1, 1000)
            } else if errno != EINTR {
                return
            }
        }
    }
}
