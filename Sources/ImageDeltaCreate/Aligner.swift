/// A cover of new bytes by base bytes, followed by bytes that have no base.
struct AlignedCover: Sendable, Equatable {
    var length: Int
    var literal: Int
    /// Base offset where the cover starts.
    var base: Int
}

extension [AlignedCover] {
    /// Bytes of a cover below this go to the literal before it.
    private static var shortest: Int { 12 }

    /// Without covers that cost more than their bytes.
    func worthwhile() -> [AlignedCover] {
        var result: [AlignedCover] = []
        for cover in self where cover.length + cover.literal > 0 {
            if cover.length >= Self.shortest || result.isEmpty {
                let short = cover.length < Self.shortest
                result.append(
                    short ? AlignedCover(length: 0, literal: cover.length + cover.literal, base: 0) : cover)
            } else {
                result[result.count - 1].literal += cover.length + cover.literal
            }
        }
        return result
    }
}

extension Aligner where Search == SuffixSearch {
    /// Covers of `new` by `base`, as hard as `effort` says.
    static func align(
        _ new: UnsafeBufferPointer<UInt8>, with base: UnsafeBufferPointer<UInt8>, effort: Effort
    ) throws -> [AlignedCover] {
        effort.sortsSuffixes
            ? align(new, with: try SuffixSearch(base))
            : Aligner<AnchorSearch>.align(new, with: AnchorSearch(base))
    }
}

/// Aligns new bytes with base bytes, allowing differences inside covers.
///
/// The method is that of Colin Percival, "Naive differences of executable code" (2003): scan for a match
/// that is better by a margin than going on at the current displacement, then extend the old cover forwards
/// and the new one backwards as long as at least half the bytes agree.
struct Aligner<Search: MatchSearch> {
    /// Bytes by which a match must beat the current displacement.
    private static var margin: Int { 12 }
    /// Equal bytes at the current displacement that make a search needless.
    private static var enough: Int { 32 }
    /// Positions of little gain in a row after which a match is taken anyway; keeps self-similar
    /// areas from costing quadratic time.
    private static var patience: Int { 100 }

    private let search: Search
    private let base: UnsafePointer<UInt8>
    private let baseCount: Int
    private let new: UnsafePointer<UInt8>
    private let newCount: Int

    private var scan = 0
    private var length = 0
    private var position = 0
    private var lastScan = 0
    private var lastPosition = 0
    private var displacement = 0

    /// Covers of `new`, base offsets relative to the search's base.
    static func align(_ new: UnsafeBufferPointer<UInt8>, with search: Search) -> [AlignedCover] {
        guard let bytes = new.baseAddress, new.count > 0 else { return [] }
        guard let base = search.base.baseAddress, search.base.count > 0 else {
            return [AlignedCover(length: 0, literal: new.count, base: 0)]
        }
        var aligner = Aligner(
            search: search, base: base, baseCount: search.base.count, new: bytes, newCount: new.count)
        return aligner.run()
    }

    private init(
        search: Search, base: UnsafePointer<UInt8>, baseCount: Int, new: UnsafePointer<UInt8>, newCount: Int
    ) {
        self.search = search
        self.base = base
        self.baseCount = baseCount
        self.new = new
        self.newCount = newCount
    }

    @inline(__always)
    private func agrees(_ at: Int) -> Bool {
        let old = at + displacement
        return old >= 0 && old < baseCount && base[old] == new[at]
    }

    private mutating func run() -> [AlignedCover] {
        var covers: [AlignedCover] = []
        while scan < newCount {
            let score = findNext()
            guard length != score || scan == newCount else { continue }
            covers.append(cut())
        }
        return covers
    }

    /// Moves `scan` to the next match worth a new cover (or one that goes on with the old displacement);
    /// returns how many of its bytes agree at the old displacement.
    private mutating func findNext() -> Int {
        var score = 0
        var stale = 0
        var former = (length: 0, score: 0, position: 0)
        scan += length
        var counted = scan
        while scan < newCount {
            former = (length, score, position)
            find()
            while counted < scan + length {
                if agrees(counted) { score += 1 }
                counted += 1
            }
            if (length == score && length != 0) || length > score + Self.margin { break }
            if counted > scan {
                if agrees(scan) { score -= 1 }
            } else {
                counted = scan + 1
            }
            let isStale =
                length > 0 && former.length - 8 <= length && length <= former.length && former.score - 8 <= score
                && score <= former.score && former.position <= position && position <= former.position + 8
                && score <= length && length <= score + 8
            stale = isStale ? stale + 1 : 0
            if stale > Self.patience { break }
            scan += 1
        }
        return score
    }

    @inline(__always)
    private mutating func find() {
        let old = scan + displacement
        if old >= 0, old < baseCount {
            let here = commonPrefix(base + old, baseCount - old, new + scan, newCount - scan)
            if here >= Self.enough {
                (length, position) = (here, old)
                return
            }
        }
        (length, position) = search.match(new + scan, newCount - scan)
    }

    /// Ends the cover under way where it and the one found share the bytes between them best.
    private mutating func cut() -> AlignedCover {
        var forward = extendForward()
        var backward = scan < newCount ? extendBackward() : 0
        let overlap = (lastScan + forward) - (scan - backward)
        if overlap > 0 {
            var score = 0
            var bestScore = 0
            var best = 0
            for index in 0..<overlap {
                if new[lastScan + forward - overlap + index] == base[lastPosition + forward - overlap + index] {
                    score += 1
                }
                if new[scan - backward + index] == base[position - backward + index] { score -= 1 }
                if score > bestScore {
                    bestScore = score
                    best = index + 1
                }
            }
            forward += best - overlap
            backward -= best
        }
        let cover = AlignedCover(
            length: forward, literal: (scan - backward) - (lastScan + forward), base: lastPosition)
        lastScan = scan - backward
        lastPosition = position - backward
        displacement = position - scan
        return cover
    }

    private func extendForward() -> Int {
        var score = 0
        var bestScore = 0
        var best = 0
        var index = 0
        while lastScan + index < scan, lastPosition + index < baseCount {
            if base[lastPosition + index] == new[lastScan + index] { score += 1 }
            index += 1
            if score * 2 - index > bestScore * 2 - best {
                bestScore = score
                best = index
            }
        }
        return best
    }

    private func extendBackward() -> Int {
        var score = 0
        var bestScore = 0
        var best = 0
        var index = 1
        while scan >= lastScan + index, position >= index {
            if base[position - index] == new[scan - index] { score += 1 }
            if score * 2 - index > bestScore * 2 - best {
                bestScore = score
                best = index
            }
            index += 1
        }
        return best
    }
}
