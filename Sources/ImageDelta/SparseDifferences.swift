/// The differences inside covers: gaps of equal bytes, runs of unequal ones, and what to add to these.
///
/// Gaps count from the start of a chapter; when a chapter's gaps are used up, the rest of it has no difference.
struct SparseDifferences {
    private let gaps: StreamDecoder
    private let runs: StreamDecoder
    private let values: StreamDecoder
    private var gap: Int64 = 0
    private var run: Int64 = 0
    private var isExhausted = false

    init(gaps: StreamDecoder, runs: StreamDecoder, values: StreamDecoder) {
        self.gaps = gaps
        self.runs = runs
        self.values = values
    }

    mutating func beginChapter() {
        gap = 0
        run = 0
        isExhausted = false
    }

    /// Corrects the next `count` predicted bytes; says whether any was wrong.
    @inline(__always)
    mutating func add(to target: UnsafeMutablePointer<UInt8>, count: Int) throws(DeltaError) -> Bool {
        var isCorrected = false
        try consume(count) { (values, offset, length) throws(DeltaError) in
            try values.add(to: target + offset, count: length)
            isCorrected = true
        }
        return isCorrected
    }

    /// Passes over the corrections of `count` bytes.
    mutating func skip(_ count: Int) throws(DeltaError) {
        try consume(count) { (values, _, length) throws(DeltaError) in try values.skip(length) }
    }

    @inline(__always)
    private mutating func consume(
        _ count: Int, _ correct: (StreamDecoder, Int, Int) throws(DeltaError) -> Void
    ) throws(DeltaError) {
        var at = 0
        while at < count {
            if run == 0 {
                guard try next() else { return }
            }
            let pass = min(gap, Int64(count - at))
            at += Int(pass)
            gap -= pass
            if at == count { return }
            let length = Int(min(run, Int64(count - at)))
            try correct(values, at, length)
            at += length
            run -= Int64(length)
        }
    }

    /// Reads the next gap and run; false when the chapter has no more.
    private mutating func next() throws(DeltaError) -> Bool {
        if isExhausted { return false }
        if try gaps.isExhausted() {
            isExhausted = true
            return false
        }
        gap = try gaps.varint()
        run = try runs.varint()
        guard run > 0 else { throw DeltaError(.malformed, "a difference is empty") }
        guard gap <= DeltaFormat.spaceLimit, run <= DeltaFormat.spaceLimit else {
            throw DeltaError(.limit, "a difference goes beyond its chapter")
        }
        return true
    }
}
