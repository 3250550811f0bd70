/// Slash-separated paths as strings, purely lexical.
///
/// Taken apart by Unicode scalars, as the kernel does it by bytes. To Swift a slash and a combining mark after it are one
/// character and no slash: `../` and U+0301 would be one plain name.
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
        var scalars = Substring(path).unicodeScalars
        if scalars.count > 1, scalars.last == "/" { scalars.removeLast() }
        guard let slash = scalars.lastIndex(of: "/") else { return "." }
        return slash == scalars.startIndex ? "/" : String(scalars[..<slash])
    }

    public static func name(_ path: String) -> String { components(path).last.map(String.init) ?? "" }

    /// What stands between the slashes.
    public static func components(_ path: some StringProtocol, omittingEmpty: Bool = true) -> [Substring] {
        Substring(path).unicodeScalars.split(separator: "/", omittingEmptySubsequences: omittingEmpty)
            .map { Substring($0) }
    }

    public static func isAbsolute(_ path: String) -> Bool { path.utf8.first == 0x2F }

    /// True for a relative path of plain components: no `..`, `.`, empty component, NUL or leading slash.
    /// What comes out of an archive or a manifest must be this before it is joined to anything.
    public static func isPlainRelative(_ path: String) -> Bool {
        guard !path.isEmpty, !path.utf8.contains(0) else { return false }
        return components(path, omittingEmpty: false)
            .allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }
}
