import Archive
import Glibc

/// Compressed or plain tar archives: decompressed by magic number, parsed, content read.
func consume(_ bytes: [UInt8]) throws {
    let plain = try Compression(prefix: bytes).decompressor(
        MemorySource(bytes), outputCap: 1 << 20, subject: "fuzz")
    let reader = TarReader(plain, limits: TarLimits(entries: 1000, extendedBytes: 1 << 16, totalBytes: 1 << 20))
    while let header = try reader.next() {
        precondition(header.span.start <= header.span.block && header.span.block < header.span.content)
        precondition(header.span.content <= header.span.contentEnd && header.span.contentEnd <= header.span.end)
        var count: Int64 = 0
        try reader.forEachChunk { count += Int64($0.count) }
        precondition(count == header.size)
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // A refusal is as good as a success: only a trap is a finding.
    try? consume(Array(UnsafeBufferPointer(start: data, count: count)))
    return 0
}

/// libFuzzer's own loop: SwiftPM gives `main` to this file, so it is called from here.
@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

var count = CommandLine.argc
var arguments = CommandLine.unsafeArgv
exit(runDriver(&count, &arguments, testOneInput))
