import CMnl

/// The fixed header of a netlink message.
struct NetlinkHeader: Equatable {
    var type: UInt16
    var flags: UInt16
    var sequence: UInt32
    var portID: UInt32
}

/// Walks the messages of one datagram. What does not add up is an error, never a read past the end.
struct NetlinkMessages {
    private var rest: UnsafeRawBufferPointer

    init(_ datagram: UnsafeRawBufferPointer) { rest = datagram }

    /// The next message and what follows its header; nil at the end.
    mutating func next() throws(WireGuardError) -> (header: NetlinkHeader, body: UnsafeRawBufferPointer)? {
        guard !rest.isEmpty else { return nil }
        guard rest.count >= NetlinkWriter.headerBytes else {
            throw .malformed(what: "netlink datagram", why: "\(rest.count) bytes after the last message")
        }
        let length = Int(rest.loadUnaligned(as: UInt32.self))
        guard length >= NetlinkWriter.headerBytes, length <= rest.count else {
            throw .malformed(what: "netlink message", why: "length \(length) in \(rest.count) bytes")
        }
        let header = NetlinkHeader(
            type: rest.loadUnaligned(fromByteOffset: 4, as: UInt16.self),
            flags: rest.loadUnaligned(fromByteOffset: 6, as: UInt16.self),
            sequence: rest.loadUnaligned(fromByteOffset: 8, as: UInt32.self),
            portID: rest.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
        let body = UnsafeRawBufferPointer(rebasing: rest[NetlinkWriter.headerBytes..<length])
        rest = UnsafeRawBufferPointer(rebasing: rest[min(rest.count, (length + 3) & ~3)...])
        return (header, body)
    }
}

/// One attribute: its type without the nest and byte-order flags, and its payload.
struct NetlinkAttribute {
    var type: UInt16
    var payload: UnsafeRawBufferPointer

    func integer<Integer: FixedWidthInteger>(as type: Integer.Type, _ name: String) throws(WireGuardError) -> Integer {
        guard payload.count == MemoryLayout<Integer>.size else {
            throw .malformed(what: name, why: "\(payload.count) bytes instead of \(MemoryLayout<Integer>.size)")
        }
        return payload.loadUnaligned(as: type)
    }

    /// Text up to its NUL.
    func string(_ name: String) throws(WireGuardError) -> String {
        guard let end = payload.firstIndex(of: 0) else { throw .malformed(what: name, why: "no NUL at its end") }
        return String(decoding: payload[..<end], as: UTF8.self)
    }

    var attributes: NetlinkAttributes { NetlinkAttributes(payload) }
}

/// Walks attributes.
struct NetlinkAttributes {
    /// NLA_F_NESTED and NLA_F_NET_BYTEORDER are the two top bits.
    private static let typeMask: UInt16 = 0x3FFF

    private var rest: UnsafeRawBufferPointer

    init(_ payload: UnsafeRawBufferPointer) { rest = payload }

    mutating func next() throws(WireGuardError) -> NetlinkAttribute? {
        guard !rest.isEmpty else { return nil }
        guard rest.count >= NetlinkWriter.attributeHeaderBytes else {
            throw .malformed(what: "netlink attribute", why: "\(rest.count) bytes after the last one")
        }
        let length = Int(rest.loadUnaligned(as: UInt16.self))
        guard length >= NetlinkWriter.attributeHeaderBytes, length <= rest.count else {
            throw .malformed(what: "netlink attribute", why: "length \(length) in \(rest.count) bytes")
        }
        let attribute = NetlinkAttribute(
            type: rest.loadUnaligned(fromByteOffset: 2, as: UInt16.self) & Self.typeMask,
            payload: UnsafeRawBufferPointer(rebasing: rest[NetlinkWriter.attributeHeaderBytes..<length]))
        rest = UnsafeRawBufferPointer(rebasing: rest[min(rest.count, (length + 3) & ~3)...])
        return attribute
    }
}
