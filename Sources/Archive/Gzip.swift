import Base
import CZlib

/// Decompresses a gzip stream (RFC 1952), several members included, as they are pulled.
public final class GzipDecompressor: ByteSource {
    private let source: any ByteSource
    private let subject: String
    private let outputCap: Int64
    private var stream: UnsafeMutablePointer<z_stream>
    private var input: InputWindow
    private var produced: Int64 = 0
    /// Whether the last member is complete, so that the input may end here.
    private var memberEnded = true
    private var started = false

    /// - Parameter outputCap: bytes; one byte more is ``ArchiveError/Reason/outputCap``.
    public init(_ source: any ByteSource, outputCap: Int64, subject: String = "gzip") throws {
        self.source = source
        self.subject = subject
        self.outputCap = outputCap
        input = InputWindow(capacity: ByteSources.chunkSize)
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 16: expect a gzip header, not zlib's.
        guard inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            stream.deallocate()
            throw ArchiveError(.gzip, subject: subject, detail: "out of memory")
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard let base = buffer.baseAddress, buffer.count > 0 else { return 0 }
        while true {
            if input.isEmpty, try !input.refill(from: source) {
                guard memberEnded, started else { throw fail(.truncated) }
                return 0
            }
            if memberEnded, started { inflateReset(stream) }
            started = true
            memberEnded = false
            let count = try inflateSome(into: base, capacity: buffer.count)
            produced += Int64(count)
            guard produced <= outputCap else { throw fail(.outputCap, "cap \(outputCap) bytes") }
            if count > 0 { return count }
        }
    }

    private func inflateSome(into base: UnsafeMutableRawPointer, capacity: Int) throws -> Int {
        let limit = min(capacity, Int(UInt32.max))
        stream.pointee.next_in = input.pointer.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.next_out = base.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(limit)
        let result = inflate(stream, Z_NO_FLUSH)
        input.consume(input.count - Int(stream.pointee.avail_in))
        switch result {
        case Z_STREAM_END: memberEnded = true
        case Z_OK, Z_BUF_ERROR: break
        default:
            throw fail(.gzip, stream.pointee.msg.map { String(cString: $0) } ?? "code \(result)")
        }
        return limit - Int(stream.pointee.avail_out)
    }

    private func fail(_ reason: ArchiveError.Reason, _ detail: String = "") -> ArchiveError {
        ArchiveError(reason, subject: subject, offset: input.consumed, detail: detail)
    }
}

/// A fixed buffer between a source and a decompressor.
struct InputWindow: ~Copyable {
    private let base: UnsafeMutableRawPointer
    private let capacity: Int
    private var start = 0
    private var end = 0
    /// Bytes taken by the decompressor so far.
    private(set) var consumed: Int64 = 0

    init(capacity: Int) {
        self.capacity = capacity
        base = .allocate(byteCount: capacity, alignment: 16)
    }
    deinit { base.deallocate() }

    var isEmpty: Bool { start == end }
    var count: Int { end - start }
    var pointer: UnsafeMutableRawPointer { base + start }

    /// Replaces the consumed content; false at the end of the source.
    mutating func refill(from source: any ByteSource) throws -> Bool {
        start = 0
        end = 0
        end = try source.read(into: UnsafeMutableRawBufferPointer(start: base, count: capacity))
        return end > 0
    }

    mutating func consume(_ count: Int) {
        start += count
        consumed += Int64(count)
    }
}
