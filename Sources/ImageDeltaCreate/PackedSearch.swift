import ImageDelta

/// A deflate stream of the new layer that is made from its content.
struct PackedPlan: Sendable {
    /// Offset of the stream in the new layer.
    var new: Int64
    var packed: PackedContent
    /// The deflate stream in the base that the covers lie in; without one they lie in the base space.
    var base: Base?
    var covers: [AlignedCover]

    struct Base: Sendable {
        var offset: Int64
        var length: Int64
        var content: [UInt8]
    }

    /// Bytes of output, the gzip trailer included.
    var length: Int64 { Int64(packed.stream.count) + PackedMember.trailerBytes }

    /// What an apply spends of a chapter's ``PackedWork``.
    var work: Int {
        packed.looks
            + PackedWork.fixed(
                content: packed.content.count, base: base?.content.count ?? 0, blocks: packed.recipe.blocks.count)
    }

    /// About how many bytes smaller the delta gets by this.
    var saving: Int {
        let exceptions = packed.recipe.exceptions.count
        return packed.stream.count - covers.reduce(0) { $0 + 4 + $1.literal / 3 } - 4 * exceptions
    }
}

/// Finds packed files of the new layer that pay to be made from their content, and aligns that with the content of
/// packed files of the base.
struct PackedSearch {
    /// Bytes of unpacked contents, of each side, that are held at once; what goes beyond stays packed.
    private static let contentLimit = 96 << 20

    /// Nanoseconds of compressing that a byte saved may always cost.
    private static let costPerByte = 80
    /// Nanoseconds of compressing that may be spent at less advantage: so many, and one for so many bytes of the layer.
    /// With it an apply stays below the CPU time of `zstd -d --patch-from` (tools/bench/README.md).
    private static let budget = 64_000_000
    private static let bytesPerBudget = 10

    let space: BaseSpace
    let bases: [BaseMember]
    let new: MappedFile
    let members: [TarMember]
    let effort: Effort
    let width: Int

    /// Plans by the number of their member.
    func run(_ matches: [MemberMatcher.Match]) async throws -> [Int: PackedPlan] {
        let wanted = withinLimit(
            members.indices.filter { matches[$0].copy == nil && members[$0].isPlainFile }
                .map { ($0, new.slice(members[$0].contentOffset, members[$0].contentSize)) })
        guard !wanted.isEmpty else { return [:] }
        let unpacked = try await concurrentMap(count: wanted.count, width: width) { [members, new] index in
            let member = members[wanted[index]]
            return PackedContent(gzip: new.slice(member.contentOffset, member.contentSize))
        }
        let found = zip(wanted, unpacked).compactMap { number, packed in packed.map { (number, $0) } }
        guard !found.isEmpty else { return [:] }
        let packedBases = try await unpackBases(but: Set(matches.compactMap(\.copy)))
        return try await align(found, packedBases)
    }

    /// The gzip files among `files`, as long as their contents are within the limit.
    private func withinLimit(_ files: [(Int, UnsafeBufferPointer<UInt8>)]) -> [Int] {
        var total = 0
        var chosen: [Int] = []
        for (number, bytes) in files where PackedContent.stream(of: bytes) != nil {
            let size = PackedContent.claimedSize(of: bytes)
            guard size > 0, size <= Int(DeflateRecipe.contentLimit), total + size <= Self.contentLimit else { continue }
            total += size
            chosen.append(number)
        }
        return chosen
    }

    private struct UnpackedBase: Sendable {
        var member: Int
        var base: PackedPlan.Base
    }

    /// Contents of packed base files, without those that the new layer has too.
    private func unpackBases(but copied: Set<Int>) async throws -> [UnpackedBase] {
        let wanted = withinLimit(
            bases.indices.filter { bases[$0].isExtractable && !copied.contains($0) }
                .map { ($0, space.slice(bases[$0].contentOffset, bases[$0].member.contentSize)) })
        let contents = try await concurrentMap(count: wanted.count, width: width) { [bases, space] index in
            let base = bases[wanted[index]]
            let file = space.slice(base.contentOffset, base.member.contentSize)
            return Self.unpack(file, offset: base.contentOffset)
        }
        return zip(wanted, contents).compactMap { number, base in base.map { UnpackedBase(member: number, base: $0) } }
    }

    private static func unpack(_ file: UnsafeBufferPointer<UInt8>, offset: Int64) -> PackedPlan.Base? {
        guard let stream = PackedContent.stream(of: file) else { return nil }
        do throws(DeltaError) {
            let content = try Inflater.content(
                length: stream.count, contentLength: PackedContent.claimedSize(of: file)
            ) { (buffer, at) throws(DeltaError) in
                let start = stream.lowerBound + Int(at)
                let part = UnsafeBufferPointer(rebasing: file[start..<start + buffer.count])
                buffer.copyMemory(from: UnsafeRawBufferPointer(part))
            }
            return PackedPlan.Base(
                offset: offset + Int64(stream.lowerBound), length: Int64(stream.count), content: content)
        } catch { return nil }
    }

    /// Matches contents as files are matched, by path, name and likeness.
    private func align(
        _ found: [(Int, PackedContent)], _ packedBases: [UnpackedBase]
    ) async throws -> [Int: PackedPlan] {
        let old = try ContentList(packedBases.map { (bases[$0.member].member.path, $0.base.content) })
        let fresh = try ContentList(found.map { (members[$0.0].path, $0.1.content) })
        let matches = try await MemberMatcher(
            space: BaseSpace([old.file]),
            bases: old.members.map { BaseMember(member: $0, layerStart: 0, isExtractable: true) }, new: fresh.file,
            members: fresh.members, effort: effort, width: width
        ).run()
        let plans = try await concurrentMap(count: found.count, width: width) { [members, effort] index in
            let (number, packed) = found[index]
            let start = members[number].contentOffset + Int64(packed.stream.lowerBound)
            let base = (matches[index].copy ?? matches[index].base).map { packedBases[$0].base }
            let covers = try packed.content.withUnsafeBufferPointer { content in
                try base.map { base in
                    try base.content.withUnsafeBufferPointer { try Aligner.align(content, with: $0, effort: effort) }
                } ?? [AlignedCover(length: 0, literal: content.count, base: 0)]
            }
            return (number, PackedPlan(new: start, packed: packed, base: base, covers: covers.worthwhile()))
        }
        let possible = plans.filter { $0.1.work <= PackedWork.chapterLimit }
        return Dictionary(uniqueKeysWithValues: effort.boundsRecompression ? worthwhile(possible) : possible)
    }

    /// Without those that would cost an apply too much for what they save; the best come first.
    private func worthwhile(_ plans: [(Int, PackedPlan)]) -> [(Int, PackedPlan)] {
        var left = Self.budget + new.count / Self.bytesPerBudget
        return plans.sorted { one, two in
            let (first, second) = (one.1.saving * two.1.packed.cost, two.1.saving * one.1.packed.cost)
            return first != second ? first > second : one.0 < two.0
        }.filter { _, plan in
            if plan.packed.cost <= plan.saving * Self.costPerByte { return true }
            guard plan.saving > 0, plan.packed.cost <= left else { return false }
            left -= plan.packed.cost
            return true
        }
    }
}

/// Contents end to end, as members of a tar that has no headers.
private struct ContentList {
    let file: MappedFile
    private(set) var members: [TarMember] = []

    init(_ contents: [(path: [UInt8], bytes: [UInt8])]) throws(DeltaError) {
        var all: [UInt8] = []
        for (path, bytes) in contents {
            members.append(
                TarMember(
                    path: path, type: 0x30, headerOffset: Int64(all.count), contentOffset: Int64(all.count),
                    contentSize: Int64(bytes.count), isPlainFile: true, skeletonOffset: 0))
            all += bytes
        }
        file = try MappedFile(bytes: all)
    }
}
