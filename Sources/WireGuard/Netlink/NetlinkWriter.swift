import CMnl

/// Builds one netlink message: header, then attributes with 4-byte alignment, in host byte order
/// (RFC 3549 section 2; linux/netlink.h).
struct NetlinkWriter {
    static let headerBytes = 16
    static let attributeHeaderBytes = 4
    /// The most one attribute can hold, its length being 16 bits wide.
    static let maxAttributePayload = 65_532

    private(set) var bytes: [UInt8] = []

    /// `capacity` bytes are reserved at once, so that no copy of a key is left in a freed buffer.
    init(type: UInt16, flags: UInt16, sequence: UInt32, capacity: Int = 256) {
        bytes.reserveCapacity(capacity)
        append(UInt32(0))
        append(type)
        append(flags)
        append(sequence)
        append(UInt32(0))
    }

    var count: Int { bytes.count }

    mutating func append<Integer: FixedWidthInteger>(_ value: Integer) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    /// A fixed structure after the header: `genlmsghdr`, `ifinfomsg`, …
    mutating func append(structure: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: structure)
        pad()
    }

    mutating func attribute(_ type: UInt16, _ payload: UnsafeRawBufferPointer) {
        precondition(payload.count <= Self.maxAttributePayload)
        append(UInt16(payload.count + Self.attributeHeaderBytes))
        append(type)
        bytes.append(contentsOf: payload)
        pad()
    }

    mutating func attribute(_ type: UInt16, _ payload: [UInt8]) {
        payload.withUnsafeBytes { attribute(type, $0) }
    }

    mutating func attribute<Integer: FixedWidthInteger>(_ type: UInt16, integer value: Integer) {
        withUnsafeBytes(of: value) { attribute(type, $0) }
    }

    /// With the NUL that NLA_NUL_STRING wants.
    mutating func attribute(_ type: UInt16, string: String) {
        attribute(type, Array(string.utf8) + [0])
    }

    /// Opens a nest; give the result to ``close(_:)``.
    mutating func open(_ type: UInt16) -> Int {
        let start = bytes.count
        append(UInt16(0))
        append(type | UInt16(NLA_F_NESTED))
        return start
    }

    mutating func close(_ start: Int) {
        let length = UInt16(bytes.count - start)
        withUnsafeBytes(of: length) { bytes.replaceSubrange(start..<(start + 2), with: $0) }
    }

    /// Takes back everything from `start` on, such as a nest that turned out empty.
    mutating func truncate(to start: Int) { bytes.removeSubrange(start...) }

    /// The message with its length filled in.
    consuming func finish() -> [UInt8] {
        let length = UInt32(bytes.count)
        withUnsafeBytes(of: length) { bytes.replaceSubrange(0..<4, with: $0) }
        return bytes
    }

    private mutating func pad() {
        while !bytes.count.isMultiple(of: 4) { bytes.append(0) }
    }

    /// Bytes an attribute with this payload takes.
    static func size(ofPayload count: Int) -> Int { attributeHeaderBytes + (count + 3) & ~3 }
}
