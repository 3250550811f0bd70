import Base
import Glibc
import Model

/// Offsets of a time zone from UTC, from a TZif file (RFC 9636) of the system's time zone database.
///
/// Reads the data of version 1 to 4; for times past the last transition the offset of the footer's standard time and
/// daylight-saving rule is used where the file has one in the usual form, else the last transition's.
struct TimeZoneRules: Sendable, Equatable {
    /// Bytes of a file; the largest of the database has under 4 KiB.
    static let sizeLimit = 256 << 10
    static let transitionLimit = 10_000

    private(set) var transitions: [Int64] = []
    /// Seconds east of UTC from each transition on.
    private(set) var offsets: [Int] = []
    private(set) var first = 0
    private(set) var footer: PosixTimeZone?

    static let utc = TimeZoneRules()

    private init() {}

    /// - Parameter directory: `/usr/share/zoneinfo` or a copy of it.
    static func load(_ name: String, directory: String = "/usr/share/zoneinfo") -> TimeZoneRules? {
        if name == "UTC" { return .utc }
        guard MaintenanceWindows.isTimeZoneName(name) else { return nil }
        let path = Path.join(directory, name)
        // Links are followed: the database is full of links to its own files.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        let file = ReadableFile(adopting: descriptor, path: path)
        guard let bytes = try? file.readAll(limit: sizeLimit) else { return nil }
        return TimeZoneRules(parsing: bytes)
    }

    /// Nil for what is no TZif file.
    init?(parsing bytes: [UInt8]) {
        var reader = Reader(bytes: bytes)
        guard var head = Header(&reader) else { return nil }
        var wide = false
        if head.version >= 2 {
            // The first block holds 32-bit times for old readers.
            guard reader.skip(head.blockSize(4)), let second = Header(&reader) else { return nil }
            head = second
            wide = true
        }
        guard head.transitions <= Self.transitionLimit, (1...256).contains(head.types),
            bytes.count - reader.position >= head.blockSize(wide ? 8 : 4)
        else { return nil }
        for _ in 0..<head.transitions {
            guard let time = wide ? reader.integer(8) : reader.integer(4) else { return nil }
            if let last = transitions.last, time <= last { return nil }
            transitions.append(time)
        }
        var indexes: [Int] = []
        for _ in 0..<head.transitions {
            guard let index = reader.byte(), Int(index) < head.types else { return nil }
            indexes.append(Int(index))
        }
        var types: [Int] = []
        for _ in 0..<head.types {
            // More than a day from UTC is no time zone.
            guard let offset = reader.integer(4), abs(offset) <= 26 * 3_600, reader.skip(2) else { return nil }
            types.append(Int(offset))
        }
        first = types[0]
        offsets = indexes.map { types[$0] }
        guard reader.skip(head.characters + head.leaps * (wide ? 12 : 8) + head.standards + head.universals) else {
            return nil
        }
        if wide { footer = reader.footer().flatMap { PosixTimeZone($0) } }
    }

    /// Seconds east of UTC at that moment.
    func offset(at time: Int64) -> Int {
        guard let last = transitions.last else { return footer?.offset(at: time) ?? first }
        if time >= last, let footer { return footer.offset(at: time) }
        var (low, high) = (0, transitions.count)
        while low < high {
            let middle = (low + high) / 2
            if transitions[middle] <= time { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? first : offsets[low - 1]
    }

    private struct Header {
        var version: UInt8
        var universals: Int
        var standards: Int
        var leaps: Int
        var transitions: Int
        var types: Int
        var characters: Int

        init?(_ reader: inout Reader) {
            guard reader.take(4) == Array("TZif".utf8), let version = reader.byte(), reader.skip(15) else { return nil }
            self.version = version == 0 ? 1 : version &- 0x30
            var counts: [Int] = []
            for _ in 0..<6 {
                guard let count = reader.integer(4), (0...65_536).contains(count) else { return nil }
                counts.append(Int(count))
            }
            (universals, standards, leaps) = (counts[0], counts[1], counts[2])
            (transitions, types, characters) = (counts[3], counts[4], counts[5])
        }

        func blockSize(_ width: Int) -> Int {
            transitions * (width + 1) + types * 6 + characters + leaps * (width + 4) + standards + universals
        }
    }

    private struct Reader {
        let bytes: [UInt8]
        var position = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        mutating func skip(_ count: Int) -> Bool {
            guard count >= 0, bytes.count - position >= count else { return false }
            position += count
            return true
        }
        mutating func take(_ count: Int) -> [UInt8]? {
            let start = position
            return skip(count) ? Array(bytes[start..<position]) : nil
        }
        mutating func byte() -> UInt8? { take(1)?.first }
        /// Big-endian two's complement.
        mutating func integer(_ width: Int) -> Int64? {
            guard let taken = take(width) else { return nil }
            var value = UInt64(taken[0] & 0x80 == 0 ? 0 : UInt64.max)
            for byte in taken { value = value << 8 | UInt64(byte) }
            return Int64(bitPattern: value)
        }
        mutating func footer() -> String? {
            guard byte() == 0x0A else { return nil }
            let text = bytes[position...].prefix { $0 != 0x0A }
            return text.count <= 128 ? String(validating: text, as: UTF8.self) : nil
        }
    }
}
