import Glibc
import OCI

/// Manifests, indexes, configs and references, each reader on every input.
func consume(_ bytes: [UInt8]) throws {
    _ = try? ImageConfig(decoding: bytes)
    if let manifest = try? ImageManifest(decoding: bytes) {
        let again = try ImageManifest(decoding: manifest.encoded())
        precondition(again.layers.map(\.blob) == manifest.layers.map(\.blob))
    }
    if let index = try? ImageIndex(decoding: bytes) {
        let again = try ImageIndex(decoding: index.encoded())
        precondition(again == index)
    }
    if let reference = try? ImageReference(String(decoding: bytes, as: UTF8.self)) {
        let again = try ImageReference(reference.description)
        precondition(again == reference)
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
