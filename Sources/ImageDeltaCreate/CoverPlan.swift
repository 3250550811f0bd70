import ImageDelta

/// A range of the new stream made from a range of the base space.
struct PlannedCover: Sendable, Equatable {
    var new: Int64
    var base: Int64
    var length: Int64
    /// The predicted file or packed member this stands for; its covers are its own.
    var special: Special?

    enum Special: Sendable, Equatable {
        /// Indices in the plan.
        case predicted(Int)
        case packed(Int)
    }

    var newEnd: Int64 { new + length }
}

/// An executable whose references are predicted.
struct PredictedPlan: Sendable {
    /// Offset in the new stream.
    var new: Int64
    var length: Int64
    /// Offset of the base file in the base space.
    var base: Int64
    var baseLayout: ExecutableLayout
    var newLayout: ExecutableLayout
    var symbols: [MovedSymbols]
    var covers: [AlignedCover]
}

/// The covers of the new stream, ascending and apart, and the executables among them.
struct CoverPlan: Sendable {
    /// Equal bytes that make a cover inside a file worth its control bytes.
    private static let worthwhile = 12
    /// A cover of this length is not looked at closely.
    private static let surely = 64
    /// An executable's cover below this goes to the literal before it.
    private static let predictedCover = 16
    /// Files below this are not worth a prediction.
    private static let smallestExecutable: Int64 = 8192
    /// Gap that two covers of one displacement are joined over: headers and padding between unchanged files.
    private static let bridge: Int64 = 1024

    private(set) var covers: [PlannedCover] = []
    private(set) var predicted: [PredictedPlan] = []
    private(set) var packed: [PackedPlan] = []

    let space: BaseSpace
    let new: MappedFile

    init(space: BaseSpace, new: MappedFile) {
        self.space = space
        self.new = new
    }

    /// Adds a plain cover that starts at or after the end of the last one.
    mutating func add(new start: Int64, base: Int64, length: Int64) {
        guard length > 0 else { return }
        if let last = covers.last, last.special == nil {
            let gap = start - last.newEnd
            if gap == base - (last.base + last.length), gap <= Self.bridge,
                space.starts.isEmpty || space.layer(holding: last.base) == space.layer(holding: base)
            {
                covers[covers.count - 1].length = start + length - last.new
                return
            }
        }
        covers.append(PlannedCover(new: start, base: base, length: length, special: nil))
    }

    /// Covers a member's headers with those of a base member.
    mutating func addHeader(of member: TarMember, from base: BaseMember) {
        if member.headerSize == base.member.headerSize {
            add(new: member.headerOffset, base: base.headerOffset, length: member.headerSize)
        } else {
            add(new: member.contentOffset - 512, base: base.contentOffset - 512, length: 512)
        }
    }

    /// Covers a member's content with an identical one, padding included where both have the same.
    mutating func addCopy(of member: TarMember, from base: BaseMember) {
        let padding = samePadding(member, base)
        add(new: member.contentOffset, base: base.contentOffset, length: member.contentSize + padding)
    }

    private func samePadding(_ member: TarMember, _ base: BaseMember) -> Int64 {
        let padding = member.paddedSize - member.contentSize
        let ends = member.contentOffset + member.paddedSize <= Int64(new.count)
        return ends && padding == base.member.paddedSize - base.member.contentSize ? padding : 0
    }

    /// Covers a member's content as aligned with a base member.
    mutating func addAligned(_ aligned: [AlignedCover], of member: TarMember, from base: BaseMember) {
        if let plan = predictedPlan(aligned, of: member, from: base) {
            covers.append(
                PlannedCover(
                    new: member.contentOffset, base: base.contentOffset, length: member.contentSize,
                    special: .predicted(predicted.count)))
            predicted.append(plan)
            return
        }
        let padding = samePadding(member, base)
        var at: Int64 = 0
        for cover in aligned {
            let length = Int64(cover.length)
            if isWorthwhile(cover, at: member.contentOffset + at, base: base.contentOffset) {
                let reachesEnds =
                    Int64(cover.base) + length == base.member.contentSize && at + length == member.contentSize
                add(
                    new: member.contentOffset + at, base: base.contentOffset + Int64(cover.base),
                    length: length + (reachesEnds ? padding : 0))
            }
            at += length + Int64(cover.literal)
        }
    }

    /// Covers a packed member: its header like that of its base, its stream and trailer by their content.
    mutating func addPacked(_ plan: PackedPlan, of member: TarMember, from base: BaseMember?) {
        let header = Int64(plan.packed.stream.lowerBound)
        if let base, base.member.contentSize >= header {
            add(new: member.contentOffset, base: base.contentOffset, length: header)
        }
        covers.append(
            PlannedCover(new: plan.new, base: 0, length: plan.length, special: .packed(packed.count)))
        packed.append(plan)
    }

    private func isWorthwhile(_ cover: AlignedCover, at start: Int64, base: Int64) -> Bool {
        guard cover.length < Self.surely else { return true }
        guard cover.length >= Self.worthwhile else { return false }
        let left = new.slice(start, Int64(cover.length))
        let right = space.slice(base + Int64(cover.base), Int64(cover.length))
        return zip(left, right).count(where: ==) >= Self.worthwhile
    }

    private func predictedPlan(
        _ aligned: [AlignedCover], of member: TarMember, from base: BaseMember
    ) -> PredictedPlan? {
        guard member.contentSize >= Self.smallestExecutable,
            let old = ExecutableLayout(
                elf: UnsafeRawBufferPointer(space.slice(base.contentOffset, base.member.contentSize))),
            let fresh = ExecutableLayout(
                elf: UnsafeRawBufferPointer(new.slice(member.contentOffset, member.contentSize))),
            old.machine == fresh.machine
        else { return nil }
        var covers: [AlignedCover] = []
        for cover in aligned where cover.length + cover.literal > 0 {
            if cover.length > 0, cover.length < Self.predictedCover {
                let literal = cover.length + cover.literal
                if covers.isEmpty {
                    covers.append(AlignedCover(length: 0, literal: literal, base: 0))
                } else {
                    covers[covers.count - 1].literal += literal
                }
            } else {
                covers.append(cover)
            }
        }
        return PredictedPlan(
            new: member.contentOffset, length: member.contentSize, base: base.contentOffset, baseLayout: old,
            newLayout: fresh, symbols: movedSymbols(member, base), covers: covers)
    }

    /// Symbol tables that both files have.
    private func movedSymbols(_ member: TarMember, _ base: BaseMember) -> [MovedSymbols] {
        let old = SymbolTable.tables(
            elf: UnsafeRawBufferPointer(space.slice(base.contentOffset, base.member.contentSize)))
        let fresh = SymbolTable.tables(
            elf: UnsafeRawBufferPointer(new.slice(member.contentOffset, member.contentSize)))
        return [(old.dynamic, fresh.dynamic), (old.full, fresh.full)].compactMap { old, fresh in
            if let old, let fresh { MovedSymbols(base: old, newNames: fresh.names) } else { nil }
        }
    }

    /// Puts covers found in the gaps between the present ones in their places.
    mutating func fillGaps(_ fill: (_ start: Int64, _ end: Int64) -> [PlannedCover]) {
        var result: [PlannedCover] = []
        var at: Int64 = 0
        for cover in covers {
            if cover.new > at { result += fill(at, cover.new) }
            result.append(cover)
            at = cover.newEnd
        }
        if at < Int64(new.count) { result += fill(at, Int64(new.count)) }
        covers = result
    }

    /// Bytes that no cover reaches.
    var uncovered: Int64 { Int64(new.count) - covers.reduce(0) { $0 + $1.length } }

    /// Base ranges that the covers read, ascending; ranges nearer than `slack` are joined.
    func usedRuns(slack: Int64, apart barriers: [Int64]) -> [DeltaHeader.Run] {
        var ranges: [DeltaHeader.Run] = []
        for cover in covers {
            guard case .predicted(let index) = cover.special else {
                if case .packed(let index) = cover.special {
                    if let base = packed[index].base {
                        ranges.append(DeltaHeader.Run(offset: base.offset, length: base.length))
                    }
                } else {
                    ranges.append(DeltaHeader.Run(offset: cover.base, length: cover.length))
                }
                continue
            }
            let plan = predicted[index]
            for part in plan.covers where part.length > 0 {
                let before = min(Int64(DeltaFormat.blockContext), Int64(part.base))
                ranges.append(
                    DeltaHeader.Run(
                        offset: plan.base + Int64(part.base) - before, length: Int64(part.length) + before))
            }
        }
        ranges.sort { $0.offset < $1.offset }
        var runs: [DeltaHeader.Run] = []
        var barrier = 0
        for range in ranges {
            if let last = runs.last {
                while barrier < barriers.count, barriers[barrier] < last.end { barrier += 1 }
                let isBarred = barrier < barriers.count && barriers[barrier] < range.offset
                if range.offset <= last.end || (range.offset - last.end <= slack && !isBarred) {
                    runs[runs.count - 1].length = max(last.end, range.offset + range.length) - last.offset
                    continue
                }
            }
            runs.append(range)
        }
        return runs
    }
}
