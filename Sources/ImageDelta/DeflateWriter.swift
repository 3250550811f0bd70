/// Compresses a content by a recipe.
package struct DeflateWriter: ~Copyable {
    /// Bits that one symbol takes at most, in whole bytes: two codes of 15 bits, 5 and 13 bits more.
    private static let symbolBytes = 6
    /// Bytes that a block's code lengths take at most, with what the last bits need.
    private static let treeBytes = 1024

    private let recipe: DeflateRecipe
    private let content: UnsafeBufferPointer<UInt8>
    /// Bytes that the stream must not exceed.
    private let limit: Int
    /// Positions that the search may look at.
    private let lookLimit: Int
    private var looks = 0
    private var output: UnsafeMutableRawPointer
    private var capacity: Int
    private var written = 0
    private var bits: UInt64 = 0
    private var bitCount: UInt64 = 0
    /// The symbols of the block under way: length, and below it 16 bits of distance.
    private let tokens: UnsafeMutablePointer<UInt32>

    /// Hands the stream to `use`; an error when the recipe does not fit the content, the stream has not `length` bytes, or
    /// finding it takes more than `work` is good for.
    package static func write<Result>(
        _ content: UnsafeBufferPointer<UInt8>, recipe: DeflateRecipe, length: Int, work: inout PackedWork,
        use: (UnsafeRawBufferPointer) throws(DeltaError) -> Result
    ) throws(DeltaError) -> Result {
        var writer = DeflateWriter(content, recipe, length, lookLimit: work.left)
        try writer.run()
        try work.spend(writer.looks)
        guard writer.written == length else {
            throw DeltaError(.malformed, "a packed member has \(writer.written) bytes, not \(length)")
        }
        return try use(UnsafeRawBufferPointer(start: writer.output, count: length))
    }

    private init(_ content: UnsafeBufferPointer<UInt8>, _ recipe: DeflateRecipe, _ limit: Int, lookLimit: Int) {
        self.lookLimit = lookLimit
        self.content = content
        self.recipe = recipe
        self.limit = limit
        capacity = limit + Self.treeBytes
        output = .allocate(byteCount: capacity, alignment: 16)
        tokens = .allocate(capacity: max(1, min(recipe.blocks.lazy.map(\.symbols).max() ?? 0, content.count)))
    }

    deinit {
        output.deallocate()
        tokens.deallocate()
    }

    private mutating func run() throws(DeltaError) {
        guard let bytes = content.baseAddress else { throw DeltaError(.malformed, "a packed member is empty") }
        var parser = DeflateParser(bytes, count: content.count, level: recipe.level, hashBits: recipe.hashBits)
        var exceptions = recipe.exceptions[...]
        var nextException = exceptions.first?.symbol ?? Int.max
        var symbol = 0
        for (number, block) in recipe.blocks.enumerated() {
            // Every symbol takes a byte of content at least.
            guard block.symbols <= content.count - parser.position else {
                throw DeltaError(.malformed, "a packed member's blocks go beyond it")
            }
            let start = parser.position
            for index in 0..<block.symbols {
                guard !parser.isAtEnd else { throw DeltaError(.malformed, "a packed member's blocks go beyond it") }
                var token = parser.predict()
                guard parser.looks <= lookLimit else {
                    throw DeltaError(.limit, "a packed member takes more work than its chapter may")
                }
                if nextException == symbol {
                    token = exceptions.removeFirst().token
                    nextException = exceptions.first?.symbol ?? Int.max
                    guard parser.isPossible(token) else {
                        throw DeltaError(.malformed, "a packed member repeats what is not there")
                    }
                }
                parser.accept(token)
                tokens[index] = UInt32(truncatingIfNeeded: token.length << 16 | token.distance)
                symbol += 1
            }
            write(block, from: start, isLast: number == recipe.blocks.count - 1)
            guard written <= limit else { throw DeltaError(.malformed, "a packed member becomes too long") }
        }
        guard parser.isAtEnd else { throw DeltaError(.malformed, "a packed member's blocks end early") }
        looks = parser.looks
        while bitCount > 0 {
            output.storeBytes(of: UInt8(truncatingIfNeeded: bits), toByteOffset: written, as: UInt8.self)
            written += 1
            bits >>= 8
            bitCount -= min(bitCount, 8)
        }
    }

    /// Makes room for a block of so many symbols and what comes after it.
    private mutating func reserve(_ symbols: Int) {
        let needed = written + symbols * Self.symbolBytes + Self.treeBytes
        guard needed > capacity else { return }
        let larger = UnsafeMutableRawPointer.allocate(byteCount: needed, alignment: 16)
        larger.copyMemory(from: output, byteCount: written)
        output.deallocate()
        (output, capacity) = (larger, needed)
    }

    /// At most 32 bits; ``reserve(_:)`` has made room.
    @inline(__always)
    private mutating func put(_ value: Int, _ count: Int) {
        bits |= UInt64(truncatingIfNeeded: value) << bitCount
        bitCount += UInt64(truncatingIfNeeded: count)
        if bitCount >= 32 {
            output.storeBytes(of: UInt32(truncatingIfNeeded: bits).littleEndian, toByteOffset: written, as: UInt32.self)
            written += 4
            bits >>= 32
            bitCount -= 32
        }
    }

    private mutating func write(_ block: DeflateRecipe.Block, from start: Int, isLast: Bool) {
        reserve(block.symbols)
        put(isLast ? 1 : 0, 1)
        guard block.isDynamic else {
            put(1, 2)
            writeSymbols(
                block.symbols, from: start, literals: DeflateCode.fixedLiteralLengths,
                distances: [UInt8](repeating: 5, count: DeflateCode.distanceCount))
            return
        }
        put(2, 2)
        var literalCounts = [Int](repeating: 0, count: DeflateCode.literalCount)
        var distanceCounts = [Int](repeating: 0, count: DeflateCode.distanceCount)
        literalCounts[DeflateCode.endOfBlock] = 1
        var at = start
        for token in UnsafeBufferPointer(start: tokens, count: block.symbols) {
            let length = Int(token >> 16)
            if length == 1 {
                literalCounts[Int(content[at])] += 1
            } else {
                literalCounts[257 + DeflateCode.lengthIndex(length)] += 1
                distanceCounts[DeflateCode.distanceIndex(Int(token & 0xFFFF))] += 1
            }
            at += length
        }
        let literals = DeflateTree(literalCounts, limit: 15)
        let distances = DeflateTree(distanceCounts, limit: 15)
        writeTrees(literals, distances)
        writeSymbols(block.symbols, from: start, literals: literals.lengths, distances: distances.lengths)
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

    private mutating func writeSymbols(_ count: Int, from start: Int, literals: [UInt8], distances: [UInt8]) {
        let literalCodes = Self.codes(literals)
        let distanceCodes = Self.codes(distances)
        var at = start
        for token in UnsafeBufferPointer(start: tokens, count: count) {
            let length = Int(token >> 16)
            if length == 1 {
                let code = literalCodes[Int(content[at])]
                put(code.bits, code.count)
            } else {
                let index = DeflateCode.lengthIndex(length)
                let code = literalCodes[257 + index]
                let (base, extraBits) = DeflateCode.lengths[index]
                put(code.bits | (length - base) << code.count, code.count + extraBits)
                let distance = Int(token & 0xFFFF)
                let far = DeflateCode.distanceIndex(distance)
                let farCode = distanceCodes[far]
                let (farBase, farBits) = DeflateCode.distances[far]
                put(farCode.bits | (distance - farBase) << farCode.count, farCode.count + farBits)
            }
            at += length
        }
        let end = literalCodes[DeflateCode.endOfBlock]
        put(end.bits, end.count)
    }

    private static func codes(_ lengths: [UInt8]) -> [(bits: Int, count: Int)] {
        zip(DeflateCode.codes(lengths), lengths).map { (Int($0), Int($1)) }
    }
}
