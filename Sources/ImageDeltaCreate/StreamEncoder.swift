import CZstd
import ImageDelta

/// Compresses one stream, piece by piece, in one zstd context.
///
/// Unchecked Sendable: a chapter's pieces are compressed by one task per stream, and the next chapter is begun
/// only after all of them have ended, so no two threads use an encoder at once.
final class StreamEncoder: @unchecked Sendable {
    private let context: OpaquePointer

    /// The highest level whose tables are no larger than the windows here are good for.
    private static let plainLevel: Int32 = 19

    /// `total` is the output of the whole delta; no window need be larger than that.
    init(stream: DeltaFormat.Stream, level: Int32, total: Int64) throws(DeltaError) {
        guard let context = ZSTD_createCCtx() else { throw DeltaError(.limit, "no memory for a compressor") }
        self.context = context
        var window: Int32 = 12
        while window < stream.windowLog, 1 << Int64(window) < total { window += 1 }
        try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level))
        try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window))
        if level > Self.plainLevel {
            // Left alone, tables for windows of 128 MiB would take 640 MiB a stream.
            try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, window + 1))
            try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, window + 1))
        }
        try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0))
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Compresses `raw` so that a decoder can get all of it from what is returned.
    func flush(_ raw: [UInt8]) throws(DeltaError) -> [UInt8] {
        guard !raw.isEmpty else { return [] }
        let step = ZSTD_CStreamOutSize()
        var output: [UInt8] = []
        var consumed = 0
        while true {
            var failure: DeltaError?
            var isDone = false
            let piece = [UInt8](unsafeUninitializedCapacity: step) { buffer, count in
                raw.withUnsafeBytes { source in
                    var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: consumed)
                    var target = ZSTD_outBuffer(dst: buffer.baseAddress, size: step, pos: 0)
                    let left = ZSTD_compressStream2(context, &target, &input, ZSTD_e_flush)
                    if ZSTD_isError(left) != 0 {
                        failure = DeltaError(.limit, "zstd: \(String(cString: ZSTD_getErrorName(left)))")
                    }
                    consumed = input.pos
                    count = target.pos
                    isDone = left == 0
                }
            }
            if let failure { throw failure }
            output += piece
            if isDone { return output }
        }
    }

    private static func check(_ code: Int) throws(DeltaError) {
        guard ZSTD_isError(code) == 0 else {
            throw DeltaError(.limit, "zstd: \(String(cString: ZSTD_getErrorName(code)))")
        }
    }
}
