/// Takes the fields of one mapping by name; what is left at the end is an error that says what was meant.
struct FieldReader {
    let field: Field
    private var rest: [String: YAMLValue.Entry] = [:]
    private var known: Set<String> = []

    init(_ field: Field) throws(ComposeError) {
        guard case .map(let entries) = field.value.content else {
            throw field.fail(.type, "expected a mapping, found \(field.value.kindName)")
        }
        self.field = field
        for entry in entries { rest[entry.key] = entry }
    }

    private func place(_ key: String) -> String { field.path.isEmpty ? key : "\(field.path).\(key)" }

    /// A field that is there and not null.
    mutating func take(_ key: String) -> Field? {
        takeNullable(key).flatMap { $0.value.isNull ? nil : $0 }
    }

    /// A field that is there, null too.
    mutating func takeNullable(_ key: String) -> Field? {
        known.insert(key)
        return rest.removeValue(forKey: key).map { Field(value: $0.value, path: place(key)) }
    }

    mutating func require(_ key: String) throws(ComposeError) -> Field {
        guard let value = take(key) else { throw field.fail(.missing, "\(key) is missing") }
        return value
    }

    mutating func string(_ key: String) throws(ComposeError) -> String? { try take(key)?.string() }
    mutating func word(_ key: String) throws(ComposeError) -> String? { try take(key)?.word() }
    mutating func bool(_ key: String) throws(ComposeError) -> Bool? { try take(key)?.bool() }
    mutating func textMap(_ key: String) throws(ComposeError) -> [String: String] { try take(key)?.textMap() ?? [:] }
    mutating func uniqueStrings(_ key: String) throws(ComposeError) -> [String] {
        try take(key)?.uniqueStrings() ?? []
    }

    /// Throws for the first field, in the order of the file, that nobody took. Extensions (`x-…`) are ignored,
    /// as the Compose Specification says, except where `extensions` is false.
    func finish(
        unsupported: [String: String?] = [:], extensions: Bool = true
    ) throws(ComposeError) {
        guard case .map(let entries) = field.value.content else { return }
        for entry in entries where rest[entry.key] != nil {
            if extensions, entry.key.hasPrefix("x-") {
                try refuseMisspeltExtension(entry)
                continue
            }
            if let hint = unsupported[entry.key] {
                throw ComposeError(
                    .unsupportedField, entry.location, path: place(entry.key),
                    "this field of the Compose Specification is not supported on a device", hint: hint)
            }
            let names = known.union(unsupported.keys)
            throw ComposeError(
                .unknownField, entry.location, path: place(entry.key), "unknown field",
                hint: Suggestion.nearest(to: entry.key, in: names).map { "did you mean \($0)?" }
                    ?? "the fields here are \(known.sorted().joined(separator: ", "))")
        }
    }

    /// `x-holdfst` would silently be somebody else's extension.
    private func refuseMisspeltExtension(_ entry: YAMLValue.Entry) throws(ComposeError) {
        guard let meant = Suggestion.nearest(to: entry.key, in: ["x-holdfast"]) else { return }
        throw ComposeError(
            .unknownField, entry.location, path: place(entry.key),
            known.contains(meant) ? "unknown field" : "\(meant) stands at the top level and in a service only",
            hint: known.contains(meant) ? "did you mean \(meant)?" : nil)
    }
}
