/// The gear rolling hash: each byte shifts the hash left and adds a random word, so the top bits depend
/// on the last 32 or 64 bytes.
enum Gear {
    /// 256 words of a fixed xorshift sequence, so that every run makes the same delta.
    static let table: [UInt64] = {
        var state: UInt64 = 88_172_645_463_325_252
        return (0..<256).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state &* 0x9E37_79B9_7F4A_7C15
        }
    }()
}

/// A small set of chunk hashes that two alike contents share.
enum Sketch {
    /// Hashes kept per content.
    static let size = 64
    /// Contents below this are too short to tell.
    static let shortest: Int64 = 512

    /// The smallest hashes of content-defined chunks, ascending, without repeats.
    static func make(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt64] {
        guard let start = bytes.baseAddress else { return [] }
        let mask: UInt64 = bytes.count > 1 << 20 ? 1023 : bytes.count > 1 << 16 ? 255 : 63
        let longest = 8 * Int(mask)
        var hashes: [UInt64] = []
        var hash: UInt64 = 0
        var from = 0
        Gear.table.withUnsafeBufferPointer { gear in
            for index in 0..<bytes.count {
                hash = (hash << 1) &+ gear[Int(start[index])]
                if (hash >> 40) & mask == mask || index - from >= longest || index + 1 == bytes.count {
                    if index - from >= 15 { hashes.append(fold(start + from, index + 1 - from)) }
                    from = index + 1
                }
            }
        }
        hashes.sort()
        var unique: [UInt64] = []
        for value in hashes where unique.last != value {
            unique.append(value)
            if unique.count == size { break }
        }
        return unique
    }

    /// A 64-bit hash in the manner of FNV-1a, eight bytes at a time.
    private static func fold(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt64 {
        var hash: UInt64 = 1_469_598_103_934_665_603
        var index = 0
        let raw = UnsafeRawPointer(bytes)
        while index + 8 <= count {
            hash = (hash ^ raw.loadUnaligned(fromByteOffset: index, as: UInt64.self)) &* 0x9E37_79B9_7F4A_7C15
            hash ^= hash >> 29
            index += 8
        }
        while index < count {
            hash = (hash ^ UInt64(bytes[index])) &* 1_099_511_628_211
            index += 1
        }
        return hash ^ (hash >> 31)
    }
}
