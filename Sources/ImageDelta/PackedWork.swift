/// What making a packed member costs, in positions looked at (about 3.5 nanoseconds on the machine of
/// tools/bench/README.md). A chapter may cost so much and no more, so that a hostile delta cannot keep a device busy.
package struct PackedWork: Sendable {
    /// Of one chapter: about half a second.
    package static let chapterLimit = 1 << 27
    /// Of one byte of content, of one byte of a packed base's content, and of one block with its codes.
    private static let contentCost = 2
    private static let baseCost = 1
    private static let blockCost = 1 << 12

    /// What is left for the chapter.
    private(set) var left: Int

    package init(left: Int = PackedWork.chapterLimit) { self.left = left }

    /// What is known before the search.
    package static func fixed(content: Int, base: Int, blocks: Int) -> Int {
        content * contentCost + base * baseCost + blocks * blockCost
    }

    mutating func spend(_ amount: Int) throws(DeltaError) {
        guard amount <= left else {
            throw DeltaError(.limit, "the packed members of a chapter take more work than \(Self.chapterLimit)")
        }
        left -= amount
    }
}
