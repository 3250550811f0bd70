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

    public init(machine: PredictedMachine, segments: [ExecutableSegment]) {
        self.machine = machine
        self.segments = segments
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
        let limit = UInt64(DeltaFormat.addressLimit)
        for index in 0..<entryCount {
            let entry = Int(tableOffset) + index * entrySize
            guard load(entry, as: UInt32.self) == 1 else { continue }
            let fields = [8, 32, 16, 40].map { load(entry + $0, as: UInt64.self) }
            guard fields.allSatisfy({ $0 < limit }) else { return nil }
            segments.append(
                ExecutableSegment(
                    fileOffset: Int64(fields[0]), fileSize: Int64(fields[1]), address: Int64(fields[2]),
                    memorySize: Int64(fields[3])))
        }
        guard !segments.isEmpty else { return nil }
        self.init(machine: machine, segments: segments)
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
