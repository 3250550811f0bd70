import Model

/// A value of the document with its path, and the ways to read it.
struct Field {
    var value: YAMLValue
    var path: String

    var location: SourceLocation { value.location }

    func fail(_ reason: ComposeError.Reason, _ detail: String, hint: String? = nil) -> ComposeError {
        ComposeError(reason, location, path: path, detail, hint: hint)
    }

    // MARK: Scalars

    /// The text of a single value. Plain booleans, nulls and numbers that YAML readers write differently
    /// (`010`, `1.50`, `1e3`) are refused: nobody should have to guess what a signed release will say.
    func string() throws(ComposeError) -> String {
        guard case .scalar(let text, let isPlain) = value.content else {
            throw fail(.type, "expected text, found \(value.kindName)")
        }
        guard isPlain else { return text }
        if value.isNull { throw fail(.type, "expected text, found nothing") }
        if ["true", "True", "TRUE", "false", "False", "FALSE"].contains(text) {
            throw fail(.type, "expected text, found a boolean", hint: "quote it: \"\(text)\"")
        }
        if Quantity.looksLikeNumber(text), !Quantity.isCanonicalNumber(text) {
            throw fail(.type, "\(text) is a number that YAML may rewrite", hint: "quote it: \"\(text)\"")
        }
        return text
    }

    /// Text that is not empty.
    func word() throws(ComposeError) -> String {
        let text = try string()
        guard !text.isEmpty else { throw fail(.value, "empty") }
        return text
    }

    /// A value of an environment, label or option map: booleans count as their text, nothing as nil.
    func mapValue() throws(ComposeError) -> String? {
        if value.isNull { return nil }
        if case .scalar(let text, isPlain: true) = value.content, let flag = Self.bool(text) {
            return flag ? "true" : "false"
        }
        return try string()
    }

    func bool() throws(ComposeError) -> Bool {
        guard case .scalar(let text, _) = value.content, let flag = Self.bool(text) ?? Self.looseBool(text) else {
            throw fail(.type, "expected true or false, found \(shown)")
        }
        return flag
    }

    private static func bool(_ text: String) -> Bool? {
        switch text {
        case "true", "True", "TRUE": true
        case "false", "False", "FALSE": false
        default: nil
        }
    }

    /// The other words that Compose takes for a boolean.
    private static func looseBool(_ text: String) -> Bool? {
        switch text.lowercased() {
        case "yes", "y", "on", "1": true
        case "no", "n", "off", "0": false
        default: nil
        }
    }

    func integer(_ range: ClosedRange<Int64>) throws(ComposeError) -> Int64 {
        guard case .scalar(let text, _) = value.content, let number = Int64(text) else {
            throw fail(.type, "expected an integer, found \(shown)")
        }
        guard Quantity.isCanonicalNumber(text) else {
            throw fail(
                .type, "\(text) is a number that YAML may rewrite", hint: "write it without leading zeros or plus")
        }
        guard range.contains(number) else {
            throw fail(.value, "\(number) is not within \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// Nanoseconds.
    func duration() throws(ComposeError) -> Int64 {
        guard case .scalar(let text, _) = value.content, let duration = Quantity.duration(text) else {
            throw fail(.value, "\(shown) is no duration", hint: "write a number with a unit, such as 10s or 1m30s")
        }
        guard duration <= ReleaseLimits.duration else { throw fail(.value, "\(shown) is longer than a week") }
        return duration
    }

    func bytes() throws(ComposeError) -> Int64 {
        guard case .scalar(let text, _) = value.content, let bytes = Quantity.bytes(text) else {
            throw fail(.value, "\(shown) is no size", hint: "write bytes, or a number with b, k, m or g, such as 64m")
        }
        return bytes
    }

    /// A file mode: octal with a leading zero, or quoted. A plain 440 would be the decimal number to YAML.
    func mode() throws(ComposeError) -> UInt32 {
        guard case .scalar(let text, let isPlain) = value.content else { throw fail(.type, "expected a mode") }
        let digits = text.hasPrefix("0o") ? text.dropFirst(2) : Substring(text)
        guard text.hasPrefix("0") || !isPlain else {
            throw fail(.value, "\(text) is decimal to YAML", hint: "write the mode in octal: 0\(text)")
        }
        guard let mode = UInt32(digits, radix: 8), mode <= 0o7777 else {
            throw fail(.value, "\(shown) is no file mode")
        }
        return mode
    }

    /// One of a set of words.
    func choice<T: RawRepresentable<String> & CaseIterable>(_ type: T.Type = T.self) throws(ComposeError) -> T {
        let text = try string()
        guard let choice = T(rawValue: text) else {
            let words = T.allCases.map(\.rawValue)
            throw fail(.value, "\"\(text)\" is none of \(words.joined(separator: ", "))", hint: meant(text, words))
        }
        return choice
    }

    func meant(_ text: String, _ words: [String]) -> String? {
        Suggestion.nearest(to: text, in: words).map { "did you mean \($0)?" }
    }

    /// The value as an error message shows it.
    var shown: String {
        guard case .scalar(let text, _) = value.content, !value.isNull else { return value.kindName }
        return "\"\(text.prefix(80))\""
    }

    // MARK: Collections

    func elements() throws(ComposeError) -> [Field] {
        guard case .list(let elements) = value.content else {
            throw fail(.type, "expected a list, found \(value.kindName)")
        }
        guard elements.count <= ReleaseLimits.entries else {
            throw fail(.limit, "\(elements.count) elements, at most \(ReleaseLimits.entries)")
        }
        return elements.enumerated().map { Field(value: $1, path: "\(path)[\($0)]") }
    }

    func strings() throws(ComposeError) -> [String] {
        var result: [String] = []
        for element in try elements() { result.append(try element.string()) }
        return result
    }

    /// A list of texts of which none is there twice.
    func uniqueStrings() throws(ComposeError) -> [String] {
        var result: [String] = []
        for element in try elements() {
            let text = try element.word()
            guard !result.contains(text) else { throw element.fail(.duplicate, "\"\(text)\" is there twice") }
            result.append(text)
        }
        return result
    }

    /// One text, or a list of them.
    func stringOrList() throws(ComposeError) -> [Field] {
        if case .list = value.content { return try elements() }
        return [self]
    }

    var isMap: Bool { if case .map = value.content { true } else { false } }

    func entries(limit: Int = ReleaseLimits.entries) throws(ComposeError) -> [(key: String, field: Field)] {
        guard case .map(let entries) = value.content else {
            throw fail(.type, "expected a mapping, found \(value.kindName)")
        }
        guard entries.count <= limit else { throw fail(.limit, "\(entries.count) entries, at most \(limit)") }
        return entries.map { ($0.key, Field(value: $0.value, path: path.isEmpty ? $0.key : "\(path).\($0.key)")) }
    }

    /// `NAME: value` pairs, or a list of `NAME=value`; a name alone has the value nil.
    func listOrMap() throws(ComposeError) -> [(key: String, value: String?, field: Field)] {
        var result: [(key: String, value: String?, field: Field)] = []
        if isMap {
            for (key, field) in try entries() { result.append((key, try field.mapValue(), field)) }
        } else {
            for field in try elements() {
                let text = try field.word()
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                let key = String(parts[0])
                result.append((key, parts.count == 2 ? String(parts[1]) : nil, field))
            }
        }
        for (key, _, field) in result where key.isEmpty || key.utf8.contains(0) {
            throw field.fail(.value, "an empty name")
        }
        return result
    }

    /// As ``listOrMap()``, later entries winning and names alone having an empty value.
    func textMap() throws(ComposeError) -> [String: String] {
        var result: [String: String] = [:]
        for (key, value, _) in try listOrMap() { result[key] = value ?? "" }
        return result
    }

    /// A command: one text, split as a shell would, or a list; nil when there is nothing.
    func command() throws(ComposeError) -> [String]? {
        if value.isNull { return nil }
        if case .list = value.content { return try strings() }
        guard let words = ShellWords.split(try string()) else {
            throw fail(.value, "a quote that is never closed, or a backslash at the end")
        }
        return words
    }
}
