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
        /// Aligned 32-bit distances from their own place: unwind entries, jump tables.
        case distances = 3
        /// Aligned 32-bit distances from the start of the unwind table's index.
        case index = 4
        /// Names and addresses of a symbol table.
        case symbols = 5
    }

    private let base: ExecutableLayout
    private let new: ExecutableLayout
    private let map: AddressMap
    private let low: Int64
    private let high: Int64
    private let targets: TargetMemory
    private let symbols: [MovedSymbols]
    /// Maps file offsets inside the tables of names.
    private let names: AddressMap

    /// Both layouts are of one machine.
    public init(
        base: ExecutableLayout, new: ExecutableLayout, map: AddressMap, symbols: [MovedSymbols], names: AddressMap, targets: TargetMemory
    ) {
        self.base = base
        self.new = new
        self.map = map
        self.targets = targets
        self.symbols = symbols
        self.names = names
        (low, high) = base.addressRange
        let reachable = new.addressRange
        targets.begin(low: reachable.low, high: reachable.high)
    }

    /// Where the thing at base address `address` most likely is now: as a reference to it has shown, else by the map.
    @inline(__always)
    private func target(of address: Int64) -> Int64 { targets.target(of: address) ?? map.target(of: address) }

    /// Predicts `count` bytes, in place. `block` points at base bytes; the ``DeltaFormat/blockContext`` bytes
    /// before it are readable (zero before the start of the file). Offsets are those of the block in each file.
    public func predict(
        _ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64, newOffset: Int64, mode: Mode
    ) {
        targets.clearSites()
        switch (mode, base.machine) {
        case (.none, _): return
        case (.absolute, _): predictAbsolute(block, count: count, baseOffset: baseOffset)
        case (.distances, _):
            predictDistances(block, count: count, baseOffset: baseOffset, newOffset: newOffset, from: nil)
        case (.index, _):
            predictDistances(
                block, count: count, baseOffset: baseOffset, newOffset: newOffset,
                from: (base.unwindIndex, new.unwindIndex))
        case (.symbols, _): predictSymbols(block, count: count, baseOffset: baseOffset)
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
            predictAddress(raw, index)
            index += 8
        }
    }

    /// `from` are the addresses the distances count from; without, each counts from its own place.
    private func predictDistances(
        _ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64, newOffset: Int64,
        from start: (base: Int64, new: Int64)?
    ) {
        var baseCursor = AddressCursor(base)
        var newCursor = AddressCursor(new)
        guard let address = baseCursor.address(of: baseOffset) else { return }
        let raw = UnsafeMutableRawPointer(block)
        var index = Int((4 - (address & 3)) & 3)
        while index + 4 <= count {
            let distance = Int64(Int32(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: Int32.self)))
            guard let from = start?.base ?? baseCursor.address(of: baseOffset + Int64(index)),
                let to = start?.new ?? newCursor.address(of: newOffset + Int64(index))
            else { return }
            let old = from + distance
            if distance != 0, old >= low, old < high {
                let moved = target(of: old)
                raw.storeBytes(
                    of: Int32(truncatingIfNeeded: moved - to).littleEndian, toByteOffset: index, as: Int32.self)
                targets.note(.distance, at: index, from: old, to: moved, origin: to)
            }
            index += 4
        }
    }

    /// Entries of 24 bytes: the name's offset first, the value at 8. A field that the block cuts is left alone.
    private func predictSymbols(_ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64) {
        guard let table = symbols.first(where: { baseOffset >= $0.base.offset && baseOffset < $0.base.offset + $0.base.size })
        else { return }
        let raw = UnsafeMutableRawPointer(block)
        let into = Int((baseOffset - table.base.offset) % SymbolTable.entryBytes)
        var entry = -into
        while entry < count {
            if entry >= 0, entry + 4 <= count {
                let name = Int64(UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: entry, as: UInt32.self)))
                if name > 0, name < table.base.namesSize {
                    let moved = names.target(of: table.base.names + name) - table.newNames
                    raw.storeBytes(
                        of: UInt32(truncatingIfNeeded: moved).littleEndian, toByteOffset: entry, as: UInt32.self)
                }
            }
            if entry + 8 >= 0, entry + 16 <= count { predictAddress(raw, entry + 8) }
            entry += Int(SymbolTable.entryBytes)
        }
    }

    @inline(__always)
    private func predictAddress(_ raw: UnsafeMutableRawPointer, _ index: Int) {
        let value = Int64(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: Int64.self))
        guard value >= low, value < high, value >= 0x1000 else { return }
        let moved = target(of: value)
        raw.storeBytes(of: moved.littleEndian, toByteOffset: index, as: Int64.self)
        targets.note(.absolute, at: index, from: value, to: moved, origin: 0)
    }

    // MARK: x86-64

    private func predictX86(
        _ block: UnsafeMutablePointer<UInt8>, count: Int, baseOffset: Int64, newOffset: Int64
    ) {
        var baseCursor = AddressCursor(base)
        var newCursor = AddressCursor(new)
        let raw = UnsafeMutableRawPointer(block)
        // Opcode bytes are looked at as they were in the base, so they are kept before they are rewritten.
        let context = DeltaFormat.blockContext
        let slack = X86Operand.stride
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: context + count + slack) { kept in
            guard let start = kept.baseAddress else { return }
            start.initialize(from: block - context, count: context + count)
            (start + context + count).initialize(repeating: 0, count: slack)
            let original = UnsafePointer(start + context)
            var index = 0
            while index + 4 <= count {
                guard let next = X86Operand.candidate(from: original + index) else {
                    index += X86Operand.stride
                    continue
                }
                index += next
                guard index + 4 <= count else { return }
                guard let tail = X86Operand.bytesAfter(original + index),
                    let from = baseCursor.address(of: baseOffset + Int64(index)),
                    let to = newCursor.address(of: newOffset + Int64(index))
                else {
                    index += 1
                    continue
                }
                let operand = Int32(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: Int32.self))
                let old = from + 4 + tail + Int64(operand)
                guard old >= low, old < high else {
                    index += 1
                    continue
                }
                let moved = target(of: old)
                let origin = to + 4 + tail
                raw.storeBytes(
                    of: Int32(truncatingIfNeeded: moved - origin).littleEndian, toByteOffset: index, as: Int32.self)
                targets.note(.distance, at: index, from: old, to: moved, origin: origin)
                index += 4
            }
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
        let old = from + distance
        guard old >= low, old < high else { return }
        let moved = target(of: old)
        let field = UInt32(truncatingIfNeeded: (moved - to) >> 2)
        raw.storeBytes(
            of: ((word & 0xFC00_0000) | (field & 0x03FF_FFFF)).littleEndian, toByteOffset: index, as: UInt32.self)
        targets.note(.branch, at: index, from: old, to: moved, origin: to)
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
        let old = (from & ~0xFFF) + pages * 4096 + low12
        guard old >= low, old < high + 4096 else { return }
        let moved = target(of: old)
        let movedPages = UInt32(truncatingIfNeeded: (moved >> 12) - (to >> 12))
        let page = (word & 0x9F00_001F) | (movedPages & 3) << 29 | ((movedPages >> 2) & 0x7FFFF) << 5
        raw.storeBytes(of: page.littleEndian, toByteOffset: index, as: UInt32.self)
        if let pair {
            let field = ((UInt32(truncatingIfNeeded: moved) & 0xFFF) >> pair.shift) << 10
            raw.storeBytes(
                of: ((pair.word & ~(0xFFF << 10)) | field).littleEndian, toByteOffset: pair.index, as: UInt32.self)
            targets.note(
                .page(pair: Int8(pair.index - index), shift: Int8(pair.shift)), at: index, from: old, to: moved, origin: to)
        }
    }
}
