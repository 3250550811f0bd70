import Base
import ImageDelta

/// Makes a delta from base layers to a new layer, all given as plain tar files.
///
/// Memory: below 1 GiB whatever the input, with two tasks. The inputs are mapped and their pages given back after
/// every 192 MiB read; a suffix array takes four times ``alignmentWindow`` per task, which is most of it. After that
/// the search over the whole base takes at most 128 MiB, the compressors' tables about 300 MiB. The contents of
/// packed files held at once are bounded too. About 32 bytes per cover and 1 KiB per file come on top.
public struct DeltaCreate: Sendable {
    /// Bytes of a base file that are sorted at once; a larger file is aligned piece by piece.
    public static let alignmentWindow: Int64 = 48 << 20
    /// Bytes of a large new file that are aligned against one window.
    static let alignmentPiece: Int64 = 32 << 20

    /// What is going on, with the fraction that is done.
    public enum Stage: Sendable, Equatable {
        case matching, aligning(done: Int, of: Int), encoding(done: Int64, of: Int64)
    }

    public struct Result: Sendable, Equatable {
        public var header: DeltaHeader
        /// Bytes of the delta.
        public var size: Int64
    }

    public var effort: Effort
    /// Tasks that work at once.
    public var width: Int
    /// Whether the delta tells how to make the base's tar headers from an extracted tree. Without it a delta
    /// is a few bytes smaller and serves only machines that have the tar or its headers.
    public var carriesHeaders: Bool
    public var progress: @Sendable (Stage) -> Void

    public init(
        effort: Effort = .standard, width: Int = 2, carriesHeaders: Bool = true,
        progress: @escaping @Sendable (Stage) -> Void = { _ in }
    ) {
        self.effort = effort
        self.width = max(1, width)
        self.carriesHeaders = carriesHeaders
        self.progress = progress
    }

    /// Writes the delta to `output`, whole or not at all.
    public func run(bases basePaths: [String], new newPath: String, output: String) async throws -> Result {
        guard basePaths.count <= DeltaFormat.baseLayerLimit else {
            throw DeltaError(.limit, "\(basePaths.count) base layers, at most \(DeltaFormat.baseLayerLimit)")
        }
        let budget = PageBudget()
        let space = BaseSpace(try basePaths.map { try MappedFile(path: $0, budget: budget) })
        let new = try MappedFile(path: newPath, budget: budget)
        guard space.size <= DeltaFormat.spaceLimit, Int64(new.count) <= DeltaFormat.spaceLimit else {
            throw DeltaError(.limit, "inputs above \(ByteCount(DeltaFormat.spaceLimit))")
        }
        progress(.matching)
        let bases = try BaseLayout(space)
        let members = try new.scan()
        let matches = try await MemberMatcher(
            space: space, bases: bases.members, new: new, members: members, effort: effort, width: width
        ).run()
        let packed = try await PackedSearch(
            space: space, bases: bases.members, new: new, members: members, effort: effort, width: width
        ).run(matches)
        var plan = CoverPlan(space: space, new: new)
        try await align(members, matches, packed, bases.members, into: &plan)
        if plan.uncovered > 0, space.size > 0 {
            let index = AnchorIndex(space, effort: effort)
            plan.fillGaps { index.covers(of: new, start: $0, end: $1) }
        }
        let recipes = try await recipes(space, bases)
        let header = try await header(plan, bases, recipes)
        return try await write(plan, header: header, recipes: recipes, to: output)
    }

    // MARK: Alignment

    private struct Job: Sendable {
        var member: Int
        var base: Int
        /// Ranges inside the new and the base content.
        var newRange: Range<Int64>
        var baseRange: Range<Int64>
    }

    private func align(
        _ members: [TarMember], _ matches: [MemberMatcher.Match], _ packed: [Int: PackedPlan], _ bases: [BaseMember],
        into plan: inout CoverPlan
    ) async throws {
        var jobs: [Job] = []
        for (number, match) in matches.enumerated() where match.copy == nil && packed[number] == nil {
            guard let base = match.base else { continue }
            jobs += pieces(number, base, size: members[number].contentSize, baseSize: bases[base].member.contentSize)
        }
        // Long ones first, so that no task is left alone with one at the end.
        let order = jobs.indices.sorted { jobs[$0].newRange.count > jobs[$1].newRange.count }
        let (space, new, effort, progress) = (plan.space, plan.new, effort, progress)
        let count = jobs.count
        let counter = Counter()
        let queue = jobs
        let results = try await concurrentMap(count: count, width: width) { position in
            let job = queue[order[position]]
            let covers = try Self.align(job, members[job.member], bases[job.base], space, new, effort)
            progress(.aligning(done: counter.increment(), of: count))
            return (order[position], covers)
        }
        var aligned: [Int: [AlignedCover]] = [:]
        for (number, covers) in results.sorted(by: { $0.0 < $1.0 }) {
            aligned[jobs[number].member, default: []] += covers
        }
        for (number, member) in members.enumerated() {
            let match = matches[number]
            if let header = match.header { plan.addHeader(of: member, from: bases[header]) }
            if let copy = match.copy {
                plan.addCopy(of: member, from: bases[copy])
            } else if let packed = packed[number] {
                plan.addPacked(packed, of: member, from: match.base.map { bases[$0] })
            } else if let base = match.base, let covers = aligned[number] {
                plan.addAligned(covers, of: member, from: bases[base])
            }
        }
    }

    /// One job for a file that fits the window, else pieces, each with the window around its place.
    private func pieces(_ member: Int, _ base: Int, size: Int64, baseSize: Int64) -> [Job] {
        guard baseSize > Self.alignmentWindow else {
            return [Job(member: member, base: base, newRange: 0..<size, baseRange: 0..<baseSize)]
        }
        var jobs: [Job] = []
        var start: Int64 = 0
        while start < size {
            let end = min(size, start + Self.alignmentPiece)
            // The same place, scaled: what grew or shrank before it shifts it in proportion.
            let middle = Int64(Double(start + end) / 2 * (Double(baseSize) / Double(size)))
            let from = max(0, min(baseSize - Self.alignmentWindow, middle - Self.alignmentWindow / 2))
            jobs.append(
                Job(
                    member: member, base: base, newRange: start..<end,
                    baseRange: from..<min(baseSize, from + Self.alignmentWindow)))
            start = end
        }
        return jobs
    }

    private static func align(
        _ job: Job, _ member: TarMember, _ base: BaseMember, _ space: BaseSpace, _ new: MappedFile, _ effort: Effort
    ) throws -> [AlignedCover] {
        let bytes = new.slice(member.contentOffset + job.newRange.lowerBound, Int64(job.newRange.count))
        let window = space.slice(base.contentOffset + job.baseRange.lowerBound, Int64(job.baseRange.count))
        var covers = try Aligner.align(bytes, with: window, effort: effort)
        for index in covers.indices { covers[index].base += Int(job.baseRange.lowerBound) }
        return covers
    }

    // MARK: Output

    /// What a device with extracted files needs to make each layer's headers again, compressed.
    private func recipes(_ space: BaseSpace, _ bases: BaseLayout) async throws -> [[UInt8]] {
        guard carriesHeaders else { return space.files.map { _ in [] } }
        let level = effort.compressionLevel
        return try await concurrentMap(count: space.files.count, width: width) { index in
            let steps = SkeletonEncoder.encode(space.files[index], members: bases.scanned[index])
            return try StreamEncoder(stream: .literal, level: level, total: Int64(steps.count)).flush(steps)
        }
    }

    private func header(
        _ plan: CoverPlan, _ bases: BaseLayout, _ recipes: [[UInt8]]
    ) async throws -> DeltaHeader {
        let (space, new) = (plan.space, plan.new)
        let files = space.files + [new]
        let digests = try await concurrentMap(count: files.count, width: width) { index in
            var hasher = SHA256Hasher()
            files[index].forEachPiece { hasher.update(UnsafeRawBufferPointer($0)) }
            return hasher.finish()
        }
        var layers: [DeltaHeader.BaseLayer] = []
        for (index, file) in space.files.enumerated() {
            layers.append(
                DeltaHeader.BaseLayer(
                    size: Int64(file.count), diffID: digests[index], skeletonSize: bases.skeletonSizes[index],
                    skeletonDigest: bases.skeletonDigests[index],
                    recipe: carriesHeaders ? .regenerated(byteCount: Int64(recipes[index].count)) : .absent))
        }
        var slack: Int64 = 256 << 10
        var runs = plan.usedRuns(slack: slack, apart: bases.hidden)
        // Fewer runs take fewer bytes; what lies between them is then checked too, which does no harm.
        while runs.count > 64, slack < space.size {
            slack *= 4
            runs = plan.usedRuns(slack: slack, apart: bases.hidden)
        }
        guard runs.count <= DeltaFormat.usedRunLimit else {
            throw DeltaError(.limit, "\(runs.count) separate runs of base bytes")
        }
        let used = runs.reduce(0) { $0 + $1.length }
        var spans = SpanHasher(length: DeltaHeader.spanLength(used: used))
        var spanDigests: [[UInt8]] = []
        for run in runs {
            var at = run.offset
            while at < run.end {
                let layer = space.layer(holding: at)
                let layerEnd = space.starts[layer] + Int64(space.files[layer].count)
                let part = min(run.end - at, layerEnd - at, spans.room)
                if let digest = spans.update(UnsafeRawBufferPointer(space.slice(at, part))) { spanDigests.append(digest) }
                at += part
            }
        }
        if let digest = spans.finish() { spanDigests.append(digest) }
        return DeltaHeader(
            targetSize: Int64(new.count), targetDiffID: digests[files.count - 1], bases: layers, usedRuns: runs,
            spanDigests: spanDigests)
    }

    private func write(
        _ plan: CoverPlan, header: DeltaHeader, recipes: [[UInt8]], to output: String
    ) async throws -> Result {
        let fileSystem = FileSystem()
        let partial = output + ".partial"
        let file = try fileSystem.create(partial, truncate: true, op: "delta.create")
        do {
            try file.write(header.encoded())
            for recipe in recipes { try file.write(recipe) }
            let total = Int64(plan.new.count)
            let progress = progress
            var encoder = try ChapterEncoder(
                plan: plan, level: effort.compressionLevel,
                write: { (bytes) throws(DeltaError) in
                    do throws(FileSystemError) { try file.write(bytes) } catch { throw DeltaError(error) }
                },
                progress: { progress(.encoding(done: $0, of: total)) })
            try await encoder.run()
            try file.sync()
            let size = try fileSystem.status(partial)?.size ?? 0
            try fileSystem.rename(partial, to: output, op: "delta.create")
            return Result(header: header, size: size)
        } catch {
            try? fileSystem.unlink(partial, op: "delta.create")
            throw error
        }
    }
}
