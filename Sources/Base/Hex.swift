/// Lowercase hexadecimal.
public enum Hex {
    private static let digits: [UInt8] = Array("0123456789abcdef".utf8)

    public static func encode(_ bytes: some Sequence<UInt8>) -> String {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.underestimatedCount * 2)
        for byte in bytes {
            output.append(digits[Int(byte >> 4)])
            output.append(digits[Int(byte & 15)])
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for an odd length or a character that is no hex digit. Both cases are read.
    public static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var text = String(text)
        return text.withUTF8 { decode(utf8: $0) }
    }

    /// The same from the text's bytes.
    public static func decode(utf8 text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        guard text.count.isMultiple(of: 2) else { return nil }
        // Every digit is below 16: a bit above tells that one was none.
        var seen: UInt8 = 0
        let output = [UInt8](unsafeUninitializedCapacity: text.count / 2) { output, count in
            for index in 0..<text.count / 2 {
                let (high, low) = (nibble(text[2 * index]), nibble(text[2 * index + 1]))
                seen |= high | low
                output[index] = high << 4 | (low & 15)
            }
            count = text.count / 2
        }
        return seen < 16 ? output : nil
    }

    /// 255 for what is no digit.
    private static func nibble(_ character: UInt8) -> UInt8 {
        let digit = character &- 0x30
        if digit < 10 { return digit }
        let letter = (character | 0x20) &- 0x61
        return letter < 6 ? letter + 10 : 255
    }
}
