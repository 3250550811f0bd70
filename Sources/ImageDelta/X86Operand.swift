/// Tells from the bytes before it whether four bytes of x86-64 code are an operand relative to the program counter.
///
/// No disassembly: the opcode maps are those of the processor manuals (Intel SDM volume 2, appendix A), looked at
/// backwards from a ModRM byte that says "relative".
enum X86Operand {
    /// Bytes before an operand that tell what it is: the longest prefix is EVEX with opcode and ModRM.
    static let lookBack = 6

    /// The last bytes of the base, the latest lowest.
    struct History {
        private var bytes: UInt64 = 0

        @inline(__always)
        init(before block: UnsafeMutablePointer<UInt8>) {
            for index in -DeltaFormat.blockContext..<0 { push(block[index]) }
        }

        @inline(__always)
        mutating func push(_ byte: UInt8) { bytes = bytes << 8 | UInt64(byte) }

        /// The byte `distance` before the operand, from 1.
        @inline(__always)
        subscript(distance: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: bytes >> (8 * (distance - 1))) }
    }

    /// Bytes of the instruction after the operand, or nil when the bytes before are no instruction that has one.
    @inline(__always)
    static func bytesAfter(_ before: History) -> Int64? {
        let last = before[1]
        if last & 0xC7 == 0x05 { return afterModRM(before) }
        if last & 0xFE == 0xE8 { return 0 }
        return last & 0xF0 == 0x80 && before[2] == 0x0F ? 0 : nil
    }

    private static func afterModRM(_ before: History) -> Int64? {
        let opcode = before[2]
        if before[3] == 0x0F { return afterTwoByteOpcode(opcode) }
        if before[4] == 0x0F {
            if before[3] == 0x38 { return 0 }
            if before[3] == 0x3A { return 1 }
        }
        if before[4] == 0xC5 { return afterTwoByteOpcode(opcode) }  // VEX, two bytes
        if before[5] == 0xC4, let after = after(map: before[4] & 0x1F, opcode) { return after }  // VEX, three bytes
        if before[6] == 0x62, let after = after(map: before[5] & 0x07, opcode) { return after }  // EVEX
        return afterOneByteOpcode(opcode, field: before[1] >> 3 & 7, hasShortOperands: before[3] == 0x66)
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
