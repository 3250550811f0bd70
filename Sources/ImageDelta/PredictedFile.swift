/// An executable under way: its covers part by part, and the predictor they feed.
///
/// Control record, after the two zeros that announce it:
/// length, base start, machine, both segment tables, number of map entries and these, then the parts.
struct PredictedFile {
    struct Cover {
        var length: UInt32
        var literal: UInt32
        /// Offset in the base file.
        var base: Int64
    }

    /// Offset of the base file in the base space.
    let baseStart: Int64
    let length: Int64
    let predictor: ReferencePredictor
    private let baseSize: Int64
    /// Bytes of the file that the parts read so far describe.
    private var described: Int64 = 0
    private var lastBase: Int64 = 0
    private var covers: [Cover]
    private var index = 0
    /// Bytes of the file made so far.
    private(set) var produced: Int64 = 0
    /// What is left of the current cover and of the literal after it.
    private(set) var coverLeft: Int64 = 0
    private(set) var literalLeft: Int64 = 0
    private(set) var basePosition: Int64 = 0

    var isComplete: Bool { produced == length }

    /// Reads the record up to its first part. `remaining` is the output still to come,
    /// `position` the end of the last base range.
    init(
        control: StreamDecoder, remaining: Int64, position: Int64, baseSize: Int64, targets: TargetMemory
    ) throws(DeltaError) {
        length = try control.number("length of a predicted file", limit: remaining)
        guard length > 0 else { throw DeltaError(.malformed, "a predicted file is empty") }
        let start = position + (try control.signed())
        guard start >= 0, start < baseSize else {
            throw DeltaError(.limit, "a predicted file's base starts at \(start), the base has \(baseSize) bytes")
        }
        baseStart = start
        self.baseSize = baseSize
        let code = try control.number("machine", limit: Int64(UInt16.max))
        guard let machine = PredictedMachine(rawValue: UInt16(code)) else {
            throw DeltaError(.malformed, "machine \(code) is not predicted")
        }
        let base = try Self.layout(control, machine)
        let new = try Self.layout(control, machine)
        let symbols = try Self.symbolTables(control)
        let entryCount = try control.number(
            "address map", limit: min(Int64(DeltaFormat.addressMapLimit), length))
        var entries = try Self.mapEntries(control, count: Int(entryCount))
        covers = []
        try Self.readPart(
            control, into: &covers, described: &described, lastBase: &lastBase, length: length,
            baseLimit: baseSize - start)
        var names: [AddressMap.Entry] = []
        if entryCount == 0 {
            guard described == length else {
                throw DeltaError(.malformed, "a predicted file in several parts has no address map")
            }
            var at: Int64 = 0
            for cover in covers {
                AddressMap.entries(
                    coverLength: Int64(cover.length), baseOffset: cover.base, newOffset: at, base: base, new: new,
                    into: &entries)
                AddressMap.nameEntries(
                    coverLength: Int64(cover.length), baseOffset: cover.base, newOffset: at, symbols: symbols,
                    into: &names)
                at += Int64(cover.length) + Int64(cover.literal)
            }
        }
        predictor = ReferencePredictor(
            base: base, new: new, map: AddressMap(entries), symbols: symbols, names: AddressMap(names),
            targets: targets)
        step()
    }

    private static func layout(
        _ control: StreamDecoder, _ machine: PredictedMachine
    ) throws(DeltaError) -> ExecutableLayout {
        let count = try control.number("number of segments", limit: Int64(DeltaFormat.segmentLimit))
        var segments: [ExecutableSegment] = []
        for _ in 0..<count {
            segments.append(
                ExecutableSegment(
                    fileOffset: try control.number("a segment's offset", limit: DeltaFormat.addressLimit),
                    fileSize: try control.number("a segment's size", limit: DeltaFormat.addressLimit),
                    address: try control.number("a segment's address", limit: DeltaFormat.addressLimit),
                    memorySize: try control.number("a segment's size", limit: DeltaFormat.addressLimit)))
        }
        let index = try control.number("an unwind table's address", limit: DeltaFormat.addressLimit)
        return ExecutableLayout(machine: machine, segments: segments, unwindIndex: index)
    }

    private static func symbolTables(_ control: StreamDecoder) throws(DeltaError) -> [MovedSymbols] {
        let count = try control.number("number of symbol tables", limit: Int64(DeltaFormat.symbolTableLimit))
        let limit = DeltaFormat.addressLimit
        var tables: [MovedSymbols] = []
        for _ in 0..<count {
            let base = SymbolTable(
                offset: try control.number("a symbol table's offset", limit: limit),
                size: try control.number("a symbol table's size", limit: limit),
                names: try control.number("offset of a table of names", limit: limit),
                namesSize: try control.number("size of a table of names", limit: limit))
            tables.append(
                MovedSymbols(base: base, newNames: try control.number("offset of a table of names", limit: limit)))
        }
        return tables
    }

    /// Gap from the former entry's end, displacement against the former's, length.
    private static func mapEntries(_ control: StreamDecoder, count: Int) throws(DeltaError) -> [AddressMap.Entry] {
        var entries: [AddressMap.Entry] = []
        entries.reserveCapacity(count)
        var end: Int64 = 0
        var displacement: Int64 = 0
        let limit = DeltaFormat.addressLimit
        for _ in 0..<count {
            let base = end + (try control.number("an address", limit: limit))
            displacement += try control.signed()
            let length = try control.number("a range of addresses", limit: limit)
            guard base < limit, (-limit...limit).contains(displacement), length < limit else {
                throw DeltaError(.limit, "an address map entry at \(base)")
            }
            entries.append(AddressMap.Entry(base: base, target: base + displacement, length: length))
            end = base + length
        }
        return entries
    }

    /// Number of covers, then for each: length, literal bytes after it, base offset against the last end.
    private static func readPart(
        _ control: StreamDecoder, into covers: inout [Cover], described: inout Int64, lastBase: inout Int64,
        length: Int64, baseLimit: Int64
    ) throws(DeltaError) {
        let count = try control.number(
            "covers of a part", limit: min(Int64(DeltaFormat.partCoverLimit), length - described))
        guard count > 0 else { throw DeltaError(.malformed, "a part of a predicted file has no covers") }
        covers.removeAll(keepingCapacity: true)
        covers.reserveCapacity(Int(count))
        for _ in 0..<count {
            let left = min(length - described, Int64(UInt32.max))
            let cover = try control.number("a cover", limit: left)
            let literal = try control.number("a literal", limit: left - cover)
            guard cover + literal > 0 else { throw DeltaError(.malformed, "a cover is empty") }
            if cover > 0 {
                lastBase += try control.signed()
                guard lastBase >= 0, lastBase <= baseLimit, cover <= baseLimit - lastBase else {
                    throw DeltaError(.limit, "a cover of a predicted file lies outside the base")
                }
            }
            covers.append(Cover(length: UInt32(cover), literal: UInt32(literal), base: lastBase))
            if cover > 0 { lastBase += cover }
            described += cover + literal
        }
    }

    /// Makes the next cover the current one.
    private mutating func step() {
        guard index < covers.count else { return }
        coverLeft = Int64(covers[index].length)
        literalLeft = Int64(covers[index].literal)
        basePosition = covers[index].base
        index += 1
    }

    /// Counts `count` bytes of cover as made.
    mutating func didProduceCover(_ count: Int) {
        coverLeft -= Int64(count)
        basePosition += Int64(count)
        produced += Int64(count)
    }

    mutating func didProduceLiteral(_ count: Int) {
        literalLeft -= Int64(count)
        produced += Int64(count)
    }

    /// Before each piece: goes to the next cover when the current one is used up, and reads the next part
    /// when there is none left; a part belongs to the chapter that makes its first byte.
    mutating func advance(control: StreamDecoder) throws(DeltaError) {
        guard coverLeft == 0, literalLeft == 0, !isComplete else { return }
        if index == covers.count {
            try Self.readPart(
                control, into: &covers, described: &described, lastBase: &lastBase, length: length,
                baseLimit: baseSize - baseStart)
            index = 0
        }
        step()
    }
}
