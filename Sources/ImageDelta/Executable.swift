/// A loadable segment of an ELF executable: where its bytes lie in the file and where they go in memory.
public struct ExecutableSegment: Sendable, Equatable {
    public var fileOffset: Int64
    public var fileSize: Int64
    public var address: Int64
    public var memorySize: Int64

    public init(fileOffset: Int64, fileSize: Int64, address: Int64, memorySize: Int64) {
        self.fileOffset = fileOffset
        self.fileSize = fileSize
        self.address = address
        self.memorySize = memorySize
    }

    var fileEnd: Int64 { fileOffset + fileSize }
}

/// The PT_LOAD segments of a little-endian ELF64 file for a machine whose references are predicted.
public struct ExecutableLayout: Sendable, Equatable {
    public var machine: PredictedMachine
    public var segments: [ExecutableSegment]
    /// Address of the unwind table's index (PT_GNU_EH_FRAME), 0 when there is none.
    public var unwindIndex: Int64

    public init(machine: PredictedMachine, segments: [ExecutableSegment], unwindIndex: Int64 = 0) {
        self.machine = machine
        self.segments = segments
        self.unwindIndex = unwindIndex
    }

    /// The least address, and the greatest plus its segment's size in memory.
    var addressRange: (low: Int64, high: Int64) {
        var range = (low: Int64.max, high: Int64(0))
        for segment in segments {
            range.low = min(range.low, segment.address)
            range.high = max(range.high, segment.address + segment.memorySize)
        }
        return range
    }

    /// Nil for anything that is no such file, or that breaks a bound of the format.
    public init?(elf bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 64, bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]) else { return nil }
        func load<Value: FixedWidthInteger>(_ offset: Int, as: Value.Type) -> Value {
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        guard let machine = PredictedMachine(rawValue: load(18, as: UInt16.self)) else { return nil }
        let tableOffset = load(32, as: UInt64.self)
        let entrySize = Int(load(54, as: UInt16.self))
        let entryCount = Int(load(56, as: UInt16.self))
        guard entrySize == 56, entryCount <= DeltaFormat.segmentLimit, tableOffset < UInt64(bytes.count),
            Int(tableOffset) + entrySize * entryCount <= bytes.count
        else { return nil }
        var segments: [ExecutableSegment] = []
        var unwindIndex: Int64 = 0
        let limit = UInt64(DeltaFormat.addressLimit)
        for index in 0..<entryCount {
            let entry = Int(tableOffset) + index * entrySize
            let kind = load(entry, as: UInt32.self)
            if kind == 0x6474_E550 {
                let address = load(entry + 16, as: UInt64.self)
                guard address < limit else { return nil }
                unwindIndex = Int64(address)
            }
            guard kind == 1 else { continue }
            let fields = [8, 32, 16, 40].map { load(entry + $0, as: UInt64.self) }
            guard fields.allSatisfy({ $0 < limit }) else { return nil }
            segments.append(
                ExecutableSegment(
                    fileOffset: Int64(fields[0]), fileSize: Int64(fields[1]), address: Int64(fields[2]),
                    memorySize: Int64(fields[3])))
        }
        guard !segments.isEmpty else { return nil }
        self.init(machine: machine, segments: segments, unwindIndex: unwindIndex)
    }

    /// Index of the segment that holds a file offset; the first one in table order.
    @inline(__always)
    func segment(holding offset: Int64) -> Int? {
        for index in segments.indices
        where offset >= segments[index].fileOffset && offset < segments[index].fileEnd { return index }
        return nil
    }

    /// Bytes from `offset` to the nearest segment border after it.
    func distanceToBorder(from offset: Int64) -> Int64 {
        var nearest = Int64.max
        for segment in segments {
            if segment.fileOffset > offset { nearest = min(nearest, segment.fileOffset - offset) }
            if segment.fileEnd > offset { nearest = min(nearest, segment.fileEnd - offset) }
        }
        return nearest
    }
}

/// A symbol table of an ELF file and the table of its names, by file offset.
public struct SymbolTable: Sendable, Equatable {
    static let entryBytes: Int64 = 24

    public var offset: Int64
    public var size: Int64
    public var names: Int64
    public var namesSize: Int64

    public init(offset: Int64, size: Int64, names: Int64, namesSize: Int64) {
        self.offset = offset
        self.size = size
        self.names = names
        self.namesSize = namesSize
    }

    /// The dynamic and the full symbol table of a little-endian ELF64 file, each if it is there and inside the file.
    public static func tables(elf bytes: UnsafeRawBufferPointer) -> (dynamic: SymbolTable?, full: SymbolTable?) {
        guard bytes.count >= 64 else { return (nil, nil) }
        func load<Value: FixedWidthInteger>(_ offset: Int, as: Value.Type) -> Value {
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        let sections = load(40, as: UInt64.self)
        let count = Int(load(60, as: UInt16.self))
        guard load(58, as: UInt16.self) == 64, sections <= UInt64(bytes.count),
            Int(sections) + 64 * count <= bytes.count
        else { return (nil, nil) }
        func section(_ index: Int) -> (offset: Int64, size: Int64)? {
            guard index < count else { return nil }
            let offset = load(Int(sections) + 64 * index + 24, as: UInt64.self)
            let size = load(Int(sections) + 64 * index + 32, as: UInt64.self)
            guard offset <= UInt64(bytes.count), size <= UInt64(bytes.count) - offset else { return nil }
            return (Int64(offset), Int64(size))
        }
        func table(ofType type: UInt32) -> SymbolTable? {
            for index in 0..<count where load(Int(sections) + 64 * index + 4, as: UInt32.self) == type {
                guard let symbols = section(index),
                    let names = section(Int(load(Int(sections) + 64 * index + 40, as: UInt32.self)))
                else { return nil }
                return SymbolTable(
                    offset: symbols.offset, size: symbols.size, names: names.offset, namesSize: names.size)
            }
            return nil
        }
        return (table(ofType: 11), table(ofType: 2))
    }
}

/// A symbol table of a base executable, and where the names went.
public struct MovedSymbols: Sendable, Equatable {
    public var base: SymbolTable
    /// File offset of the new table of names.
    public var newNames: Int64

    public init(base: SymbolTable, newNames: Int64) {
        self.base = base
        self.newNames = newNames
    }
}
