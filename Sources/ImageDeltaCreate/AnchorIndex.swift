import ImageDelta

/// Finds bytes of the new stream anywhere in the base: 32-byte anchors, sampled by their own hash.
///
/// It serves what member matching leaves over: moved text, split and joined files, bundles.
final class AnchorIndex {
    private struct Slot {
        var tag: UInt32
        var position: UInt32
    }

    private static let anchorBytes = 32
    /// A cover must bring this much to be worth a jump.
    private static let shortest = 64
    /// Slots of eight bytes each.
    private static let largestTableBits = 24
    private static let empty = UInt32.max
    /// Bytes of a file that are scanned before its pages are counted again.
    private static let pieceBytes = 1 << 20
    /// The upper halves of the gear's words.
    private static let gear: [UInt32] = Gear.table.map { UInt32(truncatingIfNeeded: $0 >> 32) }

    private let space: BaseSpace
    private let table: UnsafeMutablePointer<Slot>
    private let tableBits: UInt64
    /// An anchor is kept when this many top bits of its hash are zero.
    private let sampleBits: UInt32

    init(_ space: BaseSpace, effort: Effort) {
        self.space = space
        // Each anchor is a look at a table far larger than any cache, which is what most of the time goes into.
        var sampleBits: UInt32 = effort.sortsSuffixes ? 4 : 6
        while space.size >> Int64(sampleBits) > 1 << Int64(Self.largestTableBits - 1) { sampleBits += 1 }
        var bits = 12
        while bits < Self.largestTableBits, 1 << Int64(bits) < (space.size >> Int64(sampleBits)) * 2 { bits += 1 }
        self.sampleBits = sampleBits
        tableBits = UInt64(bits)
        table = .allocate(capacity: 1 << bits)
        table.initialize(repeating: Slot(tag: 0, position: Self.empty), count: 1 << bits)
        for (file, start) in zip(space.files, space.starts) { index(file, start: start) }
    }

    deinit { table.deallocate() }

    @inline(__always)
    private func slot(_ hash: UInt32) -> Int {
        Int((UInt64(hash) &* 0x9E37_79B9_7F4A_7C15) >> (64 - tableBits))
    }

    @inline(__always)
    private func isSampled(_ hash: UInt32) -> Bool { hash < 1 << (32 - sampleBits) }

    private func index(_ file: MappedFile, start: Int64) {
        // Positions are kept in 32 bits: of a base above 4 GiB the rest is reached by member matches only.
        let count = Int(max(0, min(Int64(file.count), Int64(Self.empty) - start)))
        var hash: UInt32 = 0
        var last: UInt32 = 0
        for from in stride(from: 0, to: count, by: Self.pieceBytes) {
            let piece = file.slice(Int64(from), Int64(min(Self.pieceBytes, count - from)))
            // The first anchors of a file would have bytes of nothing in their hash.
            let first = max(0, Self.anchorBytes - 1 - from)
            scan(piece, &hash) { at, hash in
                guard at >= first, hash != last else { return }
                last = hash
                let place = slot(hash)
                if table[place].position == Self.empty {
                    table[place] = Slot(tag: hash, position: UInt32(Int64(from + at) + start))
                }
            }
        }
    }

    /// Rolls the hash over some bytes and tells of every place where it is sampled. All bytes of the base come
    /// through here, so the loop has nothing in it that is not needed.
    @inline(__always)
    private func scan(_ bytes: UnsafeBufferPointer<UInt8>, _ hash: inout UInt32, _ found: (Int, UInt32) -> Void) {
        guard let start = bytes.baseAddress else { return }
        let limit: UInt32 = 1 << (32 - sampleBits)
        let count = bytes.count
        var rolling = hash
        Self.gear.withUnsafeBufferPointer { gear in
            guard let gear = gear.baseAddress else { return }
            var at = 0
            while at < count {
                rolling = (rolling &<< 1) &+ gear[Int(start[at])]
                if rolling < limit { found(at, rolling) }
                at &+= 1
            }
        }
        hash = rolling
    }

    /// Covers for the gap `start..<end` of the new stream.
    func covers(of new: MappedFile, start: Int64, end: Int64) -> [PlannedCover] {
        guard end - start >= Int64(Self.shortest),
            let bytes = new.bytes.assumingMemoryBound(to: UInt8.self).baseAddress
        else { return [] }
        var found: [PlannedCover] = []
        var from = Int(start)
        var hash: UInt32 = 0
        var at = Int(start)
        var seen = 0
        Gear.table.withUnsafeBufferPointer { gear in
            while at < Int(end) {
                hash = (hash << 1) &+ UInt32(truncatingIfNeeded: gear[Int(bytes[at])] >> 32)
                seen += 1
                at += 1
                guard seen >= Self.anchorBytes, isSampled(hash) else { continue }
                let slot = table[slot(hash)]
                guard slot.tag == hash, slot.position != Self.empty,
                    let cover = extend(
                        bytes, at: at - Self.anchorBytes, from: from, end: Int(end), position: Int64(slot.position))
                else { continue }
                found.append(cover)
                from = Int(cover.newEnd)
                at = from
                hash = 0
                seen = 0
            }
        }
        return found
    }

    /// Extends an anchor at `at`, whose last byte in the base is at `position`, both ways.
    private func extend(
        _ bytes: UnsafePointer<UInt8>, at: Int, from: Int, end: Int, position: Int64
    ) -> PlannedCover? {
        let layer = space.layer(holding: position)
        let file = space.files[layer]
        let local = Int(position - space.starts[layer]) - (Self.anchorBytes - 1)
        guard local >= 0, let base = file.bytes.assumingMemoryBound(to: UInt8.self).baseAddress else { return nil }
        let forward = commonPrefix(bytes + at, end - at, base + local, file.count - local)
        guard forward >= Self.anchorBytes else { return nil }
        var backward = 0
        while at - backward > from, local - backward > 0, bytes[at - backward - 1] == base[local - backward - 1] {
            backward += 1
        }
        guard forward + backward >= Self.shortest else { return nil }
        return PlannedCover(
            new: Int64(at - backward), base: space.starts[layer] + Int64(local - backward),
            length: Int64(forward + backward), special: nil)
    }
}
