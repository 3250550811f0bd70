/// Hashes a byte sequence in spans of equal length with XXH64 (the xxHash specification, seed 0).
///
/// A span digest only finds a wrong base before the work; that the result is right, SHA-256 says. So it need not
/// withstand an adversary, and on a small processor it costs a tenth.
public struct SpanHasher: ~Copyable {
    private static let laneBytes = 32
    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    private let length: Int64
    private var filled: Int64 = 0
    /// Spans finished so far.
    public private(set) var count = 0

    private var lanes: (UInt64, UInt64, UInt64, UInt64) = SpanHasher.start
    /// Bytes that do not fill the lanes yet.
    private var pending: [UInt8] = []

    private static var start: (UInt64, UInt64, UInt64, UInt64) {
        (prime1 &+ prime2, prime2, 0, 0 &- prime1)
    }

    public init(length: Int64) { self.length = length }

    /// Bytes that still go into the current span; an update may not be longer.
    public var room: Int64 { length - filled }

    /// The span's digest when these bytes complete it.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) -> [UInt8]? {
        take(bytes)
        filled += Int64(bytes.count)
        guard filled >= length else { return nil }
        count += 1
        return digest()
    }

    /// The digest of a last, shorter span; nil when there is none.
    public mutating func finish() -> [UInt8]? { filled > 0 ? digest() : nil }

    /// XXH64 of some bytes.
    package static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = SpanHasher(length: .max)
        hasher.take(bytes)
        hasher.filled = Int64(bytes.count)
        return hasher.hash()
    }

    private mutating func take(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes[...]
        if !pending.isEmpty {
            let missing = rest.prefix(Self.laneBytes - pending.count)
            pending += missing
            rest = rest.dropFirst(missing.count)
            guard pending.count == Self.laneBytes else { return }
            let full = pending
            full.withUnsafeBytes { mix($0) }
            pending.removeAll(keepingCapacity: true)
        }
        let whole = rest.count / Self.laneBytes * Self.laneBytes
        mix(UnsafeRawBufferPointer(rebasing: rest.prefix(whole)))
        pending += rest.dropFirst(whole)
    }

    @inline(__always)
    private static func rotate(_ value: UInt64, _ bits: UInt64) -> UInt64 { value << bits | value >> (64 - bits) }

    @inline(__always)
    private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        rotate(lane &+ input &* prime2, 31) &* prime1
    }

    private mutating func mix(_ bytes: UnsafeRawBufferPointer) {
        var (one, two, three, four) = lanes
        func word(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        for at in stride(from: 0, to: bytes.count, by: Self.laneBytes) {
            one = Self.round(one, word(at))
            two = Self.round(two, word(at + 8))
            three = Self.round(three, word(at + 16))
            four = Self.round(four, word(at + 24))
        }
        lanes = (one, two, three, four)
    }

    private mutating func digest() -> [UInt8] {
        let hash = hash()
        (lanes, filled) = (Self.start, 0)
        pending.removeAll(keepingCapacity: true)
        return (0..<8).map { UInt8(truncatingIfNeeded: hash >> (56 - 8 * $0)) }
    }

    private borrowing func hash() -> UInt64 {
        var hash = Self.prime5
        if filled >= Int64(Self.laneBytes) {
            hash =
                Self.rotate(lanes.0, 1) &+ Self.rotate(lanes.1, 7) &+ Self.rotate(lanes.2, 12)
                &+ Self.rotate(lanes.3, 18)
            for lane in [lanes.0, lanes.1, lanes.2, lanes.3] {
                hash = (hash ^ Self.round(0, lane)) &* Self.prime1 &+ Self.prime4
            }
        }
        hash &+= UInt64(filled)
        var rest = pending[...]
        func little(_ count: Int) -> UInt64 {
            rest.prefix(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        while rest.count >= 8 {
            hash = Self.rotate(hash ^ Self.round(0, little(8)), 27) &* Self.prime1 &+ Self.prime4
            rest = rest.dropFirst(8)
        }
        if rest.count >= 4 {
            hash = Self.rotate(hash ^ (little(4) &* Self.prime1), 23) &* Self.prime2 &+ Self.prime3
            rest = rest.dropFirst(4)
        }
        for byte in rest { hash = Self.rotate(hash ^ (UInt64(byte) &* Self.prime5), 11) &* Self.prime1 }
        hash = (hash ^ hash >> 33) &* Self.prime2
        hash = (hash ^ hash >> 29) &* Self.prime3
        return hash ^ hash >> 32
    }
}
