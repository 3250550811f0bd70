import Glibc
@_spi(Fuzzing) import ImageDelta

/// A folder in memory with a small tree, made once.
func makeScratch() -> String {
    var template = Array("/dev/shm/fuzz-delta-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { exit(1) }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    for folder in ["tree", "tree/a", "tree/b"] { mkdir("\(path)/\(folder)", 0o755) }
    for file in ["tree/a/one", "tree/a/two", "tree/b/three"] { close(open("\(path)/\(file)", O_CREAT | O_WRONLY, 0o644)) }
    symlink("../../..", "\(path)/tree/out")
    return path
}
let scratch = makeScratch()

/// One input; 0 keeps it.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    try? DeltaForge.fuzz(Array(UnsafeBufferPointer(start: data, count: count)), scratch: scratch)
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
