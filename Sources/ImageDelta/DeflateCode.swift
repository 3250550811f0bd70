/// The numbers of RFC 1951, section 3.2, and the code lengths that zlib and gzip give to symbol counts.
package enum DeflateCode {
    package static let literalCount = 286
    package static let distanceCount = 30
    package static let endOfBlock = 256
    package static let codeLengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

    /// Least length and bits after the code, for codes from 257; then least distance and bits.
    package static let lengths: [(base: Int, bits: Int)] = [
        (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2),
        (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5),
        (163, 5), (195, 5), (227, 5), (258, 0),
    ]
    package static let distances: [(base: Int, bits: Int)] = [
        (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3), (33, 4), (49, 4), (65, 5),
        (97, 5), (129, 6), (193, 6), (257, 7), (385, 7), (513, 8), (769, 8), (1025, 9), (1537, 9), (2049, 10),
        (3073, 10), (4097, 11), (6145, 11), (8193, 12), (12289, 12), (16385, 13), (24577, 13),
    ]
    /// Index in ``lengths`` by length, and in ``distances`` by the distance's bits (see ``distanceIndex(_:)``).
    private static let lengthIndices: [UInt8] = (0...DeflateToken.longest).map { length in
        UInt8(max(0, lengths.lastIndex { $0.base <= length } ?? 0))
    }

    package static func lengthIndex(_ length: Int) -> Int { Int(lengthIndices[length]) }

    /// Two codes for each power of two.
    @inline(__always)
    package static func distanceIndex(_ distance: Int) -> Int {
        let value = distance - 1
        guard value >= 4 else { return value }
        let log = Int.bitWidth - 1 - value.leadingZeroBitCount
        return 2 * log + (value >> (log - 1) & 1)
    }

    package static let fixedLiteralLengths: [UInt8] =
        (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 }

    /// Codes of the given lengths (section 3.2.2), bits reversed, as they are sent.
    package static func codes(_ lengths: [UInt8]) -> [UInt16] {
        var counts = [Int](repeating: 0, count: 17)
        for length in lengths where length > 0 { counts[Int(length)] += 1 }
        var next = [Int](repeating: 0, count: 17)
        var code = 0
        for length in 1..<16 {
            code = (code + counts[length - 1]) << 1
            next[length] = code
        }
        return lengths.map { length in
            guard length > 0 else { return 0 }
            defer { next[Int(length)] += 1 }
            return reversed(next[Int(length)], Int(length))
        }
    }

    private static func reversed(_ code: Int, _ count: Int) -> UInt16 {
        var (rest, result) = (code, 0)
        for _ in 0..<count {
            result = result << 1 | rest & 1
            rest >>= 1
        }
        return UInt16(truncatingIfNeeded: result)
    }
}

/// Huffman's tree for symbol counts, with the choices between equals that zlib and gzip make: of two nodes of one
/// count the one of less depth goes first, in a heap filled in the order of the symbols.
struct DeflateTree {
    private(set) var lengths: [UInt8]
    /// The last symbol that has a code.
    private(set) var last = -1
    private var counts: [Int]
    private var depths: [Int]
    private var parents: [Int]
    private var heap: [Int]
    private var heapCount = 0
    private let limit: Int

    /// `limit` is the longest code, in bits.
    init(_ symbolCounts: [Int], limit: Int) {
        let size = symbolCounts.count
        self.limit = limit
        counts = symbolCounts + [Int](repeating: 0, count: size)
        depths = [Int](repeating: 0, count: 2 * size)
        parents = depths
        heap = [Int](repeating: 0, count: size + 2)
        lengths = [UInt8](repeating: 0, count: size)
        for symbol in 0..<size where counts[symbol] > 0 {
            heapCount += 1
            heap[heapCount] = symbol
            last = symbol
        }
        // Two codes at least, even if unused.
        while heapCount < 2 {
            let symbol = last < 2 ? last + 1 : 0
            last = max(last, symbol)
            counts[symbol] = 1
            heapCount += 1
            heap[heapCount] = symbol
        }
        setLengths(leavesInOrder: join(size))
    }

    @inline(__always)
    private func precedes(_ left: Int, _ right: Int) -> Bool {
        counts[left] < counts[right] || (counts[left] == counts[right] && depths[left] <= depths[right])
    }

    private mutating func sink(_ start: Int) {
        let value = heap[start]
        var at = start
        var child = start * 2
        while child <= heapCount {
            if child < heapCount, precedes(heap[child + 1], heap[child]) { child += 1 }
            if precedes(value, heap[child]) { break }
            heap[at] = heap[child]
            at = child
            child *= 2
        }
        heap[at] = value
    }

    /// Joins the two least until one is left; all nodes, the root last.
    private mutating func join(_ size: Int) -> [Int] {
        for index in stride(from: heapCount / 2, through: 1, by: -1) { sink(index) }
        var order: [Int] = []
        var node = size
        while heapCount >= 2 {
            let first = heap[1]
            heap[1] = heap[heapCount]
            heapCount -= 1
            sink(1)
            let second = heap[1]
            order += [first, second]
            counts[node] = counts[first] + counts[second]
            depths[node] = max(depths[first], depths[second]) + 1
            parents[first] = node
            parents[second] = node
            heap[1] = node
            node += 1
            sink(1)
        }
        return order + [heap[1]]
    }

    /// Depths in the tree, and where one is too great, the least disturbance that makes all fit.
    private mutating func setLengths(leavesInOrder order: [Int]) {
        var depth = [Int](repeating: 0, count: counts.count)
        var perLength = [Int](repeating: 0, count: limit + 1)
        var excess = 0
        for node in order.dropLast().reversed() {
            depth[node] = depth[parents[node]] + 1
            if depth[node] > limit {
                depth[node] = limit
                excess += 1
            }
            if node < lengths.count {
                lengths[node] = UInt8(depth[node])
                perLength[depth[node]] += 1
            }
        }
        guard excess > 0 else { return }
        while excess > 0 {
            var bits = limit - 1
            while perLength[bits] == 0 { bits -= 1 }
            perLength[bits] -= 1
            perLength[bits + 1] += 2
            perLength[limit] -= 1
            excess -= 2
        }
        var leaves = order.filter { $0 < lengths.count }[...]
        for bits in stride(from: limit, to: 0, by: -1) {
            for leaf in leaves.prefix(perLength[bits]) { lengths[leaf] = UInt8(bits) }
            leaves = leaves.dropFirst(perLength[bits])
        }
    }
}
