/// Text made safe for a terminal.
///
/// Names and messages may come from a bundle nobody has verified yet; an escape sequence in one could
/// otherwise rewrite what the person reads.
public enum TerminalText {
    /// Control characters (C0, DEL, C1) and direction overrides become `\u{hex}`; line feed stays when `lines`.
    public static func sanitized(_ text: some StringProtocol, lines: Bool = false) -> String {
        var output = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if isHarmless(scalar) || (lines && scalar == "\n") {
                output.append(scalar)
            } else {
                output.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
            }
        }
        return String(output)
    }

    private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0: false
        // Bidirectional controls and line separators reorder or break what is shown.
        case 0x2028...0x202E, 0x2066...0x2069, 0x200E, 0x200F: false
        default: true
        }
    }
}

/// A look for a piece of text on a terminal. Never the only sign: the words say it too.
public enum TextStyle: String, Sendable {
    case plain = ""
    case bold = "1"
    case dim = "2"
    case good = "32"
    case warning = "33"
    case bad = "31"

    /// `text` between SGR sequences, or unchanged when `enabled` is false.
    public func apply(_ text: String, enabled: Bool) -> String {
        enabled && self != .plain ? "\u{1B}[\(rawValue)m\(text)\u{1B}[0m" : text
    }
}
