import ImageDelta

/// Decodes a deflate stream (RFC 1951) into its content, symbols and blocks.
struct DeflateReader: ~Copyable {
    /// Bits that one look-up decodes; a longer code is searched.
    private static let tableBits = 10

    /// Codes of one alphabet: by their low bits, and for longer codes by length.
    private struct Alphabet {
        /// Symbol and length of the code that starts with these bits; length 0 when it is longer.
        var table: [(symbol: UInt16, length: UInt8)]
        var long: [(code: UInt16, length: UInt8, symbol: UInt16)] = []

        init?(_ lengths: [UInt8]) {
            table = Array(repeating: (0, 0), count: 1 << DeflateReader.tableBits)
            var room = 1 << 15
            for (symbol, code) in DeflateCode.codes(lengths).enumerated() where lengths[symbol] > 0 {
                let length = lengths[symbol]
                room -= 1 << (15 - Int(length))
                guard room >= 0 else { return nil }
                if Int(length) > DeflateReader.tableBits {
                    long.append((code, length, UInt16(symbol)))
                } else {
                    for index in stride(from: Int(code), to: table.count, by: 1 << Int(length)) {
                        table[index] = (UInt16(symbol), length)
                    }
                }
            }
        }
    }

    private let bytes: UnsafeBufferPointer<UInt8>
    private var at = 0
    private var bits: UInt64 = 0
    private var bitCount = 0

    private(set) var content: [UInt8] = []
    private(set) var tokens: [DeflateToken] = []
    private(set) var blocks: [DeflateRecipe.Block] = []

    /// Bytes of the stream, once it is read.
    var length: Int { at - bitCount / 8 }

    /// Nil when it is no such stream, has stored blocks, or goes beyond the bounds of a packed member.
    init?(_ bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
        var isLast = false
        while !isLast {
            guard let last = take(1), let kind = take(2), blocks.count < DeflateRecipe.blockLimit else { return nil }
            isLast = last == 1
            let first = tokens.count
            switch kind {
            case 1:
                guard let literals = Alphabet(DeflateCode.fixedLiteralLengths),
                    let distances = Alphabet([UInt8](repeating: 5, count: DeflateCode.distanceCount)),
                    readSymbols(literals, distances)
                else { return nil }
            case 2:
                guard let (literals, distances) = readAlphabets(), readSymbols(literals, distances) else { return nil }
            default: return nil
            }
            let symbols = tokens.count - first
            guard symbols <= DeflateRecipe.symbolLimit else { return nil }
            blocks.append(DeflateRecipe.Block(symbols: symbols, isDynamic: kind == 2))
        }
    }

    private mutating func fill() {
        while bitCount <= 48, at < bytes.count {
            bits |= UInt64(bytes[at]) << UInt64(bitCount)
            at += 1
            bitCount += 8
        }
    }

    private mutating func take(_ count: Int) -> Int? {
        fill()
        guard bitCount >= count else { return nil }
        defer {
            bits >>= UInt64(count)
            bitCount -= count
        }
        return Int(bits & (1 << UInt64(count) - 1))
    }

    private mutating func symbol(_ alphabet: Alphabet) -> Int? {
        fill()
        var (symbol, length) = alphabet.table[Int(bits) & (1 << Self.tableBits - 1)]
        if length == 0 {
            guard
                let found = alphabet.long.first(where: { UInt64($0.code) == bits & (1 << UInt64($0.length) - 1) })
            else { return nil }
            (symbol, length) = (found.symbol, found.length)
        }
        guard bitCount >= Int(length) else { return nil }
        bits >>= UInt64(length)
        bitCount -= Int(length)
        return Int(symbol)
    }

    private mutating func readAlphabets() -> (Alphabet, Alphabet)? {
        guard let literals = take(5), let distances = take(5), let sent = take(4), literals <= 29, distances <= 29 else {
            return nil
        }
        var lengths = [UInt8](repeating: 0, count: DeflateCode.codeLengthOrder.count)
        for symbol in DeflateCode.codeLengthOrder[..<(sent + 4)] {
            guard let length = take(3) else { return nil }
            lengths[symbol] = UInt8(length)
        }
        guard let alphabet = Alphabet(lengths) else { return nil }
        var all: [UInt8] = []
        let count = literals + 257 + distances + 1
        while all.count < count {
            guard let symbol = symbol(alphabet) else { return nil }
            var value: UInt8 = 0
            var times = 1
            switch symbol {
            case 16:
                guard let last = all.last, let extra = take(2) else { return nil }
                (value, times) = (last, extra + 3)
            case 17, 18:
                guard let extra = take(symbol == 17 ? 3 : 7) else { return nil }
                times = extra + (symbol == 17 ? 3 : 11)
            default: value = UInt8(symbol)
            }
            guard all.count + times <= count else { return nil }
            for _ in 0..<times { all.append(value) }
        }
        guard let first = Alphabet(Array(all[..<(literals + 257)])),
            let second = Alphabet(Array(all[(literals + 257)...]))
        else { return nil }
        return (first, second)
    }

    private mutating func readSymbols(_ literals: Alphabet, _ distances: Alphabet) -> Bool {
        while true {
            guard let symbol = symbol(literals), Int64(content.count) < DeflateRecipe.contentLimit else { return false }
            if symbol == DeflateCode.endOfBlock { return true }
            if symbol < DeflateCode.endOfBlock {
                content.append(UInt8(symbol))
                tokens.append(.literal)
                continue
            }
            guard symbol - 257 < DeflateCode.lengths.count else { return false }
            let (base, extraBits) = DeflateCode.lengths[symbol - 257]
            guard let extra = take(extraBits), let index = self.symbol(distances), index < DeflateCode.distanceCount,
                let far = take(DeflateCode.distances[index].bits)
            else { return false }
            let token = DeflateToken(length: base + extra, distance: DeflateCode.distances[index].base + far)
            guard token.distance <= content.count,
                Int64(content.count + token.length) <= DeflateRecipe.contentLimit
            else { return false }
            for _ in 0..<token.length { content.append(content[content.count - token.distance]) }
            tokens.append(token)
        }
    }
}
