/// Tells from the bytes before it whether four bytes of x86-64 code are an operand relative to the program counter.
///
/// No disassembly: the opcode maps are those of the processor manuals (Intel SDM volume 2, appendix A), looked at
/// backwards from a ModRM byte that says "relative".
enum X86Operand {
    /// Bytes before an operand that tell what it is: the longest prefix is EVEX with opcode and ModRM.
    static let lookBack = 6

    /// Positions that one ``candidate(from:)`` looks at.
    static let stride = 8

    /// The first of eight positions that may be an operand by the two bytes before it, nil when none may.
    @inline(__always)
    static func candidate(from position: UnsafePointer<UInt8>) -> Int? {
        let raw = UnsafeRawPointer(position)
        let last = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: -1, as: UInt64.self))
        let second = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: -2, as: UInt64.self))
        let relative = zeros((last & 0xC7C7_C7C7_C7C7_C7C7) ^ 0x0505_0505_0505_0505)
        let call = zeros((last & 0xFEFE_FEFE_FEFE_FEFE) ^ 0xE8E8_E8E8_E8E8_E8E8)
        let jump = zeros(
            ((last & 0xF0F0_F0F0_F0F0_F0F0) ^ 0x8080_8080_8080_8080) | (second ^ 0x0F0F_0F0F_0F0F_0F0F))
        let found = relative | call | jump
        return found == 0 ? nil : found.trailingZeroBitCount >> 3
    }

    /// A word whose lowest bit is in the lowest zero byte of `word`, 0 when it has none; bits above that one tell nothing.
    @inline(__always)
    private static func zeros(_ word: UInt64) -> UInt64 {
        (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080
    }

    /// Bytes of the instruction after the operand at `operand`, or nil when the bytes before it are no instruction that
    /// has one; ``lookBack`` bytes before it are readable.
    @inline(__always)
    static func bytesAfter(_ operand: UnsafePointer<UInt8>) -> Int64? {
        let last = operand[-1]
        if last & 0xC7 == 0x05 { return afterModRM(operand) }
        if last & 0xFE == 0xE8 { return 0 }
        return last & 0xF0 == 0x80 && operand[-2] == 0x0F ? 0 : nil
    }

    private static func afterModRM(_ operand: UnsafePointer<UInt8>) -> Int64? {
        let opcode = operand[-2]
        if operand[-3] == 0x0F { return afterTwoByteOpcode(opcode) }
        if operand[-4] == 0x0F {
            if operand[-3] == 0x38 { return 0 }
            if operand[-3] == 0x3A { return 1 }
        }
        if operand[-4] == 0xC5 { return afterTwoByteOpcode(opcode) }  // VEX, two bytes
        if operand[-5] == 0xC4, let after = after(map: operand[-4] & 0x1F, opcode) { return after }  // VEX, three bytes
        if operand[-6] == 0x62, let after = after(map: operand[-5] & 0x07, opcode) { return after }  // EVEX
        return afterOneByteOpcode(opcode, field: operand[-1] >> 3 & 7, hasShortOperands: operand[-3] == 0x66)
    }

    private static func after(map: UInt8, _ opcode: UInt8) -> Int64? {
        switch map {
        case 1: afterTwoByteOpcode(opcode)
        case 2: 0
        case 3: 1
        default: nil
        }
    }

    private static func afterTwoByteOpcode(_ opcode: UInt8) -> Int64 {
        switch opcode {
        case 0x70...0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4...0xC6: 1
        default: 0
        }
    }

    /// `field` is the register field of ModRM, which is part of some opcodes.
    private static func afterOneByteOpcode(_ opcode: UInt8, field: UInt8, hasShortOperands: Bool) -> Int64? {
        let immediate: Int64 = hasShortOperands ? 2 : 4
        switch opcode {
        case 0x01, 0x03, 0x08...0x0B, 0x10...0x13, 0x18...0x1B, 0x20...0x23, 0x28...0x2B, 0x30...0x33, 0x38...0x3B, 0x63,
            0x84...0x8B, 0x8D, 0x8F, 0xD0...0xD3, 0xD8...0xDF, 0xFE, 0xFF:
            return 0
        case 0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6: return 1
        case 0x69, 0x81, 0xC7: return immediate
        case 0xF6: return field < 2 ? 1 : 0
        case 0xF7: return field < 2 ? immediate : 0
        default: return nil
        }
    }
}
