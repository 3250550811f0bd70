/// Variables in Compose files and environment files.
///
/// Grammar after the Compose Specification, "Interpolation": `$NAME`, `${NAME}`, `${NAME:-default}`,
/// `${NAME-default}`, `${NAME:?message}`, `${NAME?message}`, `${NAME:+other}`, `${NAME+other}`, `$$`.
/// Defaults, messages and others may hold variables themselves. A `$` before anything else stays.
struct Interpolation {
    /// The value of a variable, nil when it is not set.
    let lookup: (String) -> String?
    /// Names that were used, are not set and have no default.
    private(set) var unset: [String] = []

    init(lookup: @escaping (String) -> String?) { self.lookup = lookup }

    enum Failure: Error {
        /// Malformed: what is wrong.
        case syntax(String)
        /// `${NAME:?message}` of a variable that is not set.
        case required(name: String, message: String)
    }

    mutating func substitute(_ text: String) throws(Failure) -> String {
        guard text.utf8.contains(0x24) else { return text }
        return try substitute(Array(text.unicodeScalars)[...], depth: 0)
    }

    private mutating func substitute(
        _ input: ArraySlice<Unicode.Scalar>, depth: Int
    ) throws(Failure) -> String {
        guard depth <= ComposeLimits.variableDepth else {
            throw .syntax("variables nested deeper than \(ComposeLimits.variableDepth) levels")
        }
        var output = String.UnicodeScalarView()
        var rest = input
        while let scalar = rest.popFirst() {
            guard scalar == "$", let next = rest.first else {
                output.append(scalar)
                continue
            }
            if next == "$" {
                rest.removeFirst()
                output.append("$")
            } else if next == "{" {
                rest.removeFirst()
                let end = try closingBrace(rest)
                output.append(contentsOf: try braced(rest[..<end], depth: depth).unicodeScalars)
                rest = rest[(end + 1)...]
            } else if Self.startsName(next) {
                let name = rest.prefix(while: Self.continuesName)
                rest = rest.dropFirst(name.count)
                output.append(contentsOf: value(String(String.UnicodeScalarView(name))).unicodeScalars)
            } else {
                output.append(scalar)
            }
            guard output.count <= ComposeLimits.scalarSize else { throw .syntax("the value grows too long") }
        }
        return String(output)
    }

    private mutating func value(_ name: String) -> String {
        if let value = lookup(name) { return value }
        if !unset.contains(name) { unset.append(name) }
        return ""
    }

    private func closingBrace(_ rest: ArraySlice<Unicode.Scalar>) throws(Failure) -> Int {
        var open = 1
        for index in rest.indices {
            if rest[index] == "{" { open += 1 }
            if rest[index] == "}" { open -= 1 }
            if open == 0 { return index }
        }
        throw .syntax("\"${\" without its \"}\"")
    }

    private mutating func braced(_ body: ArraySlice<Unicode.Scalar>, depth: Int) throws(Failure) -> String {
        let nameScalars = body.prefix(while: Self.continuesName)
        let name = String(String.UnicodeScalarView(nameScalars))
        guard let first = nameScalars.first, Self.startsName(first) else {
            throw .syntax("\"${\(String(String.UnicodeScalarView(body.prefix(40))))}\" has no variable name")
        }
        var rest = body.dropFirst(nameScalars.count)
        guard let operation = rest.popFirst() else { return value(name) }
        var emptyCounts = false
        var mark = operation
        if operation == ":" {
            emptyCounts = true
            guard let following = rest.popFirst() else {
                throw .syntax("\"${\(name):}\" lacks -, ? or + after the colon")
            }
            mark = following
        }
        let current = lookup(name)
        let isSet = emptyCounts ? !(current ?? "").isEmpty : current != nil
        switch mark {
        case "-": return isSet ? current ?? "" : try substitute(rest, depth: depth + 1)
        case "+": return isSet ? try substitute(rest, depth: depth + 1) : ""
        case "?":
            if isSet { return current ?? "" }
            throw .required(name: name, message: try substitute(rest, depth: depth + 1))
        default:
            throw .syntax("\"${\(name)\(operation)…}\" is no form the Compose Specification has")
        }
    }

    static func startsName(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "_" || (scalar.isASCII && scalar.properties.isAlphabetic)
    }
    static func continuesName(_ scalar: Unicode.Scalar) -> Bool {
        startsName(scalar) || ("0"..."9").contains(scalar)
    }
}
