/// Rewrites the references in a block of a base executable to what they most likely are in the new one.
///
/// Encoder and decoder run the same code on the same input: base bytes, two segment tables and the
/// address map. It disassembles nothing; a wrong guess only costs a few difference bytes.
public struct ReferencePredictor: Sendable {
    public enum Mode: UInt8, Sendable, CaseIterable {
        case none = 0
        /// Operands relative to the program counter.
        case relative = 1
        /// Aligned 64-bit addresses.
        case absolute = 2
    }

    private let base: ExecutableLayout
    private let new: ExecutableLayout
    private let map: AddressMap
    private let low: Int64
    private let high: Int64

    /// Both layouts are of one machine.
    public init(base: ExecutableLayout, new: ExecutableLayout, map: AddressMap) {
        self.base = base
        self.new = new
        self.map = map
        var low = Int64.max
        var high: Int64 = 0
        for segment in base.segments {
            low = min(low, segment.address)
            high = max(high, segment.address + segment.memorySize)
        }
        self.low = low
        self.high = high
    }

    /// Predicts `count` bytes, in place. `block` points at base bytes; the ``DeltaFormat/blockContext`` bytes
    /// before it are readable (zero before the start of the file). Offsets are those of the block in each file.
    public func predict(
        _ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64, newOffset: Int64, mode: Mode
    ) {
        switch (mode, base.machine) {
        case (.none, _): return
        case (.absolute, _): predictAbsolute(block, count: count, baseOffset: baseOffset)
        case (.relative, .x86_64): predictX86(block, count: count, baseOffset: baseOffset, newOffset: newOffset)
        case (.relative, .aarch64): predictARM(block, count: count, baseOffset: baseOffset, newOffset: newOffset)
        }
    }

    /// Keeps the segment that held the last offset, so that a block looks it up about once.
    private struct AddressCursor {
        let layout: ExecutableLayout
        var start: Int64 = 0
        var end: Int64 = 0
        var shift: Int64 = 0

        init(_ layout: ExecutableLayout) { self.layout = layout }

        @inline(__always)
        mutating func address(of offset: Int64) -> Int64? {
            if offset >= start, offset < end { return offset + shift }
            guard let index = layout.segment(holding: offset) else { return nil }
            let segment = layout.segments[index]
            // An earlier segment of the table may overlap this one; then nothing is kept.
            let only = layout.segments.allSatisfy {
                $0 == segment || $0.fileEnd <= segment.fileOffset || $0.fileOffset >= segment.fileEnd
            }
            shift = segment.address - segment.fileOffset
            start = only ? segment.fileOffset : offset
            end = only ? segment.fileEnd : offset + 1
            return offset + shift
        }
    }

    private func predictAbsolute(_ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64) {
        var cursor = AddressCursor(base)
        guard let address = cursor.address(of: baseOffset) else { return }
        let raw = UnsafeMutableRawPointer(block)
        var index = Int((8 - (address & 7)) & 7)
        while index + 8 <= count {
            let value = Int64(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: Int64.self))
            if value >= low, value < high, value >= 0x1000 {
                raw.storeBytes(of: map.target(of: value).littleEndian, toByteOffset: index, as: Int64.self)
            }
            index += 8
        }
    }

    // MARK: x86-64

    /// Bytes of immediate operand after a four-byte displacement whose three bytes before are given,
    /// or nil when those bytes are no instruction that has one.
    @inline(__always)
    private static func x86Tail(_ b3: UInt8, _ b2: UInt8, _ b1: UInt8) -> Int64? {
        if b1 == 0xE8 || b1 == 0xE9 { return 0 }
        if b1 & 0xF0 == 0x80, b2 == 0x0F { return 0 }
        guard b1 & 0xC7 == 0x05 else { return nil }
        switch b2 {
        case 0x8D, 0x8B, 0x89, 0x3B, 0x39, 0x03, 0x2B, 0x63, 0x88, 0x8A, 0xFF, 0x85, 0x33, 0x0B, 0x23, 0x38, 0x3A,
            0x01, 0x29, 0x87, 0xF7:
            return 0
        case 0x83, 0x80, 0xC6, 0xF6: return 1
        case 0xC7, 0x81: return 4
        default: return b3 == 0x0F ? 0 : nil
        }
    }

    private func predictX86(
        _ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64, newOffset: Int64
    ) {
        var baseCursor = AddressCursor(base)
        var newCursor = AddressCursor(new)
        let raw = UnsafeMutableRawPointer(block)
        // Opcode bytes are looked at as they were in the base, so they are kept before they are rewritten.
        var b3 = block[-3]
        var b2 = block[-2]
        var b1 = block[-1]
        var index = 0
        while index + 4 <= count {
            if let tail = Self.x86Tail(b3, b2, b1),
                let from = baseCursor.address(of: baseOffset + Int64(index)),
                let to = newCursor.address(of: newOffset + Int64(index))
            {
                let operand = Int32(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: Int32.self))
                let target = from + 4 + tail + Int64(operand)
                if target >= low, target < high {
                    b3 = block[index + 1]
                    b2 = block[index + 2]
                    b1 = block[index + 3]
                    let moved = Int32(truncatingIfNeeded: map.target(of: target) - (to + 4 + tail))
                    raw.storeBytes(of: moved.littleEndian, toByteOffset: index, as: Int32.self)
                    index += 4
                    continue
                }
            }
            b3 = b2
            b2 = b1
            b1 = block[index]
            index += 1
        }
    }

    // MARK: aarch64

    private func predictARM(
        _ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64, newOffset: Int64
    ) {
        var baseCursor = AddressCursor(base)
        var newCursor = AddressCursor(new)
        let raw = UnsafeMutableRawPointer(block)
        var index = Int((4 - (baseOffset & 3)) & 3)
        guard (newOffset + Int64(index)) & 3 == 0 else { return }
        while index + 4 <= count {
            let word = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: UInt32.self))
            let isBranch = word & 0x7C00_0000 == 0x1400_0000
            let isPage = word & 0x9F00_0000 == 0x9000_0000
            if isBranch || isPage {
                guard let from = baseCursor.address(of: baseOffset + Int64(index)),
                    let to = newCursor.address(of: newOffset + Int64(index))
                else { return }
                if isBranch {
                    predictBranch(raw, index, word, from: from, to: to)
                } else {
                    predictPage(raw, index, word, count: count, from: from, to: to)
                }
            }
            index += 4
        }
    }

    /// `b` and `bl`: 26 bits of signed word distance.
    private func predictBranch(_ raw: UnsafeMutableRawPointer, _ index: Int, _ word: UInt32, from: Int64, to: Int64) {
        let distance = Int64(Int32(bitPattern: word << 6) >> 6) * 4
        let target = from + distance
        guard target >= low, target < high else { return }
        let moved = UInt32(truncatingIfNeeded: (map.target(of: target) - to) >> 2)
        raw.storeBytes(
            of: ((word & 0xFC00_0000) | (moved & 0x03FF_FFFF)).littleEndian, toByteOffset: index, as: UInt32.self)
    }

    /// `adrp` and the `add`, load or store within six instructions that uses its register as base.
    private func predictPage(
        _ raw: UnsafeMutableRawPointer, _ index: Int, _ word: UInt32, count: Int, from: Int64, to: Int64
    ) {
        let register = word & 31
        let immediate = ((word >> 5) & 0x7FFFF) << 2 | (word >> 29) & 3
        let pages = Int64(Int32(bitPattern: immediate << 11) >> 11)
        var low12: Int64 = 0
        var pair: (index: Int, word: UInt32, shift: UInt32)?
        var step = 1
        while step <= 6, index + 4 * step + 4 <= count {
            let at = index + 4 * step
            let next = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: at, as: UInt32.self))
            step += 1
            guard (next >> 5) & 31 == register else { continue }
            let field = Int64((next >> 10) & 0xFFF)
            if next & 0xFFC0_0000 == 0x9100_0000 {
                low12 = field
                pair = (at, next, 0)
                break
            }
            if next & 0x3B00_0000 == 0x3900_0000 {
                var shift = next >> 30
                if (next >> 26) & 1 == 1, (next >> 23) & 1 == 1, shift == 0 { shift = 4 }
                low12 = field << Int64(shift)
                pair = (at, next, shift)
                break
            }
        }
        let target = (from & ~0xFFF) + pages * 4096 + low12
        guard target >= low, target < high + 4096 else { return }
        let moved = map.target(of: target)
        let movedPages = UInt32(truncatingIfNeeded: (moved >> 12) - (to >> 12))
        let page = (word & 0x9F00_001F) | (movedPages & 3) << 29 | ((movedPages >> 2) & 0x7FFFF) << 5
        raw.storeBytes(of: page.littleEndian, toByteOffset: index, as: UInt32.self)
        if let pair {
            let field = ((UInt32(truncatingIfNeeded: moved) & 0xFFF) >> pair.shift) << 10
            raw.storeBytes(
                of: ((pair.word & ~(0xFFF << 10)) | field).littleEndian, toByteOffset: pair.index, as: UInt32.self)
        }
    }
}
