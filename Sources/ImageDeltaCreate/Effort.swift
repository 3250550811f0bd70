/// How hard to look for a smaller delta.
public struct Effort: Sendable, Equatable {
    /// 1 (fastest) to 9 (smallest).
    public let level: Int

    public static let range = 1...9
    public static let standard = Effort(clamping: 7)

    /// Nil outside 1...9.
    public init?(_ level: Int) {
        guard Self.range.contains(level) else { return nil }
        self.level = level
    }

    private init(clamping level: Int) { self.level = level }

    var compressionLevel: Int32 {
        switch level {
        case 1: 5
        case 2: 7
        case 3: 9
        case 4: 12
        case 5: 15
        case 6: 17
        case 7: 19
        case 8: 20
        default: 22
        }
    }

    /// Suffix sorting finds every match; below this, only anchors of a few bytes are indexed.
    var sortsSuffixes: Bool { level >= 4 }

    /// Whether a member with a base by path is also compared with all others by likeness.
    var comparesAllByLikeness: Bool { level >= 4 }

    /// Whether packed files are made from their contents only as far as an apply's CPU time stays low; without, a delta
    /// is smaller and takes longer to apply.
    var boundsRecompression: Bool { level <= 7 }
}
