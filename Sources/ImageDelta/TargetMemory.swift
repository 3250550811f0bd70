/// Where things went, as corrected references have shown: when a reference to an address was predicted wrongly,
/// the next one to the same address is predicted as this one turned out.
///
/// It forgets all at the start of every predicted file and of every chapter, so that work can be taken up at a
/// chapter without the base. A fixed table; what falls on a taken slot takes it over.
///
/// Unchecked Sendable: one session or one encoder owns it, and neither is used by two threads at once.
public final class TargetMemory: @unchecked Sendable {
    /// Slots of the table, as a power of two.
    public static let slotBits = 15

    enum Form {
        /// An address in eight bytes.
        case absolute
        /// 32 bits of distance from `origin`.
        case distance
        /// 26 bits of distance from `origin` in words.
        case branch
        /// A page in `adrp` at the site, and the rest in the instruction `pair` bytes after it.
        case page(pair: Int8, shift: Int8)
    }

    private struct Site {
        var form: Form
        var index: Int32
        var old: Int64
        var predicted: Int64
        var origin: Int64
    }

    private struct Slot {
        var old: Int64 = -1
        var new: Int64 = 0
    }

    /// Made when the first file begins.
    private var slots: UnsafeMutablePointer<Slot>?
    private var taken: [Int] = []
    /// A bit for each slot that is taken: most addresses are asked for in vain, and these bits stay in the fastest cache.
    private let isTaken: UnsafeMutablePointer<UInt64>
    /// References of the block under way, in order. A block holds at most one in four bytes.
    private let sites: UnsafeMutablePointer<Site>
    private static let siteLimit = DeltaFormat.blockBytes / 4
    private var siteCount = 0
    private var low: Int64 = 0
    private var high: Int64 = 0

    public init() {
        sites = .allocate(capacity: Self.siteLimit)
        isTaken = .allocate(capacity: 1 << Self.slotBits / 64)
        isTaken.initialize(repeating: 0, count: 1 << Self.slotBits / 64)
    }

    deinit {
        slots?.deallocate()
        sites.deallocate()
        isTaken.deallocate()
    }

    /// Starts a file whose addresses lie in low..<high.
    func begin(low: Int64, high: Int64) {
        (self.low, self.high) = (low, high)
        if slots == nil {
            let made = UnsafeMutablePointer<Slot>.allocate(capacity: 1 << Self.slotBits)
            made.initialize(repeating: Slot(), count: 1 << Self.slotBits)
            slots = made
        }
        forget()
    }

    public func forget() {
        for slot in taken {
            slots?[slot] = Slot()
            isTaken[slot >> 6] = 0
        }
        taken.removeAll(keepingCapacity: true)
        siteCount = 0
    }

    @inline(__always)
    private static func slot(_ old: Int64) -> Int {
        Int((UInt64(bitPattern: old) &* 0x9E37_79B9_7F4A_7C15) >> UInt64(64 - slotBits))
    }

    @inline(__always)
    func target(of old: Int64) -> Int64? {
        let number = Self.slot(old)
        guard isTaken[number >> 6] &>> UInt64(number & 63) & 1 != 0, let slot = slots?[number] else { return nil }
        return slot.old == old ? slot.new : nil
    }

    func clearSites() { siteCount = 0 }

    @inline(__always)
    func note(_ form: Form, at index: Int, from old: Int64, to predicted: Int64, origin: Int64) {
        guard siteCount < Self.siteLimit else { return }
        (sites + siteCount).initialize(
            to: Site(
                form: form, index: Int32(truncatingIfNeeded: index), old: old, predicted: predicted, origin: origin))
        siteCount += 1
    }

    /// Takes in what the references of the block just predicted turned out to be; `block` holds its corrected bytes.
    public func learn(from block: UnsafePointer<UInt8>) {
        guard let slots else { return }
        let raw = UnsafeRawPointer(block)
        for number in 0..<siteCount {
            let site = sites[number]
            guard let actual = Self.actual(site, raw), actual != site.predicted, actual >= low, actual < high else {
                continue
            }
            let slot = Self.slot(site.old)
            if slots[slot].old == -1 {
                taken.append(slot)
                isTaken[slot >> 6] |= 1 << UInt64(slot & 63)
            }
            slots[slot] = Slot(old: site.old, new: actual)
        }
    }

    /// The address that a site refers to in the new file, nil when it is no reference any more. What a form cannot
    /// tell (the low bits of a scaled field) is as predicted.
    private static func actual(_ site: Site, _ raw: UnsafeRawPointer) -> Int64? {
        func word(_ index: Int) -> UInt32 {
            UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: UInt32.self))
        }
        switch site.form {
        case .absolute:
            return Int64(littleEndian: raw.loadUnaligned(fromByteOffset: Int(site.index), as: Int64.self))
        case .distance:
            return site.origin + Int64(Int32(bitPattern: word(Int(site.index))))
        case .branch:
            let word = word(Int(site.index))
            guard word & 0x7C00_0000 == 0x1400_0000 else { return nil }
            return site.origin + Int64(Int32(bitPattern: word << 6) >> 6) * 4
        case .page(let pair, let shift):
            let page = word(Int(site.index))
            guard page & 0x9F00_0000 == 0x9000_0000 else { return nil }
            let immediate = ((page >> 5) & 0x7FFFF) << 2 | (page >> 29) & 3
            let pages = Int64(Int32(bitPattern: immediate << 11) >> 11)
            let field = Int64((word(Int(site.index) + Int(pair)) >> 10) & 0xFFF) << Int64(shift)
            return (site.origin & ~0xFFF) + pages * 4096 + field + (site.predicted & ((1 << Int64(shift)) - 1))
        }
    }
}
