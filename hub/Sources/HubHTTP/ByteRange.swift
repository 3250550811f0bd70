/// The `Range` field of RFC 9110 section 14 as far as a blob needs it: one range of bytes.
public enum ByteRange: Equatable, Sendable {
    /// No range, several, or a unit or form that is not known: the whole is sent, as the RFC allows.
    case whole
    case part(Range<Int64>)
    /// Begins behind the end: 416.
    case unsatisfiable

    public init(_ field: String?, size: Int64) {
        self = .whole
        guard let field, field.utf8.count <= 64, field.hasPrefix("bytes=") else { return }
        let parts = field.dropFirst(6).split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return }
        func number(_ text: Substring) -> Int64? {
            text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int64(text) : nil
        }
        if parts[0].isEmpty {
            guard let count = number(parts[1]) else { return }
            self = count == 0 || size == 0 ? .unsatisfiable : .part(max(0, size - count)..<size)
            return
        }
        guard let first = number(parts[0]) else { return }
        if parts[1].isEmpty {
            self = first < size ? .part(first..<size) : .unsatisfiable
            return
        }
        guard let last = number(parts[1]), last >= first else { return }
        self = first < size ? .part(first..<min(last, size - 1) + 1) : .unsatisfiable
    }
}

/// Entity tags in `If-None-Match` and `If-Match`: `*`, or tags in quotes joined by commas.
public enum EntityTags {
    /// Whether a list of tags names `tag` (weakly compared), which has its quotes.
    public static func match(_ fields: [String], _ tag: String) -> Bool {
        fields.contains { field in
            field == tag || field == "*"
                || field.split(separator: ",").contains { part in
                    let text = part.trimmingPrefix { $0 == " " || $0 == "\t" }
                    var end = text.endIndex
                    while end > text.startIndex, [" ", "\t"].contains(text[text.index(before: end)]) {
                        end = text.index(before: end)
                    }
                    let plain = text[..<end]
                    return plain == tag || plain.hasPrefix("W/") && plain.dropFirst(2) == tag
                }
        }
    }
}
