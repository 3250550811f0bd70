/// Reads the header's fields from a bounded array; every read is checked.
struct ByteCursor {
    private let bytes: [UInt8]
    private(set) var position: Int
    private let what: String

    init(_ bytes: [UInt8], what: String) {
        self.bytes = bytes
        self.position = 0
        self.what = what
    }

    var isAtEnd: Bool { position == bytes.count }

    mutating func byte() throws(DeltaError) -> UInt8 {
        guard position < bytes.count else { throw DeltaError(.truncated, "in \(what)") }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func take(_ count: Int) throws(DeltaError) -> [UInt8] {
        guard count <= bytes.count - position else { throw DeltaError(.truncated, "in \(what)") }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    /// LEB128, at most nine bytes, so the value is never negative as Int64.
    mutating func varint() throws(DeltaError) -> Int64 {
        var value: Int64 = 0
        var shift: Int64 = 0
        while shift < 63 {
            let next = try byte()
            value |= Int64(next & 0x7F) << shift
            if next < 0x80 { return value }
            shift += 7
        }
        throw DeltaError(.malformed, "a number in \(what) has more than nine bytes")
    }

    /// A number of at most `limit`.
    mutating func number(_ field: String, limit: Int64) throws(DeltaError) -> Int64 {
        let value = try varint()
        guard value <= limit else { throw DeltaError(.limit, "\(field) is \(value), at most \(limit)") }
        return value
    }
}

extension Array where Element == UInt8 {
    /// Appends LEB128. `value` is not negative.
    package mutating func appendVarint(_ value: Int64) {
        var rest = UInt64(bitPattern: value)
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }

    /// Appends a signed number, zigzag then LEB128.
    package mutating func appendSigned(_ value: Int64) {
        appendVarint((value << 1) ^ (value >> 63))
    }
}
