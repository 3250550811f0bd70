/// RFC 4648 base64, strict: one text for one value, nothing outside the alphabet, no bits left over.
///
/// For texts that are no secrets; keys have their own reader, whose time does not depend on them.
public enum Base64 {
    public enum Variant: Sendable {
        /// Section 4: `+` and `/`, padded with `=`.
        case standard
        /// Section 5 without padding, as RFC 7515 (JWS) has it: `-` and `_`.
        case url
    }

    public static func encode(_ bytes: some Collection<UInt8>, _ variant: Variant = .standard) -> String {
        let input = Array(bytes)
        let alphabet = variant == .standard ? standard : url
        var output: [UInt8] = []
        output.reserveCapacity((input.count + 2) / 3 * 4)
        for start in stride(from: 0, to: input.count, by: 3) {
            let count = min(3, input.count - start)
            var bits: UInt32 = 0
            for offset in 0..<3 { bits = bits << 8 | (offset < count ? UInt32(input[start + offset]) : 0) }
            for place in 0...count { output.append(alphabet[Int(bits >> UInt32(18 - 6 * place)) & 63]) }
            if variant == .standard { for _ in count..<3 { output.append(0x3D) } }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for any text that ``encode(_:_:)`` of the same variant would not write.
    public static func decode(_ text: some StringProtocol, _ variant: Variant = .standard) -> [UInt8]? {
        var characters = Array(text.utf8)
        if variant == .standard {
            guard characters.count.isMultiple(of: 4) else { return nil }
            var padding = 0
            while padding < 2, characters.last == 0x3D {
                characters.removeLast()
                padding += 1
            }
        }
        guard characters.count % 4 != 1 else { return nil }
        var output: [UInt8] = []
        output.reserveCapacity(characters.count * 3 / 4)
        var (bits, count) = (UInt32(0), UInt32(0))
        for character in characters {
            guard let value = value(of: character, variant) else { return nil }
            bits = (bits << 6 | value) & 0xFFFF
            count += 6
            guard count >= 8 else { continue }
            count -= 8
            output.append(UInt8(truncatingIfNeeded: bits >> count))
        }
        guard bits & (1 << count - 1) == 0 else { return nil }
        return output
    }

    private static let standard = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let url = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    private static func value(of character: UInt8, _ variant: Variant) -> UInt32? {
        switch (character, variant) {
        case (0x41...0x5A, _): UInt32(character - 0x41)
        case (0x61...0x7A, _): UInt32(character - 0x61 + 26)
        case (0x30...0x39, _): UInt32(character - 0x30 + 52)
        case (0x2B, .standard), (0x2D, .url): 62
        case (0x2F, .standard), (0x5F, .url): 63
        default: nil
        }
    }
}
