/// A shell pattern over target paths (4.5): `*`, `?` and `[…]` within one segment, case-sensitive
/// (GHSA-qp9x-wp8f-qgjj). A path matches when it has as many segments and each matches.
struct PathPattern: Sendable {
    private let segments: [[Unicode.Scalar]]

    init(_ text: String) { segments = Self.split(text) }

    static func split(_ text: String) -> [[Unicode.Scalar]] {
        text.unicodeScalars.split(separator: "/", omittingEmptySubsequences: false).map(Array.init)
    }

    func matches(_ path: [[Unicode.Scalar]]) -> Bool {
        path.count == segments.count && zip(segments, path).allSatisfy(Self.matches)
    }

    /// Two cursors and the place of the last star: quadratic at worst, never exponential.
    private static func matches(_ pattern: [Unicode.Scalar], _ text: [Unicode.Scalar]) -> Bool {
        var (place, index) = (0, 0)
        var star: (place: Int, index: Int)?
        while index < text.count {
            if place < pattern.count, pattern[place] == "*" {
                star = (place, index)
                place += 1
            } else if let next = step(pattern, place, text[index]) {
                place = next
                index += 1
            } else if let last = star {
                star = (last.place, last.index + 1)
                place = last.place + 1
                index = last.index + 1
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }

    /// The place after the one element at `place` when it matches `scalar`.
    private static func step(_ pattern: [Unicode.Scalar], _ place: Int, _ scalar: Unicode.Scalar) -> Int? {
        guard place < pattern.count else { return nil }
        switch pattern[place] {
        case "?": return place + 1
        case "[":
            guard let set = bracket(pattern, place) else { return scalar == "[" ? place + 1 : nil }
            return set.contains(scalar) ? set.end : nil
        case let literal: return literal == scalar ? place + 1 : nil
        }
    }

    private struct Bracket {
        var isNegated: Bool
        var ranges: [ClosedRange<Unicode.Scalar>]
        var end: Int
        func contains(_ scalar: Unicode.Scalar) -> Bool { ranges.contains { $0.contains(scalar) } != isNegated }
    }

    /// `[abc]`, `[a-z]`, `[!a]`; nil when it is never closed, and the bracket is then a plain character.
    private static func bracket(_ pattern: [Unicode.Scalar], _ open: Int) -> Bracket? {
        var place = open + 1
        let isNegated = place < pattern.count && pattern[place] == "!"
        if isNegated { place += 1 }
        let first = place
        var ranges: [ClosedRange<Unicode.Scalar>] = []
        while place < pattern.count {
            let low = pattern[place]
            if low == "]", place > first { return Bracket(isNegated: isNegated, ranges: ranges, end: place + 1) }
            if place + 2 < pattern.count, pattern[place + 1] == "-", pattern[place + 2] != "]" {
                let high = pattern[place + 2]
                if low <= high { ranges.append(low...high) }
                place += 3
            } else {
                ranges.append(low...low)
                place += 1
            }
        }
        return nil
    }
}
