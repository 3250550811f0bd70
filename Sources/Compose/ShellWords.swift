/// Splits a command written as one string, as Compose does: white space separates, quotes group,
/// a backslash takes the next character literally. No substitution, no globbing.
enum ShellWords {
    /// Nil when a quote is never closed or a backslash ends the text.
    static func split(_ text: String) -> [String]? {
        var words: [String] = []
        var word = String.UnicodeScalarView()
        var isOpen = false
        var quote: Unicode.Scalar?
        var scalars = text.unicodeScalars.makeIterator()
        while let scalar = scalars.next() {
            switch (scalar, quote) {
            case ("'", "'"?), ("\"", "\""?): quote = nil
            case (_, "'"?): word.append(scalar)
            case ("\\", "\""?):
                guard let escaped = scalars.next() else { return nil }
                if !["\"", "\\", "$", "`", "\n"].contains(escaped) { word.append("\\") }
                if escaped != "\n" { word.append(escaped) }
            case (_, "\""?): word.append(scalar)
            case ("'", nil), ("\"", nil):
                quote = scalar
                isOpen = true
            case ("\\", nil):
                guard let escaped = scalars.next() else { return nil }
                if escaped != "\n" {
                    word.append(escaped)
                    isOpen = true
                }
            case (" ", nil), ("\t", nil), ("\n", nil), ("\r", nil):
                if isOpen { words.append(String(word)) }
                word = String.UnicodeScalarView()
                isOpen = false
            default:
                word.append(scalar)
                isOpen = true
            }
        }
        guard quote == nil else { return nil }
        if isOpen { words.append(String(word)) }
        return words
    }
}
