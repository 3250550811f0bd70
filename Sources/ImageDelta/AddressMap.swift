/// Maps addresses of the base executable to addresses of the new one.
public struct AddressMap: Sendable, Equatable {
    /// `length` bytes at base address `base` went to address `target`.
    public struct Entry: Sendable, Equatable {
        public var base: Int64
        public var target: Int64
        public var length: Int64

        public init(base: Int64, target: Int64, length: Int64) {
            self.base = base
            self.target = target
            self.length = length
        }
    }

    public private(set) var entries: [Entry]
    /// How many entries lie before each of many equal stretches of addresses, so that a look-up goes through few.
    private var stretches: [UInt32] = []
    /// Bytes of a stretch, as a power of two.
    private var stretchBits: Int64 = 0

    /// Sorts the entries by base address, longer first, then by target, and drops one that lies wholly
    /// inside a longer one before it.
    public init(_ unsorted: consuming [Entry]) {
        entries = unsorted
        entries.sort {
            if $0.base != $1.base { return $0.base < $1.base }
            if $0.length != $1.length { return $0.length > $1.length }
            return $0.target < $1.target
        }
        // In place: the map of a large executable is the largest thing an apply holds.
        var kept = 0
        for index in entries.indices {
            let entry = entries[index]
            if kept > 0 {
                let last = entries[kept - 1]
                if last.base + last.length >= entry.base + entry.length, last.length > entry.length { continue }
            }
            entries[kept] = entry
            kept += 1
        }
        entries.removeSubrange(kept...)
        makeStretches()
    }

    /// About as many stretches as entries.
    private mutating func makeStretches() {
        guard let first = entries.first, let last = entries.last else { return }
        let range = last.base - first.base
        while range >> stretchBits > Int64(entries.count) { stretchBits += 1 }
        stretches.reserveCapacity(Int(range >> stretchBits) + 2)
        for (number, entry) in entries.enumerated() {
            let stretch = Int((entry.base - first.base) >> stretchBits)
            while stretches.count <= stretch { stretches.append(UInt32(number)) }
        }
        stretches.append(UInt32(entries.count))
    }

    /// How many entries have a base that is not above `address`.
    @inline(__always)
    private func count(upTo address: Int64, _ entries: UnsafeBufferPointer<Entry>) -> Int {
        let first = entries[0].base
        guard address >= first else { return 0 }
        let stretch = (address - first) >> stretchBits
        guard stretch + 1 < stretches.count else { return entries.count }
        var low = Int(stretches[Int(stretch)])
        var high = Int(stretches[Int(stretch) + 1])
        while low < high {
            let middle = (low + high) >> 1
            if entries[middle].base > address { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// The entries that covers of a file imply: each cover of at least ``DeltaFormat/addressMapCoverBytes``,
    /// cut at the segment borders of both files, where both sides lie in a segment.
    public static func entries(
        coverLength: Int64, baseOffset: Int64, newOffset: Int64, base: ExecutableLayout, new: ExecutableLayout,
        into output: inout [Entry]
    ) {
        guard coverLength >= Int64(DeltaFormat.addressMapCoverBytes) else { return }
        var done: Int64 = 0
        while done < coverLength {
            let from = baseOffset + done
            let to = newOffset + done
            let length = min(
                coverLength - done, base.distanceToBorder(from: from), new.distanceToBorder(from: to))
            if let old = base.segment(holding: from), let fresh = new.segment(holding: to) {
                output.append(
                    Entry(
                        base: from - base.segments[old].fileOffset + base.segments[old].address,
                        target: to - new.segments[fresh].fileOffset + new.segments[fresh].address, length: length))
            }
            done += length
        }
    }

    /// The entry, in file offsets, that a cover implies when it touches a table of names.
    public static func nameEntries(
        coverLength: Int64, baseOffset: Int64, newOffset: Int64, symbols: [MovedSymbols], into output: inout [Entry]
    ) {
        guard coverLength > 0 else { return }
        let end = baseOffset + coverLength
        let touches = symbols.contains { baseOffset < $0.base.names + $0.base.namesSize && end > $0.base.names }
        if touches { output.append(Entry(base: baseOffset, target: newOffset, length: coverLength)) }
    }

    /// Where the thing at base address `address` most likely is now.
    @inline(__always)
    func target(of address: Int64) -> Int64 {
        entries.withUnsafeBufferPointer { entries in
            guard entries.count > 0 else { return address }
            let low = count(upTo: address, entries)
            // Of overlapping entries the nearest of the last eight that holds the address counts.
            var index = low
            var looked = 0
            while looked < 8, index > 0 {
                index -= 1
                looked += 1
                let entry = entries[index]
                if address < entry.base + entry.length { return entry.target + (address - entry.base) }
            }
            guard low > 0 else { return entries[0].target - (entries[0].base - address) }
            let before = entries[low - 1]
            if low < entries.count {
                let after = entries[low]
                if after.base - address < address - (before.base + before.length - 1) {
                    return after.target - (after.base - address)
                }
            }
            return before.target + (address - before.base)
        }
    }
}
