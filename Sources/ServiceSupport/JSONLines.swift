import Base

/// Finds the line on which a member of a JSON document stands. The document has been parsed before: only where
/// things are is asked here, not whether they are right.
struct JSONLines {
    private var lines: [[String]: Int] = [:]

    init(_ bytes: [UInt8]) {
        var path: [String] = []
        var line = 1
        var key: String?
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case 0x0A: line += 1
            case 0x7B, 0x5B:
                path.append(key ?? "")
                key = nil
            case 0x7D, 0x5D:
                if !path.isEmpty { path.removeLast() }
                key = nil
            case 0x2C: key = nil
            case 0x22:
                let (text, end) = Self.string(bytes, from: index + 1)
                index = end
                if Self.isKey(bytes, after: end) {
                    key = text
                    // The document's own brace is the first, nameless component.
                    lines[Array(path.dropFirst()) + [text]] = line
                }
            default: break
            }
            index += 1
        }
    }

    /// 1 for what is not there.
    func line(of path: [String]) -> Int { lines[path] ?? 1 }

    /// The text up to the closing quote, and that quote's index.
    private static func string(_ bytes: [UInt8], from start: Int) -> (String, Int) {
        var index = start
        while index < bytes.count, bytes[index] != 0x22 { index += bytes[index] == 0x5C ? 2 : 1 }
        let end = min(index, bytes.count)
        return (String(decoding: bytes[start..<end], as: UTF8.self), end)
    }

    private static func isKey(_ bytes: [UInt8], after quote: Int) -> Bool {
        bytes.dropFirst(quote + 1).first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) } == 0x3A
    }
}
