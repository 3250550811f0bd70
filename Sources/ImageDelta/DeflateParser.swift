/// Chooses the symbols of a deflate stream as zlib and gzip do: chains of equal hashes of three bytes, searched to
/// a depth that the level sets; from level 4 a repetition gives way to a longer one that starts a byte later
/// (RFC 1951, section 4).
///
/// Whoever uses it may accept another symbol than the one it would choose; it goes on from there.
package struct DeflateParser: ~Copyable {
    /// How far each level looks.
    private struct Effort {
        /// Length from which a search for a longer repetition looks at a quarter of the chain.
        var good: Int
        /// Length from which no longer one is looked for; at levels 1 to 3 the length up to which all of a
        /// repetition's positions are remembered.
        var lazy: Int
        /// Length that ends a search.
        var nice: Int
        /// Positions a search looks at.
        var chain: Int
    }

    private static let efforts = [
        Effort(good: 4, lazy: 4, nice: 8, chain: 4), Effort(good: 4, lazy: 5, nice: 16, chain: 8),
        Effort(good: 4, lazy: 6, nice: 32, chain: 32), Effort(good: 4, lazy: 4, nice: 16, chain: 16),
        Effort(good: 8, lazy: 16, nice: 32, chain: 32), Effort(good: 8, lazy: 16, nice: 128, chain: 128),
        Effort(good: 8, lazy: 32, nice: 128, chain: 256), Effort(good: 32, lazy: 128, nice: 258, chain: 1024),
        Effort(good: 32, lazy: 258, nice: 258, chain: 4096),
    ]
    /// Bytes ahead that are kept when looking back, which shortens the window.
    private static let farthest = DeflateToken.window - 262
    /// A repetition of three bytes is not worth a distance above this.
    private static let tooFar = 4096

    private let bytes: UnsafePointer<UInt8>
    private let count: Int
    private let effort: Effort
    private let isLazy: Bool
    private let hashMask: Int
    private let hashShift: Int
    /// Last position of each hash; 0 for none.
    private let head: UnsafeMutablePointer<Int32>
    /// Bytes from each position of the window back to the one before with its hash; 0 for none that is near enough.
    private let previous: UnsafeMutablePointer<UInt16>
    private(set) package var position = 0
    /// Positions that searches have looked at: most of what compressing costs.
    private(set) package var looks = 0
    /// Positions below this are in the chains.
    private var inserted = 0
    /// What is known of the match at ``position``, and of the one behind it.
    private var current: DeflateToken?
    private var following: DeflateToken?

    /// `bytes` outlives the parser; `level` is 1 to 9, `hashBits` 15 or 16.
    package init(_ bytes: UnsafePointer<UInt8>, count: Int, level: Int, hashBits: Int) {
        self.bytes = bytes
        self.count = count
        effort = Self.efforts[min(max(level, 1), 9) - 1]
        isLazy = level >= 4
        hashMask = 1 << hashBits - 1
        hashShift = (hashBits + 2) / 3
        head = .allocate(capacity: 1 << hashBits)
        head.initialize(repeating: 0, count: 1 << hashBits)
        previous = .allocate(capacity: DeflateToken.window)
        previous.initialize(repeating: 0, count: DeflateToken.window)
    }

    deinit {
        head.deallocate()
        previous.deallocate()
    }

    package var isAtEnd: Bool { position >= count }

    @inline(__always)
    private mutating func insert(before end: Int) {
        let last = min(end, count - DeflateToken.shortest + 1)
        let (bytes, head, previous, shift, mask) = (bytes, head, previous, hashShift, hashMask)
        var at = inserted
        while at < last {
            let hash = (Int(bytes[at]) << (2 * shift) ^ Int(bytes[at + 1]) << shift ^ Int(bytes[at + 2])) & mask
            let before = Int(head[hash])
            let distance = before > 0 ? at &- before : 0
            previous[at & (DeflateToken.window - 1)] =
                distance < DeflateToken.window ? UInt16(truncatingIfNeeded: distance) : 0
            head[hash] = Int32(truncatingIfNeeded: at)
            at &+= 1
        }
        inserted = max(inserted, end)
    }

    /// The longest repetition at `at` above `known` bytes; a literal when there is none.
    private mutating func search(_ at: Int, above known: Int) -> DeflateToken {
        insert(before: at + 1)
        let ahead = min(DeflateToken.longest, count - at)
        guard ahead >= DeflateToken.shortest, known < ahead else { return .literal }
        let previous = previous
        var total = Int(previous[at & (DeflateToken.window - 1)])
        guard total > 0, total <= Self.farthest else { return .literal }
        // Position 0 is never found, and of a chain only the first position may be as far as this.
        let reach = min(Self.farthest, at)
        let chain = known >= effort.good ? effort.chain >> 2 : effort.chain
        let nice = min(effort.nice, ahead)
        var left = chain
        var best = known
        var distance = 0
        let here = UnsafeRawPointer(bytes + at)
        let first = here.loadUnaligned(as: UInt16.self)
        // The two bytes that a longer repetition must end with.
        var last = here.loadUnaligned(fromByteOffset: best &- 1, as: UInt16.self)
        while true {
            let there = here - total
            let step = Int(previous[(at &- total) & (DeflateToken.window - 1)])
            if there.loadUnaligned(fromByteOffset: best &- 1, as: UInt16.self) == last,
                there.loadUnaligned(as: UInt16.self) == first
            {
                let length = Self.commonLength(here, there, ahead)
                if length > best {
                    best = length
                    distance = total
                    if length >= nice { break }
                    last = here.loadUnaligned(fromByteOffset: best &- 1, as: UInt16.self)
                }
            }
            left &-= 1
            total &+= step
            if step == 0 || total >= reach || left == 0 { break }
        }
        looks &+= chain &- left
        guard distance > 0, best >= DeflateToken.shortest else { return .literal }
        if isLazy, best == DeflateToken.shortest, distance > Self.tooFar { return .literal }
        return DeflateToken(length: best, distance: distance)
    }

    @inline(__always)
    private static func commonLength(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ count: Int) -> Int {
        var index = 0
        while index &+ 8 <= count {
            let difference =
                UInt64(littleEndian: left.loadUnaligned(fromByteOffset: index, as: UInt64.self))
                ^ UInt64(littleEndian: right.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            if difference != 0 { return index &+ difference.trailingZeroBitCount >> 3 }
            index &+= 8
        }
        while index < count,
            left.load(fromByteOffset: index, as: UInt8.self) == right.load(fromByteOffset: index, as: UInt8.self)
        { index &+= 1 }
        return index
    }

    /// The symbol that the compressor would choose here.
    package mutating func predict() -> DeflateToken {
        let match = current ?? search(position, above: DeflateToken.shortest - 1)
        current = match
        following = nil
        guard isLazy, match.length > 1, match.length < effort.lazy, position + 1 < count else { return match }
        let next = search(position + 1, above: match.length)
        guard next.length > match.length else { return match }
        following = next
        return .literal
    }

    /// Goes on behind `token`, which lies inside the content and repeats what came before.
    package mutating func accept(_ token: DeflateToken) {
        let end = position + token.length
        if isLazy || token.length <= effort.lazy {
            insert(before: end)
        } else {
            insert(before: position + 1)
            inserted = max(inserted, end)
        }
        position = end
        current = token.length == 1 ? following : nil
        following = nil
    }

    /// Whether `token` can stand here.
    package func isPossible(_ token: DeflateToken) -> Bool {
        guard token.length <= count - position, token.distance <= position else { return false }
        guard token.length > 1 else { return true }
        for index in 0..<token.length where bytes[position + index] != bytes[position + index - token.distance] {
            return false
        }
        return true
    }
}
