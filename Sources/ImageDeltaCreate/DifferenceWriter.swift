import ImageDelta

/// Collects the differences inside the covers of one chapter.
struct DifferenceWriter {
    private var gaps: [UInt8] = []
    private var runs: [UInt8] = []
    private var values: [UInt8] = []
    /// Equal bytes since the last difference, and the difference under way.
    private var gap: Int64 = 0
    private var run: Int64 = 0

    /// Compares the next bytes of the output with their prediction; both have the same length.
    mutating func append(new: UnsafeBufferPointer<UInt8>, predicted: UnsafeBufferPointer<UInt8>) {
        guard let left = new.baseAddress, let right = predicted.baseAddress else { return }
        let count = new.count
        var at = 0
        while at < count {
            let equal = commonPrefix(left + at, count - at, right + at, count - at)
            if equal > 0 {
                endRun()
                gap += Int64(equal)
                at += equal
            }
            while at < count, left[at] != right[at] {
                values.append(left[at] &- right[at])
                run += 1
                at += 1
            }
        }
    }

    private mutating func endRun() {
        guard run > 0 else { return }
        gaps.appendVarint(gap)
        runs.appendVarint(run)
        gap = 0
        run = 0
    }

    /// Ends the chapter: its three streams.
    mutating func take() -> (gaps: [UInt8], runs: [UInt8], values: [UInt8]) {
        endRun()
        defer { self = DifferenceWriter() }
        return (gaps, runs, values)
    }

    /// How many bytes differ.
    static func count(_ left: UnsafeBufferPointer<UInt8>, _ right: UnsafeBufferPointer<UInt8>) -> Int {
        var differing = 0
        for index in 0..<left.count where left[index] != right[index] { differing += 1 }
        return differing
    }
}
