import Base
import ImageDelta

/// Turns a cover plan into chapters.
struct ChapterEncoder: ~Copyable {
    private let plan: CoverPlan
    private let streams: [StreamEncoder]
    private let write: ([UInt8]) throws(DeltaError) -> Void
    private let progress: (Int64) -> Void

    private var hasher = SHA256Hasher()
    private var raw: [[UInt8]]
    private var differences = DifferenceWriter()
    private let targets = TargetMemory()
    /// New bytes encoded so far, and where the chapter under way starts.
    private var at: Int64 = 0
    private var chapterStart: Int64 = 0
    private var lastBase: Int64 = 0
    /// Of the packed members of the chapter under way.
    private var packedWork = 0

    private static let control = DeltaFormat.Stream.control.rawValue
    private static let literal = DeltaFormat.Stream.literal.rawValue
    private static let mode = DeltaFormat.Stream.mode.rawValue

    init(
        plan: CoverPlan, level: Int32, write: @escaping ([UInt8]) throws(DeltaError) -> Void,
        progress: @escaping (Int64) -> Void
    ) throws(DeltaError) {
        self.plan = plan
        self.write = write
        self.progress = progress
        var streams: [StreamEncoder] = []
        for stream in DeltaFormat.Stream.allCases {
            streams.append(try StreamEncoder(stream: stream, level: level, total: Int64(plan.new.count)))
        }
        self.streams = streams
        raw = Array(repeating: [], count: streams.count)
    }

    mutating func run() async throws {
        let total = Int64(plan.new.count)
        var index = 0
        while at < total {
            if index < plan.covers.count, plan.covers[index].new == at, let special = plan.covers[index].special {
                index += 1
                switch special {
                case .predicted(let file): try await encode(plan.predicted[file])
                case .packed(let member): try await encode(plan.packed[member])
                }
                continue
            }
            var length: Int64 = 0
            var base: Int64 = 0
            if index < plan.covers.count, plan.covers[index].new == at {
                length = plan.covers[index].length
                base = plan.covers[index].base
                index += 1
            }
            let next = index < plan.covers.count ? plan.covers[index].new : total
            try await encodePlain(length: length, base: base, literal: next - at - length)
        }
        try await finishChapter()
    }

    // MARK: Plain covers

    private mutating func encodePlain(length: Int64, base: Int64, literal: Int64) async throws {
        try await makeRoom(1)
        raw[Self.control].appendVarint(length)
        raw[Self.control].appendVarint(literal)
        if length > 0 {
            raw[Self.control].appendSigned(base - lastBase)
            lastBase = base + length
        }
        var done: Int64 = 0
        while done < length {
            try await makeRoom(1)
            let part = min(length - done, chapterRoom)
            differences.append(new: plan.new.slice(at, part), predicted: plan.space.slice(base + done, part))
            advance(part)
            done += part
        }
        try await encodeLiteral(literal)
    }

    private mutating func encodeLiteral(_ length: Int64) async throws {
        var done: Int64 = 0
        while done < length {
            try await makeRoom(1)
            let part = min(length - done, chapterRoom)
            raw[Self.literal].append(contentsOf: plan.new.slice(at, part))
            advance(part)
            done += part
        }
    }

    // MARK: Packed members

    private mutating func encode(_ member: PackedPlan) async throws {
        try await makeRoom(member.length)
        if packedWork + member.work > PackedWork.chapterLimit { try await finishChapter() }
        packedWork += member.work
        for value in [0, 0, 1] as [Int64] { raw[Self.control].appendVarint(value) }
        raw[Self.control].appendVarint(member.base == nil ? 2 : 3)
        raw[Self.control].appendVarint(Int64(member.packed.content.count))
        raw[Self.control].appendVarint(Int64(member.packed.stream.count))
        if let base = member.base {
            raw[Self.control].appendSigned(base.offset - lastBase)
            raw[Self.control].appendVarint(base.length)
            raw[Self.control].appendVarint(Int64(base.content.count))
            lastBase = base.offset + base.length
        }
        member.packed.recipe.append(to: &raw[Self.control])
        member.packed.content.withUnsafeBufferPointer { content in
            (member.base?.content ?? []).withUnsafeBufferPointer { encodeContent(content, of: member, base: $0) }
        }
        advance(member.length)
    }

    private mutating func encodeContent(
        _ content: UnsafeBufferPointer<UInt8>, of member: PackedPlan, base: UnsafeBufferPointer<UInt8>
    ) {
        var done = 0
        var position = 0
        for cover in member.covers {
            raw[Self.control].appendVarint(Int64(cover.length))
            raw[Self.control].appendVarint(Int64(cover.literal))
            if cover.length > 0 {
                raw[Self.control].appendSigned(Int64(cover.base - position))
                position = cover.base + cover.length
                differences.append(
                    new: UnsafeBufferPointer(rebasing: content[done..<done + cover.length]),
                    predicted: UnsafeBufferPointer(rebasing: base[cover.base..<position]))
                done += cover.length
            }
            raw[Self.literal].append(contentsOf: content[done..<done + cover.literal])
            done += cover.literal
        }
    }

    // MARK: Predicted files

    private mutating func encode(_ file: PredictedPlan) async throws {
        try await makeRoom(1)
        for value in [0, 0, 0] as [Int64] { raw[Self.control].appendVarint(value) }
        raw[Self.control].appendVarint(file.length)
        raw[Self.control].appendSigned(file.base - lastBase)
        lastBase = file.base
        raw[Self.control].appendVarint(Int64(file.baseLayout.machine.rawValue))
        appendSegments(file.baseLayout)
        appendSegments(file.newLayout)
        appendSymbols(file.symbols)
        let parts = PredictedParts(file)
        parts.appendMap(to: &raw[Self.control])
        let predictor = ReferencePredictor(
            base: file.baseLayout, new: file.newLayout, map: parts.map, symbols: file.symbols, names: parts.names,
            targets: targets)
        var coverEnd: Int64 = 0
        var first = 0
        while first < file.covers.count {
            let part = file.covers[first..<min(first + DeltaFormat.partCoverLimit, file.covers.count)]
            if first > 0 { try await makeRoom(1) }
            raw[Self.control].appendVarint(Int64(part.count))
            for cover in part {
                raw[Self.control].appendVarint(Int64(cover.length))
                raw[Self.control].appendVarint(Int64(cover.literal))
                if cover.length > 0 {
                    raw[Self.control].appendSigned(Int64(cover.base) - coverEnd)
                    coverEnd = Int64(cover.base + cover.length)
                }
            }
            for cover in part {
                try await encodeBlocks(of: cover, in: file, predictor)
                try await encodeLiteral(Int64(cover.literal))
            }
            first += part.count
        }
    }

    private mutating func appendSegments(_ layout: ExecutableLayout) {
        raw[Self.control].appendVarint(Int64(layout.segments.count))
        for segment in layout.segments {
            raw[Self.control].appendVarint(segment.fileOffset)
            raw[Self.control].appendVarint(segment.fileSize)
            raw[Self.control].appendVarint(segment.address)
            raw[Self.control].appendVarint(segment.memorySize)
        }
        raw[Self.control].appendVarint(layout.unwindIndex)
    }

    private mutating func appendSymbols(_ symbols: [MovedSymbols]) {
        raw[Self.control].appendVarint(Int64(symbols.count))
        for table in symbols {
            for value in [
                table.base.offset, table.base.size, table.base.names, table.base.namesSize, table.newNames,
            ] { raw[Self.control].appendVarint(value) }
        }
    }

    private mutating func encodeBlocks(
        of cover: AlignedCover, in file: PredictedPlan, _ predictor: ReferencePredictor
    ) async throws {
        var done = 0
        while done < cover.length {
            let count = min(DeltaFormat.blockBytes, cover.length - done)
            try await makeRoom(Int64(count))
            encodeBlock(count, base: Int64(cover.base + done), in: file, predictor)
            advance(Int64(count))
            done += count
        }
    }

    /// Takes the prediction that leaves fewest differences.
    private mutating func encodeBlock(
        _ count: Int, base: Int64, in file: PredictedPlan, _ predictor: ReferencePredictor
    ) {
        let context = DeltaFormat.blockContext
        let before = Int(min(Int64(context), base))
        let source = plan.space.slice(file.base + base - Int64(before), Int64(before + count))
        let old = UnsafeBufferPointer(rebasing: source[before...])
        let new = plan.new.slice(at, Int64(count))
        var best = ReferencePredictor.Mode.none
        var fewest = DifferenceWriter.count(new, old)
        let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: 2 * (context + count))
        defer { scratch.deallocate() }
        var trial = scratch + context
        var kept = scratch + context + count + context
        func predict(_ mode: ReferencePredictor.Mode) {
            for index in 0..<context { trial[index - context] = 0 }
            for index in 0..<before + count { trial[index - before] = source[index] }
            predictor.predict(trial, count: count, baseOffset: base, newOffset: at - file.new, mode: mode)
        }
        var last = ReferencePredictor.Mode.none
        if fewest > 2 {
            for mode in ReferencePredictor.Mode.allCases.dropFirst() where fewest > 0 {
                predict(mode)
                last = mode
                let left = DifferenceWriter.count(new, UnsafeBufferPointer(start: trial, count: count))
                if left < fewest {
                    fewest = left
                    best = mode
                    swap(&trial, &kept)
                }
            }
        }
        let prediction = best == .none ? old : UnsafeBufferPointer(start: kept, count: count)
        differences.append(new: new, predicted: prediction)
        if best != .none, fewest > 0, let corrected = new.baseAddress {
            if last != best { predict(best) }
            targets.learn(from: corrected)
        }
        raw[Self.mode].append(best.rawValue)
    }

    // MARK: Chapters

    private var chapterRoom: Int64 { Int64(DeltaFormat.chapterOutputLimit) - (at - chapterStart) }

    private mutating func advance(_ count: Int64) { at += count }

    /// Ends the chapter when `count` bytes more do not fit.
    private mutating func makeRoom(_ count: Int64) async throws {
        if chapterRoom < count { try await finishChapter() }
    }

    private mutating func finishChapter() async throws {
        guard at > chapterStart else { return }
        let (gaps, runs, values) = differences.take()
        raw[DeltaFormat.Stream.gap.rawValue] = gaps
        raw[DeltaFormat.Stream.run.rawValue] = runs
        raw[DeltaFormat.Stream.value.rawValue] = values
        hasher.update(UnsafeRawBufferPointer(plan.new.slice(chapterStart, at - chapterStart)))
        let (streams, pieces) = (streams, raw)
        let bodies = try await concurrentMap(count: streams.count, width: 2) { index in
            // Literals take longest, so they are taken first.
            let stream = (index + DeltaFormat.Stream.literal.rawValue) % streams.count
            return (stream, try streams[stream].flush(pieces[stream]))
        }
        var ordered = [[UInt8]](repeating: [], count: streams.count)
        for (stream, body) in bodies { ordered[stream] = body }
        var head: [UInt8] = []
        head.appendVarint(at - chapterStart)
        var mask: UInt8 = 0
        for (stream, body) in ordered.enumerated() where !body.isEmpty { mask |= 1 << UInt8(stream) }
        head.append(mask)
        for body in ordered where !body.isEmpty {
            guard body.count <= DeltaFormat.chapterStreamLimit else {
                throw DeltaError(.limit, "a chapter's stream has \(body.count) bytes")
            }
            head.appendVarint(Int64(body.count))
        }
        head += hasher.digestSoFar().bytes.prefix(DeltaFormat.shortDigestBytes)
        try write(head)
        for body in ordered where !body.isEmpty { try write(body) }
        for index in raw.indices { raw[index].removeAll(keepingCapacity: true) }
        chapterStart = at
        packedWork = 0
        targets.forget()
        progress(at)
    }
}

/// The address map of a predicted file as the decoder will have it.
struct PredictedParts {
    /// Displacements that differ by nothing and lie this near are one entry of an explicit map.
    private static let joinedGap: Int64 = 4096

    let map: AddressMap
    let names: AddressMap
    /// Entries to send; empty when the covers fit one part and imply the map.
    private let explicit: [AddressMap.Entry]

    init(_ file: PredictedPlan) {
        var entries: [AddressMap.Entry] = []
        var names: [AddressMap.Entry] = []
        var at: Int64 = 0
        for cover in file.covers {
            AddressMap.entries(
                coverLength: Int64(cover.length), baseOffset: Int64(cover.base), newOffset: at,
                base: file.baseLayout, new: file.newLayout, into: &entries)
            AddressMap.nameEntries(
                coverLength: Int64(cover.length), baseOffset: Int64(cover.base), newOffset: at, symbols: file.symbols,
                into: &names)
            at += Int64(cover.length + cover.literal)
        }
        if file.covers.count <= DeltaFormat.partCoverLimit {
            explicit = []
            map = AddressMap(entries)
            self.names = AddressMap(names)
        } else {
            explicit = Self.reduce(AddressMap(entries).entries)
            map = AddressMap(explicit)
            self.names = AddressMap([])
        }
    }

    /// Joins neighbours of one displacement, keeps the longest, and cuts overlaps.
    private static func reduce(_ entries: [AddressMap.Entry]) -> [AddressMap.Entry] {
        var joined: [AddressMap.Entry] = []
        for entry in entries {
            if let last = joined.last, last.target - last.base == entry.target - entry.base,
                entry.base - (last.base + last.length) <= joinedGap
            {
                joined[joined.count - 1].length = max(last.length, entry.base + entry.length - last.base)
            } else {
                joined.append(entry)
            }
        }
        if joined.count > DeltaFormat.addressMapLimit {
            joined.sort { $0.length != $1.length ? $0.length > $1.length : $0.base < $1.base }
            joined = Array(joined.prefix(DeltaFormat.addressMapLimit))
            joined.sort { $0.base < $1.base }
        }
        var apart: [AddressMap.Entry] = []
        var end: Int64 = 0
        for var entry in joined {
            let cut = max(0, end - entry.base)
            guard cut < entry.length else { continue }
            entry.base += cut
            entry.target += cut
            entry.length -= cut
            apart.append(entry)
            end = entry.base + entry.length
        }
        return apart
    }

    func appendMap(to control: inout [UInt8]) {
        control.appendVarint(Int64(explicit.count))
        var end: Int64 = 0
        var displacement: Int64 = 0
        for entry in explicit {
            control.appendVarint(entry.base - end)
            control.appendSigned(entry.target - entry.base - displacement)
            control.appendVarint(entry.length)
            end = entry.base + entry.length
            displacement = entry.target - entry.base
        }
    }
}
