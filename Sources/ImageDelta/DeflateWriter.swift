/// Compresses a content by a recipe.
package struct DeflateWriter: ~Copyable {
    private let recipe: DeflateRecipe
    private let content: UnsafeBufferPointer<UInt8>
    /// Bytes that the stream must not exceed.
    private let limit: Int
    private var output: [UInt8] = []
    private var bits: UInt64 = 0
    private var bitCount: UInt64 = 0

    /// The stream; an error when the recipe does not fit the content or the stream has not `length` bytes.
    package static func write(
        _ content: UnsafeBufferPointer<UInt8>, recipe: DeflateRecipe, length: Int
    ) throws(DeltaError) -> [UInt8] {
        var writer = DeflateWriter(content, recipe, length)
        try writer.run()
        guard writer.output.count == length else {
            throw DeltaError(.malformed, "a packed member has \(writer.output.count) bytes, not \(length)")
        }
        return writer.output
    }

    private init(_ content: UnsafeBufferPointer<UInt8>, _ recipe: DeflateRecipe, _ limit: Int) {
        self.content = content
        self.recipe = recipe
        self.limit = limit
        output.reserveCapacity(limit)
    }

    private mutating func run() throws(DeltaError) {
        guard let bytes = content.baseAddress else { throw DeltaError(.malformed, "a packed member is empty") }
        var parser = DeflateParser(bytes, count: content.count, level: recipe.level, hashBits: recipe.hashBits)
        var exceptions = recipe.exceptions[...]
        var symbol = 0
        var tokens: [DeflateToken] = []
        for (number, block) in recipe.blocks.enumerated() {
            tokens.removeAll(keepingCapacity: true)
            tokens.reserveCapacity(block.symbols)
            let start = parser.position
            for _ in 0..<block.symbols {
                guard !parser.isAtEnd else { throw DeltaError(.malformed, "a packed member's blocks go beyond it") }
                var token = parser.predict()
                if let exception = exceptions.first, exception.symbol == symbol {
                    exceptions.removeFirst()
                    token = exception.token
                    guard parser.isPossible(token) else {
                        throw DeltaError(.malformed, "a packed member repeats what is not there")
                    }
                }
                parser.accept(token)
                tokens.append(token)
                symbol += 1
            }
            write(block, tokens, from: start, isLast: number == recipe.blocks.count - 1)
            guard output.count <= limit else { throw DeltaError(.malformed, "a packed member becomes too long") }
        }
        guard parser.isAtEnd else { throw DeltaError(.malformed, "a packed member's blocks end early") }
        while bitCount > 0 {
            output.append(UInt8(truncatingIfNeeded: bits))
            bits >>= 8
            bitCount -= min(bitCount, 8)
        }
    }

    @inline(__always)
    private mutating func put(_ value: Int, _ count: Int) {
        bits |= UInt64(value) << bitCount
        bitCount += UInt64(count)
        while bitCount >= 8 {
            output.append(UInt8(truncatingIfNeeded: bits))
            bits >>= 8
            bitCount -= 8
        }
    }

    private mutating func write(_ block: DeflateRecipe.Block, _ tokens: [DeflateToken], from start: Int, isLast: Bool) {
        put(isLast ? 1 : 0, 1)
        guard block.isDynamic else {
            put(1, 2)
            writeSymbols(
                tokens, from: start, literals: DeflateCode.fixedLiteralLengths,
                distances: [UInt8](repeating: 5, count: DeflateCode.distanceCount))
            return
        }
        put(2, 2)
        var literalCounts = [Int](repeating: 0, count: DeflateCode.literalCount)
        var distanceCounts = [Int](repeating: 0, count: DeflateCode.distanceCount)
        literalCounts[DeflateCode.endOfBlock] = 1
        var at = start
        for token in tokens {
            if token.length == 1 {
                literalCounts[Int(content[at])] += 1
            } else {
                literalCounts[257 + DeflateCode.lengthIndex(token.length)] += 1
                distanceCounts[DeflateCode.distanceIndex(token.distance)] += 1
            }
            at += token.length
        }
        let literals = DeflateTree(literalCounts, limit: 15)
        let distances = DeflateTree(distanceCounts, limit: 15)
        writeTrees(literals, distances)
        writeSymbols(tokens, from: start, literals: literals.lengths, distances: distances.lengths)
    }

    /// The code lengths of a block (RFC 1951, 3.2.7).
    private mutating func writeTrees(_ literals: DeflateTree, _ distances: DeflateTree) {
        let runs =
            Self.runs(literals.lengths[...literals.last]) + Self.runs(distances.lengths[...distances.last])
        var counts = [Int](repeating: 0, count: DeflateCode.codeLengthOrder.count)
        for run in runs { counts[run.symbol] += 1 }
        let tree = DeflateTree(counts, limit: 7)
        let sent = max(4, (DeflateCode.codeLengthOrder.lastIndex { tree.lengths[$0] > 0 } ?? 0) + 1)
        put(literals.last + 1 - 257, 5)
        put(distances.last, 5)
        put(sent - 4, 4)
        for symbol in DeflateCode.codeLengthOrder[..<sent] { put(Int(tree.lengths[symbol]), 3) }
        let codes = DeflateCode.codes(tree.lengths)
        for run in runs {
            put(Int(codes[run.symbol]), Int(tree.lengths[run.symbol]))
            if run.extraBits > 0 { put(run.extra, run.extraBits) }
        }
    }

    private struct Run {
        var symbol: Int
        var extra = 0
        var extraBits = 0
    }

    /// Code lengths as lengths, repetitions of the last (16) and runs of zeros (17, 18), greedily.
    private static func runs(_ lengths: ArraySlice<UInt8>) -> [Run] {
        var result: [Run] = []
        var index = lengths.startIndex
        var last: UInt8?
        while index < lengths.endIndex {
            let value = lengths[index]
            let longest = value == 0 ? 138 : value == last ? 6 : 7
            let shortest = value == 0 || value == last ? 3 : 4
            var count = 0
            while index + count < lengths.endIndex, count < longest, lengths[index + count] == value { count += 1 }
            if count < shortest {
                for _ in 0..<count { result.append(Run(symbol: Int(value))) }
            } else if value != 0 {
                if value != last { result.append(Run(symbol: Int(value))) }
                result.append(Run(symbol: 16, extra: count - (value == last ? 3 : 4), extraBits: 2))
            } else if count <= 10 {
                result.append(Run(symbol: 17, extra: count - 3, extraBits: 3))
            } else {
                result.append(Run(symbol: 18, extra: count - 11, extraBits: 7))
            }
            index += count
            last = value
        }
        return result
    }

    private mutating func writeSymbols(
        _ tokens: [DeflateToken], from start: Int, literals: [UInt8], distances: [UInt8]
    ) {
        let literalCodes = DeflateCode.codes(literals)
        let distanceCodes = DeflateCode.codes(distances)
        var at = start
        for token in tokens {
            if token.length == 1 {
                let byte = Int(content[at])
                put(Int(literalCodes[byte]), Int(literals[byte]))
            } else {
                let length = DeflateCode.lengthIndex(token.length)
                put(Int(literalCodes[257 + length]), Int(literals[257 + length]))
                put(token.length - DeflateCode.lengths[length].base, DeflateCode.lengths[length].bits)
                let distance = DeflateCode.distanceIndex(token.distance)
                put(Int(distanceCodes[distance]), Int(distances[distance]))
                put(token.distance - DeflateCode.distances[distance].base, DeflateCode.distances[distance].bits)
            }
            at += token.length
        }
        put(Int(literalCodes[DeflateCode.endOfBlock]), Int(literals[DeflateCode.endOfBlock]))
    }
}
