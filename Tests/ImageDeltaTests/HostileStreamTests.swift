import Base
@_spi(Fuzzing) import ImageDelta
import TestSupport
import Testing

/// Deltas whose framing is right and whose streams are not: every length, offset and count out of its range.
@Suite struct HostileStreamTests {
    static let baseSize: Int64 = 10_000
    static let huge: Int64 = 1 << 60

    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var reason: DeltaError.Reason
        var control: [Int64]
        var output: Int64 = 1_000
        var gap: [Int64] = []
        var run: [Int64] = []
        var value = 0
        var literal = 0
        var mode: [UInt8] = []
        var testDescription: String { name }
    }

    /// Zigzag of a signed number, as the control stream holds it.
    static func signed(_ value: Int64) -> Int64 { (value << 1) ^ (value >> 63) }

    /// A predicted file of 1,000 bytes up to its map: no segments, unwind index or symbol tables on either side.
    static let file: [Int64] = [0, 0, 0, 1_000, 0, 62, 0, 0, 0, 0, 0]
    /// Level 9, one block of five symbols, no exceptions.
    static let recipe: [Int64] = [18, 1, 10, 0]
    /// A packed member of ten bytes with ten bytes of content, up to its covers.
    static let packed: [Int64] = [0, 0, 1, 0, 10, 10] + recipe
    /// A packed member of one byte in as many blocks as there may be, up to its covers: half of what a chapter may cost.
    static let costly: [Int64] =
        [0, 0, 1, 0, 1, 20_481, 18, 1 << 14] + [Int64](repeating: 0, count: 1 << 14 - 1) + [2, 0]
    static let segment: [Int64] = [0, 5_000, 4_096, 5_000]

    static let cases: [Case] = [
        Case(name: "cover beyond the output", reason: .limit, control: [1_001, 0, 0]),
        Case(name: "cover of 2^60", reason: .limit, control: [huge, 0, 0]),
        Case(name: "literal beyond the output", reason: .limit, control: [0, 1_001]),
        Case(name: "cover and literal together beyond the output", reason: .limit, control: [500, 501, 0]),
        Case(name: "cover before the base", reason: .limit, control: [10, 0, signed(-1)]),
        Case(name: "cover behind the base", reason: .limit, control: [10, 0, signed(9_991)]),
        Case(name: "cover at 2^60", reason: .limit, control: [10, 0, signed(huge)]),
        Case(name: "control ends early", reason: .truncated, control: [10]),
        Case(name: "no control at all", reason: .truncated, control: []),
        Case(name: "literal without bytes", reason: .truncated, control: [0, 1_000], literal: 999),
        Case(name: "bytes left over", reason: .malformed, control: [0, 1_000], literal: 1_001),
        Case(name: "gap beyond the chapter", reason: .limit, control: [1_000, 0, 0], gap: [huge], run: [1], value: 1),
        Case(name: "run beyond the chapter", reason: .limit, control: [1_000, 0, 0], gap: [0], run: [huge], value: 1),
        Case(name: "empty run", reason: .malformed, control: [1_000, 0, 0], gap: [0], run: [0]),
        Case(name: "run without values", reason: .truncated, control: [1_000, 0, 0], gap: [5], run: [9], value: 8),
        Case(name: "gap without a run", reason: .truncated, control: [1_000, 0, 0], gap: [5]),
        Case(name: "predicted file too long", reason: .limit, control: [0, 0, 0, 1_001]),
        Case(name: "predicted file of nothing", reason: .malformed, control: [0, 0, 0, 0]),
        Case(name: "predicted base behind the base", reason: .limit, control: [0, 0, 0, 1_000, signed(10_000)]),
        Case(name: "predicted base before the base", reason: .limit, control: [0, 0, 0, 1_000, signed(-1)]),
        Case(name: "unknown machine", reason: .malformed, control: [0, 0, 0, 1_000, 0, 3]),
        Case(name: "machine of 2^60", reason: .limit, control: [0, 0, 0, 1_000, 0, huge]),
        Case(name: "too many segments", reason: .limit, control: [0, 0, 0, 1_000, 0, 62, 65]),
        Case(name: "segment beyond 2^48", reason: .limit, control: [0, 0, 0, 1_000, 0, 62, 1, 0, 1 << 49]),
        Case(name: "unwind table beyond 2^48", reason: .limit, control: [0, 0, 0, 1_000, 0, 62, 0, 1 << 49]),
        Case(name: "too many symbol tables", reason: .limit, control: Array(file.dropLast()) + [5]),
        Case(name: "symbol table beyond 2^48", reason: .limit, control: Array(file.dropLast()) + [1, 1 << 49]),
        Case(name: "unknown special record", reason: .limit, control: [0, 0, 2]),
        Case(name: "packed flags", reason: .limit, control: [0, 0, 1, 4]),
        Case(name: "packed content of nothing", reason: .limit, control: [0, 0, 1, 0, 0, 10]),
        Case(name: "packed content above 4 MiB", reason: .limit, control: [0, 0, 1, 0, 5 << 20, 10]),
        Case(name: "packed member beyond its chapter", reason: .limit, control: [0, 0, 1, 0, 100, 1_001]),
        Case(name: "packed trailer beyond its chapter", reason: .limit, control: [0, 0, 1, 2, 100, 993]),
        Case(name: "packed content 129 times its stream", reason: .limit, control: [0, 0, 1, 0, 1_290, 10]),
        Case(name: "packed base behind the base", reason: .limit, control: [0, 0, 1, 1, 10, 10, signed(10_000)]),
        Case(name: "packed base before the base", reason: .limit, control: [0, 0, 1, 1, 10, 10, signed(-1)]),
        Case(name: "packed base reaching behind", reason: .limit, control: [0, 0, 1, 1, 10, 10, signed(9_000), 1_001]),
        Case(name: "packed base content too large", reason: .limit, control: [0, 0, 1, 1, 10, 10, 0, 9, 5 << 20]),
        Case(name: "packed base of nothing", reason: .malformed, control: [0, 0, 1, 1, 10, 10, 0, 0, 10]),
        Case(
            name: "packed base that is no deflate stream", reason: .wrongBase,
            control: [0, 0, 1, 1, 10, 10, 0, 9, 10] + recipe + [10, 0, 0]),
        Case(name: "level 0", reason: .malformed, control: [0, 0, 1, 0, 10, 10, 1]),
        Case(name: "level 10", reason: .limit, control: [0, 0, 1, 0, 10, 10, 20]),
        Case(name: "too many blocks", reason: .limit, control: [0, 0, 1, 0, 10, 10, 18, huge]),
        Case(name: "block with too many symbols", reason: .limit, control: [0, 0, 1, 0, 10, 10, 18, 1, huge]),
        Case(name: "too many exceptions", reason: .limit, control: [0, 0, 1, 0, 10, 10, 18, 1, 20, huge]),
        Case(
            name: "exception of two bytes", reason: .malformed, control: [0, 0, 1, 0, 10, 10, 18, 1, 20, 1, 0, 2]),
        Case(
            name: "exception that repeats itself", reason: .malformed,
            control: [0, 0, 1, 0, 10, 10, 18, 1, 20, 1, 0, 3, 0]),
        Case(
            name: "exception before the content", reason: .malformed,
            control: [0, 0, 1, 0, 10, 10, 18, 1, 20, 1, 0, 3, 1, 0, 10], literal: 10),
        Case(name: "packed cover beyond its content", reason: .limit, control: packed + [11]),
        Case(name: "packed cover behind the base", reason: .limit, control: packed + [10, 0, signed(9_991)]),
        Case(name: "packed literal beyond its content", reason: .limit, control: packed + [5, 6]),
        Case(name: "empty packed cover", reason: .malformed, control: packed + [0, 0]),
        Case(name: "packed content without bytes", reason: .truncated, control: packed + [0, 10], literal: 9),
        Case(name: "blocks that end early", reason: .malformed, control: packed + [0, 10], literal: 10),
        Case(
            name: "blocks beyond the content", reason: .malformed,
            control: [0, 0, 1, 0, 10, 10, 18, 1, 40, 0, 0, 10], literal: 10),
        Case(
            name: "another length than stated", reason: .malformed,
            control: [0, 0, 1, 0, 1_000, 900, 18, 1, 2 * 5 + 1, 0, 0, 1_000], literal: 1_000),
        Case(name: "map larger than the file", reason: .limit, control: file + [1_001]),
        Case(name: "map of 2^60", reason: .limit, control: file + [huge]),
        Case(name: "map address beyond 2^48", reason: .limit, control: file + [1, 1 << 49]),
        Case(name: "map displacement beyond 2^48", reason: .limit, control: file + [1, 0, signed(1 << 49), 5]),
        Case(name: "part without covers", reason: .malformed, control: file + [0, 0]),
        Case(name: "more covers than bytes", reason: .limit, control: file + [0, 1_001]),
        Case(name: "2^60 covers", reason: .limit, control: file + [0, huge]),
        Case(name: "empty cover in a file", reason: .malformed, control: file + [0, 1, 0, 0]),
        Case(name: "file cover beyond the file", reason: .limit, control: file + [0, 1, 1_001, 0, 0]),
        Case(name: "file cover behind the base", reason: .limit, control: file + [0, 1, 1_000, 0, signed(9_001)]),
        Case(name: "file cover before its base", reason: .limit, control: file + [0, 1, 1_000, 0, signed(-1)]),
        Case(name: "parts without a map", reason: .malformed, control: file + [0, 1, 500, 0, 0]),
        Case(
            name: "block without a mode", reason: .truncated, control: file + [0, 1, 1_000, 0, 0]),
        Case(
            name: "unknown mode", reason: .malformed, control: file + [0, 1, 1_000, 0, 0], mode: [6]),
        Case(
            name: "chapter ends inside a block", reason: .malformed, control: file + [0, 1, 1_000, 0, 0], output: 999,
            mode: [0]),
        Case(
            name: "right streams, wrong digest", reason: .outputMismatch,
            control: [0, 0, 0, 1_000, 0, 62, 1] + segment + [0, 1] + segment + [0, 0, 0, 1, 1_000, 0, 0], mode: [1]),
    ]

    @Test(arguments: cases)
    func isRefusedWithItsReason(_ hostile: Case) throws {
        let error = try refusal(of: hostile)
        #expect(error?.reason == hostile.reason, "\(String(describing: error))")
    }

    @Test func packedMembersTakeNoMoreWorkThanAChapterMay() throws {
        let hostile = Case(
            name: "work", reason: .limit, control: Self.costly + [0, 1] + Self.costly, output: 50_000, literal: 1)
        let error = try refusal(of: hostile)
        #expect(error?.detail.contains("work") == true, "\(String(describing: error))")
    }

    private func refusal(of hostile: Case) throws -> DeltaError? {
        let workshop = try Workshop()
        let base = try workshop.put("base", [UInt8](repeating: 0xE8, count: Int(Self.baseSize)))
        func varints(_ values: [Int64]) -> [UInt8] {
            var bytes: [UInt8] = []
            for value in values { bytes.appendVarint(value) }
            return bytes
        }
        let chapter = DeltaForge.Chapter(
            output: hostile.output,
            streams: [
                varints(hostile.control), varints(hostile.gap), varints(hostile.run),
                [UInt8](repeating: 1, count: hostile.value), [UInt8](repeating: 2, count: hostile.literal), hostile.mode,
            ], digest: [UInt8](repeating: 0, count: 8))
        let path = try workshop.put("delta", DeltaForge.file(header(target: max(1_000, hostile.output)), [chapter]))
        let delta = try DeltaApply(path: path)
        return #expect(throws: DeltaError.self, "accepted") {
            try delta.run(
                base: try TarFileBase(paths: [base]), resumption: delta.fromStart(), sink: Output().sink())
        }
    }

    private func header(target: Int64) -> DeltaHeader {
        let zero = Digest.sha256([])
        return DeltaHeader(
            targetSize: target, targetDiffID: zero,
            bases: [
                .init(
                    size: Self.baseSize, diffID: zero, skeletonSize: 0, skeletonDigest: Array(zero.bytes.prefix(8)),
                    recipe: .absent)
            ], usedRuns: [], spanDigests: [])
    }

    /// Header fields as numbers and digests, each out of its bound in turn.
    @Test(arguments: [
        ("output size", [Int64(1) << 43]),
        ("base layers", [1_000, -32, 257]),
        ("base size", [1_000, -32, 1, Int64(1) << 43]),
        ("skeleton larger than its layer", [1_000, -32, 1, 100, -32, 101]),
        ("unknown recipe", [1_000, -32, 1, 100, -32, 10, -8, 3]),
        ("header list too long", [1_000, -32, 1, 100, -32, 10, -8, 1, Int64(1) << 33]),
        ("used runs", [1_000, -32, 1, 100, -32, 10, -8, 0, 4_097]),
        ("run behind the base", [1_000, -32, 1, 100, -32, 10, -8, 0, 1, 101, 1]),
        ("run reaching behind the base", [1_000, -32, 1, 100, -32, 10, -8, 0, 1, 50, 51]),
        ("empty run", [1_000, -32, 1, 100, -32, 10, -8, 0, 1, 50, 0]),
        ("missing span digest", [1_000, -32, 1, 100, -32, 10, -8, 0, 1, 50, 50]),
        ("bytes left over", [1_000, -32, 1, 100, -32, 10, -8, 0, 0, 7]),
    ] as [(String, [Int64])])
    func hostileHeadersAreRefused(name: String, fields: [Int64]) throws {
        let workshop = try Workshop()
        var bytes: [UInt8] = []
        // A negative number stands for so many bytes of digest.
        for field in fields {
            if field < 0 { bytes += [UInt8](repeating: 0, count: Int(-field)) } else { bytes.appendVarint(field) }
        }
        let path = try workshop.put("delta", DeltaForge.file(headerFields: bytes))
        #expect(throws: DeltaError.self, "\(name)") { _ = try DeltaApply(path: path) }
    }

    @Test func framesAreBounded() throws {
        let workshop = try Workshop()
        let good = DeltaForge.file(header(target: 1_000), [])
        var cases: [(String, [UInt8])] = [
            ("not a delta", Array("PK".utf8) + good), ("empty", []), ("only magic", Array(good.prefix(8))),
        ]
        var newer = good
        newer[8] = 3
        cases.append(("newer version", newer))
        var long = Array(good.prefix(9))
        long.appendVarint(Int64(DeltaFormat.headerLimit) + 1)
        cases.append(("header of more than a MiB", long))
        var endless = Array(good.prefix(9))
        endless += [UInt8](repeating: 0x80, count: 20)
        cases.append(("endless number", endless))
        for (name, bytes) in cases {
            let path = try workshop.put("delta", bytes)
            #expect(throws: DeltaError.self, "\(name)") { _ = try DeltaApply(path: path) }
        }
        for (name, chapter) in [
            ("no output", [0, 0]), ("output beyond the layer", [0xE9, 0x07, 0]), ("unknown stream", [1, 0x40]),
            ("chapter of 16 MiB", [0x80, 0x80, 0x80, 0x08, 0]), ("huge stream", [1, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
            ("body beyond the file", [1, 1, 100]),
        ] as [(String, [UInt8])] {
            let path = try workshop.put("delta", good + chapter + [UInt8](repeating: 0, count: 8))
            #expect(throws: DeltaError.self, "\(name)") { _ = try DeltaSummary(delta: try DeltaApply(path: path)) }
        }
    }

    @Test func manyChaptersMayGoWithoutBytesOfAStream() throws {
        let workshop = try Workshop()
        var random = SplitMix64(seed: 5)
        let content = random.bytes(Int(Self.baseSize))
        var control: [UInt8] = []
        for value in [Self.baseSize, 0, 0] { control.appendVarint(value) }
        let chapters = (1...100).map { number in
            DeltaForge.Chapter(
                output: 100, streams: number == 1 ? [control] : [],
                digest: Array(Digest.sha256(content.prefix(number * 100)).bytes.prefix(8)))
        }
        var header = header(target: Self.baseSize)
        header.targetDiffID = Digest.sha256(content)
        let delta = try DeltaApply(path: try workshop.put("delta", DeltaForge.file(header, chapters)))
        let output = Output()
        try delta.run(
            base: try TarFileBase(paths: [try workshop.put("base", content)]), resumption: delta.fromStart(),
            sink: output.sink())
        #expect(output.bytes == content)
    }

    @Test func aBombDecodesNoMoreThanItsChapterAsksFor() throws {
        let workshop = try Workshop()
        // A zstd RLE block: four bytes for 100,000 of output, many times over.
        var bomb: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, (17 - 10) << 3]
        let head = UInt32(100_000) << 3 | 1 << 1
        for _ in 0..<20_000 { bomb += [UInt8(head & 0xFF), UInt8(head >> 8 & 0xFF), UInt8(head >> 16 & 0xFF), 7] }
        var control: [UInt8] = []
        control.appendVarint(0)
        control.appendVarint(1_000)
        var bytes = header(target: 1_000).encoded()
        let body = DeltaForge.frame(control)
        bytes.appendVarint(1_000)
        bytes.append(0b1_0001)
        bytes.appendVarint(Int64(body.count))
        bytes.appendVarint(Int64(bomb.count))
        bytes += [UInt8](repeating: 0, count: 8) + body + bomb
        let delta = try DeltaApply(path: try workshop.put("delta", bytes))
        let base = try workshop.put("base", [UInt8](repeating: 0, count: Int(Self.baseSize)))
        let output = Output()
        #expect(throws: DeltaError.self) {
            try delta.run(base: try TarFileBase(paths: [base]), resumption: delta.fromStart(), sink: output.sink())
        }
        #expect(output.bytes.count <= 1_000)
    }
}
