import Base
import CZstd

public enum Zstd {
    /// log2 bytes: 8 MiB, the window of everything this project writes, so that a device decompresses
    /// in about 8.5 MiB whatever the level.
    public static let deviceWindowLog = 23
    /// log2 bytes: 128 MiB, what `zstd -d` grants without an option; for layers others compressed.
    public static let foreignWindowLog = 27
    /// A level between speed and size for layers; see tools/bench/bundle.
    public static let defaultLevel = 9
    public static let levels = 1...19
}

/// Decompresses zstd frames (RFC 8878), several in a row and skippable ones included, as they are pulled.
public final class ZstdDecompressor: ByteSource {
    private let source: any ByteSource
    private let subject: String
    private let outputCap: Int64
    private let context: OpaquePointer
    private var input: InputWindow
    private var produced: Int64 = 0
    /// What ZSTD_decompressStream returned last: 0 once a frame is complete and flushed.
    private var pending = 1
    private var sourceEnded = false

    /// - Parameters:
    ///   - outputCap: bytes; one byte more is ``ArchiveError/Reason/outputCap``.
    ///   - windowLog: log2 of the largest window granted; a frame that wants more is refused before it is allocated.
    public init(
        _ source: any ByteSource, outputCap: Int64, windowLog: Int = Zstd.deviceWindowLog, subject: String = "zstd"
    ) throws {
        guard let context = ZSTD_createDCtx() else {
            throw ArchiveError(.zstd, subject: subject, detail: "out of memory")
        }
        self.context = context
        self.source = source
        self.subject = subject
        self.outputCap = outputCap
        input = InputWindow(capacity: ZSTD_DStreamInSize())
        let result = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Int32(windowLog))
        guard ZSTD_isError(result) == 0 else {
            throw ArchiveError(.zstd, subject: subject, detail: "window log \(windowLog) is out of range")
        }
    }

    deinit { ZSTD_freeDCtx(context) }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard buffer.count > 0 else { return 0 }
        while true {
            if input.isEmpty, !sourceEnded, try !input.refill(from: source) { sourceEnded = true }
            if sourceEnded, pending == 0 { return 0 }
            let before = input.count
            let count = try decompressSome(into: buffer)
            produced += Int64(count)
            guard produced <= outputCap else { throw fail(.outputCap, "cap \(outputCap) bytes") }
            if count > 0 { return count }
            if sourceEnded, pending != 0, input.count == before { throw fail(.truncated) }
        }
    }

    private func decompressSome(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var inBuffer = ZSTD_inBuffer(src: input.pointer, size: input.count, pos: 0)
        var outBuffer = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
        let result = ZSTD_decompressStream(context, &outBuffer, &inBuffer)
        input.consume(inBuffer.pos)
        guard ZSTD_isError(result) == 0 else {
            let isWindow = ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge
            throw fail(isWindow ? .window : .zstd, String(cString: ZSTD_getErrorName(result)))
        }
        pending = result
        return outBuffer.pos
    }

    private func fail(_ reason: ArchiveError.Reason, _ detail: String = "") -> ArchiveError {
        ArchiveError(reason, subject: subject, offset: input.consumed, detail: detail)
    }
}

/// Compresses a source into one zstd frame with a content checksum, as it is pulled.
///
/// The output depends on the input, the level and the version of libzstd only: not on the number of
/// workers, the machine, or how the reads fall.
public final class ZstdCompressor: ByteSource {
    private let source: any ByteSource
    private let context: OpaquePointer
    private var input: InputWindow
    private var sourceEnded = false
    private var frameEnded = false

    /// - Parameters:
    ///   - level: 1 to 19.
    ///   - workers: threads that compress; at least one, so that every machine writes the same bytes.
    public init(_ source: any ByteSource, level: Int = Zstd.defaultLevel, workers: Int = 1) throws {
        guard let context = ZSTD_createCCtx() else { throw ArchiveError(.zstd, detail: "out of memory") }
        self.context = context
        self.source = source
        input = InputWindow(capacity: ByteSources.chunkSize)
        let level = min(max(level, Zstd.levels.lowerBound), Zstd.levels.upperBound)
        try set(ZSTD_c_compressionLevel, Int32(level))
        try set(ZSTD_c_checksumFlag, 1)
        try set(ZSTD_c_windowLog, Int32(Zstd.deviceWindowLog))
        // A library built without threads refuses this and works in the caller's thread.
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_nbWorkers, Int32(max(1, workers)))
    }

    deinit { ZSTD_freeCCtx(context) }

    private func set(_ parameter: ZSTD_cParameter, _ value: Int32) throws {
        let result = ZSTD_CCtx_setParameter(context, parameter, value)
        guard ZSTD_isError(result) == 0 else {
            throw ArchiveError(.zstd, detail: String(cString: ZSTD_getErrorName(result)))
        }
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard buffer.count > 0 else { return 0 }
        while !frameEnded {
            if input.isEmpty, !sourceEnded, try !input.refill(from: source) { sourceEnded = true }
            var inBuffer = ZSTD_inBuffer(src: input.pointer, size: input.count, pos: 0)
            var outBuffer = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
            let result = ZSTD_compressStream2(
                context, &outBuffer, &inBuffer, sourceEnded ? ZSTD_e_end : ZSTD_e_continue)
            input.consume(inBuffer.pos)
            guard ZSTD_isError(result) == 0 else {
                throw ArchiveError(.zstd, detail: String(cString: ZSTD_getErrorName(result)))
            }
            if sourceEnded, result == 0 { frameEnded = true }
            if outBuffer.pos > 0 { return outBuffer.pos }
        }
        return 0
    }
}
