/// How to compress a content again to the very bytes of a deflate stream (RFC 1951): the settings of the usual
/// compressor, where its blocks end, and where the stream departs from what that compressor would do.
public struct DeflateRecipe: Sendable, Equatable {
    /// A block: so many symbols, its end not counted, with codes of its own or the fixed ones.
    public struct Block: Sendable, Equatable {
        public var symbols: Int
        public var isDynamic: Bool

        public init(symbols: Int, isDynamic: Bool) {
            self.symbols = symbols
            self.isDynamic = isDynamic
        }
    }

    /// A symbol that is not the one the compressor would choose.
    public struct Exception: Sendable, Equatable {
        /// Index of the symbol in the stream.
        public var symbol: Int
        public var token: DeflateToken

        public init(symbol: Int, token: DeflateToken) {
            self.symbol = symbol
            self.token = token
        }
    }

    // MARK: Bounds, checked before anything is allocated

    /// Bytes of content of one packed member.
    public static let contentLimit: Int64 = 4 << 20
    /// Bytes of content for one byte of stream.
    public static let expansionLimit: Int64 = 128
    public static let symbolLimit = 1 << 16
    public static let blockLimit = 1 << 14
    public static let exceptionLimit = 1 << 14

    /// 1 to 9, as zlib's and gzip's options mean them.
    public var level: Int
    /// Bits of the hash of three bytes: 15 or 16.
    public var hashBits: Int
    public var blocks: [Block]
    public var exceptions: [Exception]

    public init(level: Int, hashBits: Int, blocks: [Block], exceptions: [Exception]) {
        self.level = level
        self.hashBits = hashBits
        self.blocks = blocks
        self.exceptions = exceptions
    }

    /// Level and hash, blocks, exceptions: how a control stream holds them.
    package func append(to control: inout [UInt8]) {
        control.appendVarint(Int64(level * 2 + hashBits - 15))
        control.appendVarint(Int64(blocks.count))
        for block in blocks { control.appendVarint(Int64(block.symbols * 2 + (block.isDynamic ? 1 : 0))) }
        control.appendVarint(Int64(exceptions.count))
        var next = 0
        for exception in exceptions {
            control.appendVarint(Int64(exception.symbol - next))
            control.appendVarint(Int64(exception.token.length))
            if exception.token.length > 1 { control.appendVarint(Int64(exception.token.distance)) }
            next = exception.symbol + 1
        }
    }

    init(control: StreamDecoder) throws(DeltaError) {
        let settings = Int(try control.number("a compression level", limit: 19))
        guard settings >= 2 else { throw DeltaError(.malformed, "compression level 0 is not known") }
        level = settings / 2
        hashBits = 15 + settings % 2
        blocks = []
        exceptions = []
        let blockCount = try control.number("deflate blocks", limit: Int64(Self.blockLimit))
        for _ in 0..<blockCount {
            let block = Int(try control.number("symbols of a block", limit: Int64(Self.symbolLimit) * 2 + 1))
            blocks.append(Block(symbols: block / 2, isDynamic: block % 2 == 1))
        }
        let exceptionCount = try control.number("exceptions of a deflate stream", limit: Int64(Self.exceptionLimit))
        var next: Int64 = 0
        for _ in 0..<exceptionCount {
            let symbol = next + (try control.number("an exception's place", limit: Self.contentLimit))
            let length = Int(try control.number("length of a repetition", limit: Int64(DeflateToken.longest)))
            guard length == 1 || length >= DeflateToken.shortest else {
                throw DeltaError(.malformed, "a repetition of \(length) bytes")
            }
            let distance =
                length == 1 ? 0 : Int(try control.number("a repetition's distance", limit: Int64(DeflateToken.window)))
            guard length == 1 || distance > 0 else { throw DeltaError(.malformed, "a repetition of itself") }
            exceptions.append(Exception(symbol: Int(symbol), token: DeflateToken(length: length, distance: distance)))
            next = symbol + 1
        }
    }
}

/// One symbol of a deflate stream: a byte (length 1, distance 0) or a repetition.
public struct DeflateToken: Sendable, Equatable {
    public static let shortest = 3
    public static let longest = 258
    public static let window = 32768

    public var length: Int
    public var distance: Int

    public init(length: Int, distance: Int) {
        self.length = length
        self.distance = distance
    }

    public static let literal = DeflateToken(length: 1, distance: 0)
}
