import Base

/// A `.env` or `env_file`: `NAME=value` lines as the Compose Specification describes them.
///
/// Unquoted and double-quoted values have variables substituted (from the environment first, then from
/// the lines above); single-quoted ones are literal. Quoted values may span lines. A `#` after white space
/// starts a comment in an unquoted value. `export ` before a name is allowed.
struct EnvironmentFile {
    /// Name to value in order of the file; nil for a name without `=`, which is taken from the environment.
    private(set) var entries: [(name: String, value: String?)] = []

    private let file: String
    private let lookup: (String) -> String?
    private let isRaw: Bool
    private var rest: ArraySlice<Unicode.Scalar>
    private var line = 1

    /// `isRaw` (`format: raw`): everything after `=` up to the line's end is the value, as it stands.
    init(
        _ bytes: [UInt8], file: String, isRaw: Bool = false, lookup: @escaping (String) -> String?
    ) throws(ComposeError) {
        self.file = file
        self.lookup = lookup
        self.isRaw = isRaw
        let place = SourceLocation(file: file, line: 1, column: 0)
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else {
            throw ComposeError(.yaml, place, "the file is not UTF-8 text", hint: "save it with the encoding UTF-8")
        }
        rest = Array(text.unicodeScalars.filter { $0 != "\u{FEFF}" && $0 != "\r" })[...]
        while try entry() {
            guard entries.count <= ComposeLimits.environmentEntries else {
                throw ComposeError(.limit, here, "more than \(ComposeLimits.environmentEntries) variables")
            }
        }
    }

    private var here: SourceLocation { SourceLocation(file: file, line: line, column: 0) }

    private mutating func next() -> Unicode.Scalar? {
        guard let scalar = rest.popFirst() else { return nil }
        if scalar == "\n" { line += 1 }
        return scalar
    }

    private mutating func skip(while condition: (Unicode.Scalar) -> Bool) {
        while let scalar = rest.first, condition(scalar) { _ = next() }
    }

    /// Reads one line that says something; false at the end.
    private mutating func entry() throws(ComposeError) -> Bool {
        skip { $0 == " " || $0 == "\t" || $0 == "\n" }
        guard let first = rest.first else { return false }
        if first == "#" {
            skip { $0 != "\n" }
            return true
        }
        var name = String(String.UnicodeScalarView(rest.prefix { $0 != "=" && $0 != "\n" && $0 != "#" }))
        rest = rest.dropFirst(name.unicodeScalars.count)
        name = String(name.trimmingPrefix("export ")).trimmed
        guard let initial = name.unicodeScalars.first, Interpolation.startsName(initial),
            name.unicodeScalars.allSatisfy({ Interpolation.continuesName($0) || $0 == "." || $0 == "-" })
        else {
            throw ComposeError(
                .value, here, "\"\(name.prefix(60))\" is no variable name", hint: "write NAME=value, one on a line")
        }
        guard rest.first == "=" else {
            skip { $0 != "\n" }
            entries.append((name, nil))
            return true
        }
        _ = next()
        entries.append((name, try value(name)))
        return true
    }

    private mutating func value(_ name: String) throws(ComposeError) -> String {
        if isRaw { return restOfLine() }
        skip { $0 == " " || $0 == "\t" }
        guard let quote = rest.first, quote == "\"" || quote == "'" else {
            let text = restOfLine()
            return try substitute(Self.withoutComment(text).trimmed)
        }
        let start = here
        _ = next()
        let text = try quoted(by: quote, name: name, start: start)
        skip { $0 == " " || $0 == "\t" }
        if rest.first == "#" { skip { $0 != "\n" } }
        guard rest.first == nil || rest.first == "\n" else {
            throw ComposeError(.value, here, "text after the closing quote of \(name)")
        }
        return quote == "'" ? text : try substitute(text)
    }

    private mutating func quoted(
        by quote: Unicode.Scalar, name: String, start: SourceLocation
    ) throws(ComposeError) -> String {
        var output = String.UnicodeScalarView()
        while let scalar = next() {
            if scalar == quote { return String(output) }
            guard scalar == "\\", let escaped = rest.first else {
                output.append(scalar)
                continue
            }
            switch (escaped, quote) {
            case (quote, _): output.append(escaped)
            case ("n", "\""): output.append("\n")
            case ("r", "\""): output.append("\r")
            case ("t", "\""): output.append("\t")
            case ("\\", "\""): output.append("\\")
            // A literal dollar for the substitution that follows.
            case ("$", "\""): output.append(contentsOf: "$$".unicodeScalars)
            default:
                output.append("\\")
                continue
            }
            _ = next()
        }
        throw ComposeError(.value, start, "the quote of \(name) is never closed")
    }

    private mutating func restOfLine() -> String {
        let text = String(String.UnicodeScalarView(rest.prefix { $0 != "\n" }))
        rest = rest.dropFirst(text.unicodeScalars.count)
        return text
    }

    /// Cuts at a `#` that white space precedes.
    private static func withoutComment(_ text: String) -> String {
        let scalars = Array(text.unicodeScalars)
        for index in scalars.indices where scalars[index] == "#" {
            if index == 0 || scalars[index - 1] == " " || scalars[index - 1] == "\t" {
                return String(String.UnicodeScalarView(scalars[..<index]))
            }
        }
        return text
    }

    private func substitute(_ text: String) throws(ComposeError) -> String {
        let lookup = lookup
        let above = entries
        var interpolation = Interpolation { name in
            lookup(name) ?? above.last { $0.name == name }?.value
        }
        do {
            return try interpolation.substitute(text)
        } catch {
            throw ComposeError(error, here, path: "")
        }
    }
}

extension ComposeError {
    init(_ failure: Interpolation.Failure, _ location: SourceLocation, path: String) {
        switch failure {
        case .syntax(let detail):
            self.init(.variable, location, path: path, detail, hint: "write $$ for a dollar sign")
        case .required(let name, let message):
            self.init(
                .variable, location, path: path,
                "the variable \(name) must be set" + (message.isEmpty ? "" : ": \(message)"),
                hint: "set \(name) in the environment, in .env or in a file given with --env-file")
        }
    }
}

extension String {
    /// Without spaces, tabs and line feeds at both ends.
    var trimmed: String {
        func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" || scalar == "\n" }
        var view = Substring(self).unicodeScalars
        while let first = view.first, isSpace(first) { view.removeFirst() }
        while let last = view.last, isSpace(last) { view.removeLast() }
        return String(view)
    }
}
