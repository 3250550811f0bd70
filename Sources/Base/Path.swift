/// Slash-separated paths as strings, purely lexical.
public enum Path {
    public static func join(_ parts: String...) -> String {
        var result = ""
        for part in parts where !part.isEmpty {
            if result.isEmpty {
                result = part
            } else if result.hasSuffix("/") {
                result += part.drop { $0 == "/" }
            } else {
                result += "/" + part.drop { $0 == "/" }
            }
        }
        return result
    }

    /// Everything before the last component; `.` when there is none, `/` for the root.
    public static func parent(_ path: String) -> String {
        let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        guard let slash = trimmed.lastIndex(of: "/") else { return "." }
        return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
    }

    public static func name(_ path: String) -> String {
        String(path.split(separator: "/", omittingEmptySubsequences: true).last ?? "")
    }

    /// True for a relative path of plain components: no `..`, `.`, empty component, NUL or leading slash.
    /// What comes out of an archive or a manifest must be this before it is joined to anything.
    public static func isPlainRelative(_ path: String) -> Bool {
        guard !path.isEmpty, !path.utf8.contains(0) else { return false }
        return path.split(separator: "/", omittingEmptySubsequences: false)
            .allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }
}
