import CDivsufsort
import ImageDelta

/// Finds a long match for the start of some new bytes in base bytes.
protocol MatchSearch {
    var base: UnsafeBufferPointer<UInt8> { get }
    /// Length and base position; length 0 when there is none worth having.
    func match(_ new: UnsafePointer<UInt8>, _ count: Int) -> (length: Int, position: Int)
}

/// Length of the common prefix.
@inline(__always)
func commonPrefix(
    _ left: UnsafePointer<UInt8>, _ leftCount: Int, _ right: UnsafePointer<UInt8>, _ rightCount: Int
) -> Int {
    let count = min(leftCount, rightCount)
    var index = 0
    let first = UnsafeRawPointer(left)
    let second = UnsafeRawPointer(right)
    while index + 8 <= count {
        let difference =
            first.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            ^ second.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        if difference != 0 { return index + difference.trailingZeroBitCount >> 3 }
        index += 8
    }
    while index < count, left[index] == right[index] { index += 1 }
    return index
}

/// The longest match of all, by a suffix array (libdivsufsort) under a table of first bytes (pairs, when that pays).
final class SuffixSearch: MatchSearch {
    let base: UnsafeBufferPointer<UInt8>
    private let suffixes: UnsafeMutablePointer<Int32>
    private let buckets: UnsafeMutablePointer<Int32>
    private let bucketCount: Int
    /// Below this a table of byte pairs costs more to fill than it saves.
    private static let smallBase = 32 << 10

    /// `base` must outlive the search; it has at most 2^31 - 1 bytes. Needs four bytes for each of them.
    init(_ base: UnsafeBufferPointer<UInt8>) throws(DeltaError) {
        self.base = base
        bucketCount = base.count < Self.smallBase ? 1 << 8 : 1 << 16
        suffixes = .allocate(capacity: max(base.count, 1))
        buckets = .allocate(capacity: bucketCount + 1)
        buckets.initialize(repeating: 0, count: bucketCount + 1)
        guard let start = base.baseAddress, base.count > 0 else { return }
        guard divsufsort(start, suffixes, Int32(base.count)) == 0 else {
            throw DeltaError(.limit, "no memory to sort \(base.count) bytes")
        }
        for index in 0..<base.count { buckets[key(start, index) + 1] += 1 }
        for index in 0..<bucketCount { buckets[index + 1] += buckets[index] }
    }

    deinit {
        suffixes.deallocate()
        buckets.deallocate()
    }

    /// The last suffix has one byte and sorts before all that start with it, as if a zero followed.
    @inline(__always)
    private func key(_ start: UnsafePointer<UInt8>, _ index: Int) -> Int {
        if bucketCount == 1 << 8 { return Int(start[index]) }
        return Int(start[index]) << 8 | (index + 1 < base.count ? Int(start[index + 1]) : 0)
    }

    func match(_ new: UnsafePointer<UInt8>, _ count: Int) -> (length: Int, position: Int) {
        guard count >= 2, let start = base.baseAddress else { return (0, 0) }
        let bucket = bucketCount == 1 << 8 ? Int(new[0]) : Int(new[0]) << 8 | Int(new[1])
        var low = Int(buckets[bucket])
        var high = Int(buckets[bucket + 1])
        var lowPrefix = 1
        var highPrefix = 1
        var best = (length: 0, position: 0)
        while low < high {
            let middle = (low + high) >> 1
            let at = Int(suffixes[middle])
            let known = min(lowPrefix, highPrefix)
            let length =
                known + commonPrefix(start + at + known, base.count - at - known, new + known, count - known)
            if length > best.length { best = (length, at) }
            if length == count { break }
            if at + length == base.count || start[at + length] < new[length] {
                low = middle + 1
                lowPrefix = length
            } else {
                high = middle
                highPrefix = length
            }
        }
        return best
    }
}

/// Matches that start at an indexed anchor: eight bytes at every fourth base position. Fast, and good
/// enough because covers are extended backwards from where a match is found.
final class AnchorSearch: MatchSearch {
    let base: UnsafeBufferPointer<UInt8>
    private let table: UnsafeMutablePointer<Int32>
    private let shift: UInt64
    private static let stride = 4
    private static let anchorBytes = 8
    private static let shortest = 16

    init(_ base: UnsafeBufferPointer<UInt8>) {
        self.base = base
        var bits: UInt64 = 10
        while bits < 22, 1 << bits < base.count / Self.stride * 2 { bits += 1 }
        shift = 64 - bits
        table = .allocate(capacity: 1 << Int(bits))
        table.initialize(repeating: -1, count: 1 << Int(bits))
        guard let start = base.baseAddress else { return }
        var index = 0
        while index + Self.anchorBytes <= base.count {
            let slot = slot(start + index)
            if table[slot] < 0 { table[slot] = Int32(truncatingIfNeeded: index) }
            index += Self.stride
        }
    }

    deinit { table.deallocate() }

    @inline(__always)
    private func slot(_ bytes: UnsafePointer<UInt8>) -> Int {
        let word = UnsafeRawPointer(bytes).loadUnaligned(as: UInt64.self)
        return Int((word &* 0x9E37_79B9_7F4A_7C15) >> shift)
    }

    func match(_ new: UnsafePointer<UInt8>, _ count: Int) -> (length: Int, position: Int) {
        guard count >= Self.shortest, let start = base.baseAddress else { return (0, 0) }
        let at = Int(table[slot(new)])
        guard at >= 0 else { return (0, 0) }
        let length = commonPrefix(start + at, base.count - at, new, count)
        return length >= Self.shortest ? (length, at) : (0, 0)
    }
}
