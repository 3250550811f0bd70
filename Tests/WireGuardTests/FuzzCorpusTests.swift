import Base
import TestSupport
import Testing

@_spi(Fuzzing) @testable import WireGuard

/// The fuzz targets' seeds, and mutations of them that are the same on every run.
@Suite struct FuzzCorpusTests {
    private static let targets: [String: @Sendable (UnsafeRawBufferPointer) -> Void] = [
        "WireGuardNetlink": WireGuardFuzzing.netlink, "WireGuardUAPI": WireGuardFuzzing.uapi,
    ]

    @Test(arguments: ["WireGuardNetlink", "WireGuardUAPI"])
    func everySeedAndItsMutationsKeepTheProperties(name: String) throws {
        let target = try #require(Self.targets[name])
        let folder = Repository.root + "/tools/fuzz/corpus/" + name
        let seeds = try FileSystem().list(folder)
        #expect(seeds.count >= 4)
        var generator = SeededGenerator(seed: 0xF0)
        for seed in seeds {
            let bytes = try FileSystem().read(folder + "/" + seed, limit: 1 << 20)
            bytes.withUnsafeBytes(target)
            for length in 0..<bytes.count { bytes[..<length].withUnsafeBytes(target) }
            for _ in 0..<2000 {
                var mutated = bytes
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    let index = Int.random(in: 0..<mutated.count, using: &generator)
                    switch UInt8.random(in: 0...3, using: &generator) {
                    case 0: mutated[index] = UInt8.random(in: 0...255, using: &generator)
                    case 1: mutated[index] ^= 1 << UInt8.random(in: 0...7, using: &generator)
                    case 2: mutated.insert(UInt8.random(in: 0...255, using: &generator), at: index)
                    default: if mutated.count > 1 { mutated.remove(at: index) }
                    }
                }
                mutated.withUnsafeBytes(target)
            }
        }
    }
}
