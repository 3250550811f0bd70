/// A YAML value with its place, aliases followed, merge keys applied and variables substituted.
struct YAMLValue {
    enum Content {
        /// `isPlain` when not quoted and not made by substitution: only then may it mean null or a number.
        case scalar(String, isPlain: Bool)
        case list([YAMLValue])
        case map([Entry])
    }
    struct Entry {
        var key: String
        var location: SourceLocation
        var value: YAMLValue
    }
    var content: Content
    var location: SourceLocation

    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    var kindName: String {
        switch content {
        case .scalar: isNull ? "nothing" : "a single value"
        case .list: "a list"
        case .map: "a mapping"
        }
    }
}
