import Glibc

/// Time zone files and their footers. The reader's sources are linked in: it is not public, and what else its module
/// needs would take minutes to build.
func consume(_ bytes: [UInt8]) {
    // What windows ask for, and the edges of what a clock can say.
    let moments: [Int64] = [
        0, 1_800_000_000, -1_800_000_000, 4_102_444_800, 253_402_300_799, Int64(Int32.min), Int64(Int32.max),
        Int64(UInt32.max),
    ]
    if let rules = TimeZoneRules(parsing: bytes) {
        for moment in moments + rules.transitions.suffix(4) where (-1 << 40...1 << 40).contains(moment) {
            precondition(abs(rules.offset(at: moment)) <= 26 * 3_600 * 8)
        }
    }
    if let footer = PosixTimeZone(String(decoding: bytes.prefix(128), as: UTF8.self)) {
        for moment in moments { _ = footer.offset(at: moment) }
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    consume(Array(UnsafeBufferPointer(start: data, count: count)))
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
