import Base

/// What a delta says about itself before any work starts: what it makes, from which base.
public struct DeltaHeader: Sendable, Equatable {
    /// One layer of the base image; the layers' tar streams lie end to end in this order.
    public struct BaseLayer: Sendable, Equatable {
        /// Bytes of its uncompressed tar stream.
        public var size: Int64
        /// SHA-256 of that stream.
        public var diffID: Digest
        /// Bytes of its skeleton: all that is no file content.
        public var skeletonSize: Int64
        /// First bytes of the skeleton's SHA-256.
        public var skeletonDigest: [UInt8]
        /// How the delta carries the skeleton.
        public var recipe: SkeletonRecipe

        public init(
            size: Int64, diffID: Digest, skeletonSize: Int64, skeletonDigest: [UInt8], recipe: SkeletonRecipe
        ) {
            self.size = size
            self.diffID = diffID
            self.skeletonSize = skeletonSize
            self.skeletonDigest = skeletonDigest
            self.recipe = recipe
        }
    }

    /// Where a device that has extracted files finds the headers between them.
    public enum SkeletonRecipe: Sendable, Equatable {
        /// Not in the delta: the device has them stored, or has the tar itself.
        case absent
        /// One zstd frame of `byteCount` bytes in the delta.
        case stored(byteCount: Int64)
        /// Regenerated from the extracted tree, then corrected by a zstd frame of `byteCount` bytes.
        case regenerated(byteCount: Int64)

        public var byteCount: Int64 {
            switch self {
            case .absent: 0
            case .stored(let count), .regenerated(let count): count
            }
        }
    }

    /// A range of the base's virtual byte space.
    public struct Run: Sendable, Equatable {
        public var offset: Int64
        public var length: Int64
        public var end: Int64 { offset + length }

        public init(offset: Int64, length: Int64) {
            self.offset = offset
            self.length = length
        }
    }

    /// Bytes of the new layer's tar stream.
    public var targetSize: Int64
    /// SHA-256 of the new layer's tar stream.
    public var targetDiffID: Digest
    public var bases: [BaseLayer]
    /// The base bytes that the digests cover, ascending, apart from each other.
    public var usedRuns: [Run]
    /// One short digest per span of the used bytes; spans have `spanLength` bytes, the last may be shorter.
    public var spanDigests: [[UInt8]]

    public init(
        targetSize: Int64, targetDiffID: Digest, bases: [BaseLayer], usedRuns: [Run], spanDigests: [[UInt8]]
    ) {
        self.targetSize = targetSize
        self.targetDiffID = targetDiffID
        self.bases = bases
        self.usedRuns = usedRuns
        self.spanDigests = spanDigests
    }

    /// Bytes of the whole base space.
    public var baseSize: Int64 { bases.reduce(0) { $0 + $1.size } }
    public var usedSize: Int64 { usedRuns.reduce(0) { $0 + $1.length } }

    /// Bytes per span for `used` bytes: as few as a digest is worth, as many as the span limit asks.
    public static func spanLength(used: Int64) -> Int64 {
        max(256 << 10, (used + Int64(DeltaFormat.spanLimit) - 1) / Int64(DeltaFormat.spanLimit))
    }

    public static func spanCount(used: Int64) -> Int {
        used == 0 ? 0 : Int((used - 1) / spanLength(used: used)) + 1
    }

    // MARK: Coding

    /// Magic, version, length, fields and the fields' short digest.
    public func encoded() -> [UInt8] {
        var fields: [UInt8] = []
        fields.appendVarint(targetSize)
        fields += targetDiffID.bytes
        fields.appendVarint(Int64(bases.count))
        for base in bases {
            fields.appendVarint(base.size)
            fields += base.diffID.bytes
            fields.appendVarint(base.skeletonSize)
            fields += base.skeletonDigest
            switch base.recipe {
            case .absent: fields.append(0)
            case .stored: fields.append(1)
            case .regenerated: fields.append(2)
            }
            if base.recipe != .absent { fields.appendVarint(base.recipe.byteCount) }
        }
        fields.appendVarint(Int64(usedRuns.count))
        var end: Int64 = 0
        for run in usedRuns {
            fields.appendVarint(run.offset - end)
            fields.appendVarint(run.length)
            end = run.end
        }
        for digest in spanDigests { fields += digest }
        var output = DeltaFormat.magic
        output.append(DeltaFormat.version)
        output.appendVarint(Int64(fields.count))
        output += fields
        output += Digest.sha256(fields).bytes.prefix(DeltaFormat.shortDigestBytes)
        return output
    }

    /// Reads the header at the start of `file`; returns it with the offset of the first byte after it.
    public static func read(from file: ReadableFile) throws(DeltaError) -> (header: DeltaHeader, end: Int64) {
        let prefixLimit = DeltaFormat.magic.count + 1 + 9
        let prefix = try DeltaError.wrap { () throws(FileSystemError) in
            try file.read(at: 0, count: prefixLimit)
        }
        guard prefix.starts(with: DeltaFormat.magic) else {
            throw DeltaError(.malformed, "\(file.path) does not start as a delta does")
        }
        var cursor = ByteCursor(prefix, what: "the header")
        _ = try cursor.take(DeltaFormat.magic.count)
        let version = try cursor.byte()
        guard version == DeltaFormat.version else {
            throw DeltaError(.unsupportedVersion, "version \(version), this program reads \(DeltaFormat.version)")
        }
        let length = Int(try cursor.number("header length", limit: Int64(DeltaFormat.headerLimit)))
        let start = Int64(cursor.position)
        let count = length + DeltaFormat.shortDigestBytes
        let bytes = try DeltaError.wrap { () throws(FileSystemError) in try file.read(at: start, count: count) }
        guard bytes.count == count else { throw DeltaError(.truncated, "in the header") }
        let fields = Array(bytes.prefix(length))
        guard Digest.sha256(fields).bytes.prefix(DeltaFormat.shortDigestBytes).elementsEqual(bytes.suffix(from: length))
        else { throw DeltaError(.malformed, "the header does not have its digest") }
        return (try DeltaHeader(fields: fields), start + Int64(count))
    }

    private init(fields: [UInt8]) throws(DeltaError) {
        var cursor = ByteCursor(fields, what: "the header")
        targetSize = try cursor.number("output size", limit: DeltaFormat.spaceLimit)
        targetDiffID = try Self.digest(&cursor)
        bases = []
        usedRuns = []
        spanDigests = []
        let baseCount = try cursor.number("number of base layers", limit: Int64(DeltaFormat.baseLayerLimit))
        var total: Int64 = 0
        for _ in 0..<baseCount {
            let base = try Self.baseLayer(&cursor)
            total += base.size
            guard total <= DeltaFormat.spaceLimit else { throw DeltaError(.limit, "the base has \(total) bytes") }
            bases.append(base)
        }
        let runCount = try cursor.number("number of used runs", limit: Int64(DeltaFormat.usedRunLimit))
        var end: Int64 = 0
        for _ in 0..<runCount {
            let offset = end + (try cursor.number("offset of a used run", limit: total - end))
            let length = try cursor.number("length of a used run", limit: total - offset)
            guard length > 0 else { throw DeltaError(.malformed, "a used run is empty") }
            usedRuns.append(Run(offset: offset, length: length))
            end = offset + length
        }
        for _ in 0..<Self.spanCount(used: usedSize) {
            spanDigests.append(try cursor.take(DeltaFormat.shortDigestBytes))
        }
        guard cursor.isAtEnd else { throw DeltaError(.malformed, "the header has bytes left over") }
    }

    private static func digest(_ cursor: inout ByteCursor) throws(DeltaError) -> Digest {
        guard let digest = Digest(bytes: try cursor.take(Digest.byteCount)) else {
            throw DeltaError(.truncated, "in a digest")
        }
        return digest
    }

    private static func baseLayer(_ cursor: inout ByteCursor) throws(DeltaError) -> BaseLayer {
        let size = try cursor.number("size of a base layer", limit: DeltaFormat.spaceLimit)
        let diffID = try digest(&cursor)
        let skeletonSize = try cursor.number(
            "size of a base layer's headers", limit: min(size, DeltaFormat.skeletonLimit))
        let skeletonDigest = try cursor.take(DeltaFormat.shortDigestBytes)
        let recipe: SkeletonRecipe
        switch try cursor.byte() {
        case 0: recipe = .absent
        case 1: recipe = .stored(byteCount: try cursor.number("a header list", limit: DeltaFormat.skeletonLimit))
        case 2: recipe = .regenerated(byteCount: try cursor.number("a header list", limit: DeltaFormat.skeletonLimit))
        case let other: throw DeltaError(.malformed, "header recipe \(other) is not known")
        }
        return BaseLayer(
            size: size, diffID: diffID, skeletonSize: skeletonSize, skeletonDigest: skeletonDigest, recipe: recipe)
    }
}
