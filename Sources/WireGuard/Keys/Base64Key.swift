/// Base64 of 32 bytes, computed without tables or branches on the data, so that neither cache nor time tell a key.
enum Base64Key {
    /// 43 characters and one `=`.
    static let characterCount = 44
    static let byteCount = 32

    /// Writes ``characterCount`` characters.
    static func encode(_ bytes: UnsafeRawBufferPointer, into output: inout [UInt8]) {
        precondition(bytes.count == byteCount)
        for group in 0..<11 {
            let first = UInt32(bytes[group * 3])
            let second = group == 10 ? UInt32(bytes[31]) : UInt32(bytes[group * 3 + 1])
            let third = group == 10 ? 0 : UInt32(bytes[group * 3 + 2])
            let word = first << 16 | second << 8 | third
            output.append(character(word >> 18 & 63))
            output.append(character(word >> 12 & 63))
            output.append(character(word >> 6 & 63))
            output.append(group == 10 ? 0x3D : character(word & 63))
        }
    }

    /// Fills 32 bytes; false unless `text` is the canonical form (its last two bits zero).
    static func decode(_ text: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        guard text.count == characterCount, output.count == byteCount, text[43] == 0x3D else { return false }
        var bad: Int32 = 0
        for group in 0..<11 {
            let last = group == 10
            let a = value(text[group * 4])
            let b = value(text[group * 4 + 1])
            let c = value(text[group * 4 + 2])
            let d = last ? 0 : value(text[group * 4 + 3])
            bad |= a | b | c | d
            let word = UInt32(truncatingIfNeeded: a << 18 | b << 12 | c << 6 | d)
            output[group * 3] = UInt8(truncatingIfNeeded: word >> 16)
            output[group * 3 + 1] = UInt8(truncatingIfNeeded: word >> 8)
            if last {
                bad |= -Int32(truncatingIfNeeded: word & 0xFF)
            } else {
                output[group * 3 + 2] = UInt8(truncatingIfNeeded: word)
            }
        }
        return bad >= 0
    }

    private static func character(_ value: UInt32) -> UInt8 {
        let v = Int32(value)
        // Each term is the distance to the next range of the alphabet, masked in once v has passed its bound.
        var code = v + 0x41
        code += ((25 - v) >> 31) & 6
        code -= ((51 - v) >> 31) & 75
        code -= ((61 - v) >> 31) & 15
        code += ((62 - v) >> 31) & 3
        return UInt8(truncatingIfNeeded: code)
    }

    /// 0...63, or negative for a character outside the alphabet.
    private static func value(_ character: UInt8) -> Int32 {
        let c = Int32(character)
        func within(_ low: Int32, _ high: Int32) -> Int32 { ((low - 1 - c) & (c - high - 1)) >> 31 }
        var result: Int32 = -1
        result += within(0x41, 0x5A) & (c - 0x41 + 1)
        result += within(0x61, 0x7A) & (c - 0x61 + 27)
        result += within(0x30, 0x39) & (c - 0x30 + 53)
        result += within(0x2B, 0x2B) & 63
        result += within(0x2F, 0x2F) & 64
        return result
    }
}

/// Lowercase hex of key bytes, as the UAPI text has it, without tables or branches on the data.
enum HexKey {
    static let characterCount = 64

    static func encode(_ bytes: UnsafeRawBufferPointer, into output: inout [UInt8]) {
        for byte in bytes {
            output.append(digit(byte >> 4))
            output.append(digit(byte & 15))
        }
    }

    static func decode(_ text: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        guard text.count == characterCount, output.count == Base64Key.byteCount else { return false }
        var bad: Int32 = 0
        for index in 0..<Base64Key.byteCount {
            let high = value(text[index * 2])
            let low = value(text[index * 2 + 1])
            bad |= high | low
            output[index] = UInt8(truncatingIfNeeded: high << 4 | low)
        }
        return bad >= 0
    }

    private static func digit(_ nibble: UInt8) -> UInt8 {
        let v = Int32(nibble)
        return UInt8(truncatingIfNeeded: v + 0x30 + (((9 - v) >> 31) & 39))
    }

    private static func value(_ character: UInt8) -> Int32 {
        let c = Int32(character)
        func within(_ low: Int32, _ high: Int32) -> Int32 { ((low - 1 - c) & (c - high - 1)) >> 31 }
        var result: Int32 = -1
        result += within(0x30, 0x39) & (c - 0x30 + 1)
        result += within(0x61, 0x66) & (c - 0x61 + 11)
        result += within(0x41, 0x46) & (c - 0x41 + 11)
        return result
    }
}
