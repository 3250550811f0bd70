/// Finds the name a person most likely meant.
enum Suggestion {
    /// The nearest of `candidates` within two edits (one for short names), nil when none is near.
    static func nearest(to text: String, in candidates: some Sequence<String>) -> String? {
        // A misspelt name is short; a long one is no misspelling and would cost time.
        guard text.utf8.count <= 40 else { return nil }
        let allowed = text.utf8.count <= 3 ? 1 : 2
        var best: (name: String, distance: Int)?
        for candidate in candidates.sorted() {
            let distance = distance(Array(text.lowercased().utf8), Array(candidate.lowercased().utf8))
            let near =
                distance <= allowed || candidate.replacing("_", with: "") == text.lowercased().replacing("-", with: "")
            if near, distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        return best?.name
    }

    /// Edits (insert, delete, replace, swap of neighbours) between two texts: optimal string alignment.
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        guard !left.isEmpty, !right.isEmpty else { return max(left.count, right.count) }
        var before = [Int](repeating: 0, count: right.count + 1)
        var previous = Array(0...right.count)
        for row in 1...left.count {
            var current = [row] + [Int](repeating: 0, count: right.count)
            for column in 1...right.count {
                let cost = left[row - 1] == right[column - 1] ? 0 : 1
                current[column] = min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + cost)
                if row > 1, column > 1, left[row - 1] == right[column - 2], left[row - 2] == right[column - 1] {
                    current[column] = min(current[column], before[column - 2] + 1)
                }
            }
            before = previous
            previous = current
        }
        return previous[right.count]
    }
}
