import Base

/// Writes deltas from raw streams, valid or not: for hostile tests and the fuzz target.
@_spi(Fuzzing)
public enum DeltaForge {
    /// One chapter: bytes of output it claims, its raw streams in order, and its digest.
    public struct Chapter {
        public var output: Int64
        public var streams: [[UInt8]]
        public var digest: [UInt8]

        public init(output: Int64, streams: [[UInt8]], digest: [UInt8]) {
            self.output = output
            self.streams = streams
            self.digest = digest
        }
    }

    /// A file with this header and these chapters; the streams are stored as raw zstd blocks.
    public static func file(_ header: DeltaHeader, recipes: [[UInt8]] = [], _ chapters: [Chapter]) -> [UInt8] {
        var bytes = header.encoded()
        for recipe in recipes { bytes += recipe }
        var hasBegun = [Bool](repeating: false, count: DeltaFormat.Stream.allCases.count)
        for chapter in chapters {
            bytes.appendVarint(chapter.output)
            var mask: UInt8 = 0
            var bodies: [[UInt8]] = []
            for (index, raw) in chapter.streams.enumerated() where !raw.isEmpty {
                mask |= 1 << UInt8(index)
                bodies.append(frame(raw, begins: !hasBegun[index]))
                hasBegun[index] = true
            }
            bytes.append(mask)
            for body in bodies { bytes.appendVarint(Int64(body.count)) }
            bytes += chapter.digest
            for body in bodies { bytes += body }
        }
        return bytes
    }

    /// A header around any fields, with the right magic, length and digest.
    public static func file(headerFields fields: [UInt8]) -> [UInt8] {
        var bytes = DeltaFormat.magic + [DeltaFormat.version]
        bytes.appendVarint(Int64(fields.count))
        return bytes + fields + Digest.sha256(fields).bytes.prefix(DeltaFormat.shortDigestBytes)
    }

    /// Raw blocks of a zstd frame with a window of 128 KiB (RFC 8878, 3.1.1); the frame is not ended.
    public static func frame(_ raw: [UInt8], begins: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = begins ? [0x28, 0xB5, 0x2F, 0xFD, 0x00, (17 - 10) << 3] : []
        var rest = raw[...]
        while !rest.isEmpty {
            let block = rest.prefix(100_000)
            let head = UInt32(block.count) << 3
            bytes += [UInt8(head & 0xFF), UInt8(head >> 8 & 0xFF), UInt8(head >> 16 & 0xFF)]
            bytes += block
            rest = rest.dropFirst(block.count)
        }
        return bytes
    }

    /// Bytes of the base of every fuzzed delta.
    private static let fuzzBaseBytes = 40_000

    /// One input of the fuzz target; its first byte says which door it comes to. `scratch` is a folder of its own
    /// that holds `tree`, a small extracted layer. Errors are the expected end, crashes and leaks are not.
    public static func fuzz(_ input: [UInt8], scratch: String) throws {
        guard let door = input.first else { return }
        let body = Array(input.dropFirst())
        let path = Path.join(scratch, "input")
        let fileSystem = FileSystem()
        func write(_ bytes: [UInt8], to path: String) throws {
            let file = try fileSystem.create(path, truncate: true, op: "fuzz")
            try file.write(bytes)
        }
        let basePath = Path.join(scratch, "base")
        if try fileSystem.status(basePath) == nil {
            try write((0..<fuzzBaseBytes).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }, to: basePath)
        }
        let digest = [UInt8](repeating: 0, count: 8)
        switch door & 3 {
        case 0: try write(body, to: path)
        case 1: try write(file(headerFields: body), to: path)
        case 2: try write(structured(body, baseSize: Int64(fuzzBaseBytes), recipe: []), to: path)
        default:
            let steps = frame(body)
            var header = header(target: 1, baseSize: 1 << 20, recipe: .regenerated(byteCount: Int64(steps.count)))
            header.bases[0].skeletonSize = 1 << 20
            try write(
                file(header, recipes: [steps], [Chapter(output: 1, streams: [], digest: digest)]), to: path)
            let delta = try DeltaApply(path: path)
            _ = try BaseAssembly(delta: delta, scratch: scratch)
                .open([.tree(path: Path.join(scratch, "tree"), skeleton: nil)])
        }
        let delta = try DeltaApply(path: path)
        let source = try TarFileBase(paths: delta.header.bases.isEmpty ? [] : [basePath])
        let sink = DeltaApply.Sink { (_) throws(DeltaError) in }
        _ = try DeltaSummary(delta: delta)
        try delta.run(base: source, resumption: delta.fromStart(), sink: sink)
    }

    static func header(target: Int64, baseSize: Int64, recipe: DeltaHeader.SkeletonRecipe) -> DeltaHeader {
        let zero = Digest.sha256([])
        return DeltaHeader(
            targetSize: target, targetDiffID: zero,
            bases: [
                DeltaHeader.BaseLayer(
                    size: baseSize, diffID: zero, skeletonSize: 0, skeletonDigest: Array(zero.bytes.prefix(8)),
                    recipe: recipe)
            ], usedRuns: [], spanDigests: [])
    }

    /// Cuts the input into the streams of one chapter: two bytes of length before each.
    private static func structured(_ body: [UInt8], baseSize: Int64, recipe: [UInt8]) -> [UInt8] {
        var rest = body[...]
        func number() -> Int {
            let two = rest.prefix(2)
            rest = rest.dropFirst(2)
            return two.reduce(0) { $0 << 8 | Int($1) }
        }
        let output = Int64(number()) + 1
        var streams: [[UInt8]] = []
        for _ in DeltaFormat.Stream.allCases {
            let count = number()
            streams.append(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        return file(
            header(target: output, baseSize: baseSize, recipe: .absent),
            [Chapter(output: output, streams: streams, digest: [UInt8](repeating: 0, count: 8))])
    }
}
