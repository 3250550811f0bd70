import Base
@_spi(Fuzzing) import ImageDelta
import TestSupport
import Testing

/// Header recipes that ask for what lies outside the extracted layer, or for more than there is.
@Suite struct HostileRecipeTests {
    private static let skeletonSize: Int64 = 1 << 20

    private func open(_ steps: [UInt8]) throws {
        let workshop = try Workshop()
        let zero = Digest.sha256([])
        let frame = DeltaForge.frame(steps)
        let header = DeltaHeader(
            targetSize: 1, targetDiffID: zero,
            bases: [
                .init(
                    size: Self.skeletonSize, diffID: zero, skeletonSize: Self.skeletonSize,
                    skeletonDigest: Array(zero.bytes.prefix(8)), recipe: .regenerated(byteCount: Int64(frame.count)))
            ], usedRuns: [], spanDigests: [])
        let chapter = DeltaForge.Chapter(output: 1, streams: [], digest: [UInt8](repeating: 0, count: 8))
        let path = try workshop.put("delta", DeltaForge.file(header, recipes: [frame], [chapter]))
        _ = try workshop.put("secret", Array("outside".utf8))
        let fileSystem = FileSystem()
        try fileSystem.makeDirectories(workshop.directory.file("tree/etc"), op: "test")
        try fileSystem.makeDirectories(workshop.directory.file("scratch"), op: "test")
        try fileSystem.replace(workshop.directory.file("tree/etc/name"), with: [1], op: "test")
        let delta = try DeltaApply(path: path)
        _ = try BaseAssembly(delta: delta, scratch: workshop.directory.file("scratch"))
            .tree(0, root: try TreeRoot(path: workshop.directory.file("tree")), skeleton: nil)
    }

    private func step(_ step: SkeletonPatch.Step, _ numbers: [Int64], _ bytes: [UInt8] = []) -> [UInt8] {
        var output = [step.rawValue]
        for number in numbers { output.appendVarint(number) }
        return output + bytes
    }

    @Test(arguments: [
        "../secret", "etc/../../secret", "/etc/passwd", "..", ".", "etc/./name", "etc//name", "./etc/name", "etc/name/",
    ])
    func aPathThatLeadsOutsideIsRefused(_ path: String) throws {
        let bytes = step(.path, [Int64(path.utf8.count)], Array(path.utf8) + [0])
        let error = #expect(throws: DeltaError.self) { try open(bytes) }
        #expect(error?.reason == .missingBase)
    }

    @Test(arguments: [Int64(1) << 40, 4_097, 1 << 20]) func longPathsAreRefusedBeforeTheyAreRead(_ count: Int64) {
        let error = #expect(throws: DeltaError.self) { try open(step(.path, [count])) }
        #expect(error?.reason == .limit)
    }

    @Test(arguments: [SkeletonPatch.Step.run, .skip, .literal, .headers])
    func countsBeyondTheirBoundAreRefused(_ kind: SkeletonPatch.Step) {
        let error = #expect(throws: DeltaError.self) { try open(step(kind, [Int64(1) << 45])) }
        #expect(error?.reason == .limit)
    }

    @Test func aTreeWithFewerEntriesThanTheRecipeAsksForIsNamed() {
        let error = #expect(throws: DeltaError.self) { try open(step(.skip, [1_000])) }
        #expect(error?.reason == .missingBase)
    }
}
