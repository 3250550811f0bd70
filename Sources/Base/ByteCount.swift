/// A number of bytes, printed in binary units.
public struct ByteCount: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var bytes: Int64

    public init(_ bytes: Int64) { self.bytes = bytes }
    public init(_ bytes: Int) { self.bytes = Int64(bytes) }

    public static func kib(_ count: Int64) -> ByteCount { ByteCount(count << 10) }
    public static func mib(_ count: Int64) -> ByteCount { ByteCount(count << 20) }
    public static func gib(_ count: Int64) -> ByteCount { ByteCount(count << 30) }

    public static func < (lhs: ByteCount, rhs: ByteCount) -> Bool { lhs.bytes < rhs.bytes }

    /// `512 B`, `1.5 KiB`, `37.2 MiB`: one decimal, rounded down.
    public var description: String {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB"]
        let magnitude = bytes.magnitude
        guard magnitude >= 1024 else { return "\(bytes) B" }
        var divisor: UInt64 = 1024
        var unit = 0
        while magnitude / divisor >= 1024, unit + 1 < units.count {
            divisor <<= 10
            unit += 1
        }
        let whole = magnitude / divisor
        let tenth = (magnitude % divisor) * 10 / divisor
        return "\(bytes < 0 ? "-" : "")\(whole).\(tenth) \(units[unit])"
    }
}
