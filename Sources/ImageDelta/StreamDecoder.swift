import Base
import CZstd

/// One zstd stream that is cut into pieces, one per chapter, and decoded as it is asked for.
///
/// Memory is the window plus two small buffers, whatever a piece decodes to: nothing is expanded that
/// nobody asked for, so a compression bomb costs no more than the output it is bounded by.
final class StreamDecoder {
    private static let inputBytes = 32 << 10
    private static let outputBytes = 64 << 10

    private let file: ReadableFile
    private let stream: DeltaFormat.Stream
    private var context: OpaquePointer?
    /// Of one byte until the stream has bytes; most deltas leave some streams empty.
    private var input: UnsafeMutableRawPointer
    private var output: UnsafeMutablePointer<UInt8>
    private var inputPosition = 0
    private var inputEnd = 0
    private var position = 0
    private var end = 0
    /// Whether the decoder may hold output that did not fit.
    private var isBrimming = false
    /// The part of the current piece that is still in the file.
    private var fileOffset: Int64 = 0
    private var fileEnd: Int64 = 0

    init(file: ReadableFile, stream: DeltaFormat.Stream) {
        self.file = file
        self.stream = stream
        input = .allocate(byteCount: 1, alignment: 16)
        output = .allocate(capacity: 1)
    }

    deinit {
        if let context { ZSTD_freeDCtx(context) }
        input.deallocate()
        output.deallocate()
    }

    /// Goes on with the piece at `offset`; the former piece must be used up.
    func begin(offset: Int64, length: Int64) throws(DeltaError) {
        fileOffset = offset
        fileEnd = offset + length
        guard length > 0, context == nil else { return }
        guard let made = ZSTD_createDCtx() else { throw DeltaError(.limit, "no memory for a decoder") }
        context = made
        input.deallocate()
        output.deallocate()
        input = .allocate(byteCount: Self.inputBytes, alignment: 16)
        output = .allocate(capacity: Self.outputBytes)
        try check(ZSTD_DCtx_setParameter(made, ZSTD_d_windowLogMax, stream.windowLog))
    }

    /// Decodes more; false when the chapter's piece is used up.
    private func refill() throws(DeltaError) -> Bool {
        guard let context else { return false }
        while true {
            if inputPosition == inputEnd {
                if fileOffset < fileEnd {
                    try load()
                } else if !isBrimming {
                    // zstd takes being asked again and again without input for an error.
                    return false
                }
            }
            var source = ZSTD_inBuffer(src: input, size: inputEnd, pos: inputPosition)
            var target = ZSTD_outBuffer(dst: output, size: Self.outputBytes, pos: 0)
            try check(ZSTD_decompressStream(context, &target, &source))
            let consumed = source.pos - inputPosition
            inputPosition = source.pos
            position = 0
            end = target.pos
            isBrimming = end == Self.outputBytes
            if end > 0 { return true }
            if inputPosition == inputEnd {
                if fileOffset == fileEnd { return false }
            } else if consumed == 0 {
                throw DeltaError(.malformed, "the \(stream) stream stands still")
            }
        }
    }

    private func load() throws(DeltaError) {
        let count = Int(min(fileEnd - fileOffset, Int64(Self.inputBytes)))
        let read = try DeltaError.wrap { () throws(FileSystemError) in
            try file.read(into: UnsafeMutableRawBufferPointer(start: input, count: count), at: fileOffset)
        }
        guard read == count else { throw DeltaError(.truncated, "in a chapter") }
        fileOffset += Int64(read)
        inputPosition = 0
        inputEnd = read
    }

    private func check(_ code: Int) throws(DeltaError) {
        guard ZSTD_isError(code) == 0 else {
            throw DeltaError(.malformed, "the \(stream) stream: \(String(cString: ZSTD_getErrorName(code)))")
        }
    }

    // MARK: Reading

    /// Whether the current chapter holds nothing more of this stream.
    func isExhausted() throws(DeltaError) -> Bool {
        if position < end { return false }
        return try !refill()
    }

    @inline(__always)
    func byte() throws(DeltaError) -> UInt8 {
        if position == end, try !refill() {
            throw DeltaError(.truncated, "the \(stream) stream of a chapter")
        }
        let value = output[position]
        position += 1
        return value
    }

    @inline(__always)
    func varint() throws(DeltaError) -> Int64 {
        let first = try byte()
        return first < 0x80 ? Int64(first) : try longVarint(first)
    }

    private func longVarint(_ first: UInt8) throws(DeltaError) -> Int64 {
        var value = Int64(first & 0x7F)
        var shift: Int64 = 7
        while shift < 63 {
            let next = try byte()
            value |= Int64(next & 0x7F) << shift
            if next < 0x80 { return value }
            shift += 7
        }
        throw DeltaError(.malformed, "a number in the \(stream) stream has more than nine bytes")
    }

    /// A number of at most `limit`.
    func number(_ field: StaticString, limit: Int64) throws(DeltaError) -> Int64 {
        let value = try varint()
        guard value <= limit else { throw DeltaError(.limit, "\(field) is \(value), at most \(limit)") }
        return value
    }

    /// A zigzag number within plus or minus 2^62.
    func signed() throws(DeltaError) -> Int64 {
        let value = try varint()
        return (value >> 1) ^ -(value & 1)
    }

    /// Adds the next `count` bytes to those at `target`, modulo 256.
    func add(to target: UnsafeMutablePointer<UInt8>, count: Int) throws(DeltaError) {
        var done = 0
        while done < count {
            let part = try available(count - done)
            for index in 0..<part { target[done + index] &+= output[position + index] }
            position += part
            done += part
        }
    }

    func copy(to target: UnsafeMutablePointer<UInt8>, count: Int) throws(DeltaError) {
        var done = 0
        while done < count {
            let part = try available(count - done)
            (target + done).update(from: output + position, count: part)
            position += part
            done += part
        }
    }

    func skip(_ count: Int) throws(DeltaError) {
        var done = 0
        while done < count {
            let part = try available(count - done)
            position += part
            done += part
        }
    }

    @inline(__always)
    private func available(_ wanted: Int) throws(DeltaError) -> Int {
        if position == end, try !refill() {
            throw DeltaError(.truncated, "the \(stream) stream of a chapter")
        }
        return min(wanted, end - position)
    }
}
