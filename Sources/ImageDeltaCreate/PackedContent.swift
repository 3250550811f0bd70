import ImageDelta

/// The deflate stream of a file that is one gzip member (RFC 1952), and what it unpacks to.
struct PackedContent: Sendable {
    /// Exceptions of a stream that is still worth unpacking: one for so many symbols.
    private static let symbolsPerException = 32
    /// Exceptions with which no better setting is looked for.
    private static let goodEnough = 2
    /// Half nanoseconds for a position looked at, and nanoseconds for a byte of content.
    private static let lookCost = 7
    private static let byteCost = 8
    /// Levels in the order of their likelihood.
    private static let levels = [9, 6, 1, 8, 7, 5, 4, 3, 2]

    /// Where the stream lies in the file.
    var stream: Range<Int>
    var content: [UInt8]
    var recipe: DeflateRecipe
    /// Nanoseconds, about, that making the stream again takes, by what it did on one machine (tools/bench/README.md).
    var cost: Int { looks * Self.lookCost / 2 + content.count * Self.byteCost }
    /// Positions that making the stream again looks at.
    let looks: Int

    /// Nil when `file` is something else, or cannot be made again to the byte.
    init?(gzip file: UnsafeBufferPointer<UInt8>) {
        guard let stream = Self.stream(of: file) else { return nil }
        let packed = UnsafeBufferPointer(rebasing: file[stream])
        guard let reader = DeflateReader(packed), reader.length == stream.count, !reader.content.isEmpty,
            reader.content.count <= stream.count * Int(DeflateRecipe.expansionLimit),
            file[stream.upperBound...].elementsEqual(Self.trailer(reader.content)),
            let (recipe, looks) = Self.recipe(reader.content, reader.tokens, reader.blocks)
        else { return nil }
        let isSame = reader.content.withUnsafeBufferPointer { content in
            do throws(DeltaError) {
                var work = PackedWork()
                return try DeflateWriter.write(content, recipe: recipe, length: stream.count, work: &work) {
                    $0.elementsEqual(UnsafeRawBufferPointer(packed))
                }
            } catch { return false }
        }
        guard isSame else { return nil }
        self.stream = stream
        content = reader.content
        self.recipe = recipe
        self.looks = looks
    }

    private static func trailer(_ content: [UInt8]) -> [UInt8] {
        content.withUnsafeBufferPointer { PackedMember.trailer(of: $0) }
    }

    /// The bytes between the header and the trailer of a gzip file.
    static func stream(of file: UnsafeBufferPointer<UInt8>) -> Range<Int>? {
        guard file.count >= 20, file[0] == 0x1F, file[1] == 0x8B, file[2] == 8, file[3] & 0xE0 == 0,
            Int64(file.count) <= DeflateRecipe.contentLimit
        else { return nil }
        let flags = file[3]
        var at = 10
        if flags & 4 != 0 { at += 2 + Int(file[at]) + Int(file[at + 1]) << 8 }
        for flag in [8, 16] as [UInt8] where flags & flag != 0 {
            guard at < file.count, let end = file[at...].firstIndex(of: 0) else { return nil }
            at = end + 1
        }
        if flags & 2 != 0 { at += 2 }
        let end = file.count - Int(PackedMember.trailerBytes)
        return at < end ? at..<end : nil
    }

    /// Bytes of content that the trailer of a gzip file claims, modulo 2^32.
    static func claimedSize(of file: UnsafeBufferPointer<UInt8>) -> Int {
        (1...4).reduce(0) { $0 << 8 | Int(file[file.count - $1]) }
    }

    private static func recipe(
        _ content: [UInt8], _ tokens: [DeflateToken], _ blocks: [DeflateRecipe.Block]
    ) -> (DeflateRecipe, looks: Int)? {
        var best: (DeflateRecipe, looks: Int)?
        var limit = min(DeflateRecipe.exceptionLimit, max(goodEnough, tokens.count / symbolsPerException))
        for level in levels {
            for hashBits in [15, 16] {
                guard let (exceptions, looks) = exceptions(content, tokens, level, hashBits, limit: limit) else {
                    continue
                }
                best = (
                    DeflateRecipe(level: level, hashBits: hashBits, blocks: blocks, exceptions: exceptions), looks
                )
                if exceptions.count <= goodEnough { return best }
                limit = exceptions.count - 1
            }
        }
        return best
    }

    /// Where `tokens` are not what the settings would give; nil when there are more than `limit`.
    private static func exceptions(
        _ content: [UInt8], _ tokens: [DeflateToken], _ level: Int, _ hashBits: Int, limit: Int
    ) -> ([DeflateRecipe.Exception], looks: Int)? {
        content.withUnsafeBufferPointer { bytes in
            guard let start = bytes.baseAddress else { return nil }
            var parser = DeflateParser(start, count: bytes.count, level: level, hashBits: hashBits)
            var exceptions: [DeflateRecipe.Exception] = []
            for (symbol, token) in tokens.enumerated() {
                if parser.predict() != token {
                    guard exceptions.count < limit else { return nil }
                    exceptions.append(DeflateRecipe.Exception(symbol: symbol, token: token))
                }
                parser.accept(token)
            }
            return (exceptions, parser.looks)
        }
    }
}
