import CMnl
import Glibc

/// Generic netlink: the family's number, which the kernel hands out anew at each boot.
enum GenericNetlink {
    static let headerBytes = 4

    /// `genlmsghdr`: command, version, two reserved bytes.
    static func header(command: UInt8, version: UInt8) -> [UInt8] { [command, version, 0, 0] }

    static func message(
        family: UInt16, command: UInt8, version: UInt8, flags: Int32, sequence: UInt32, capacity: Int = 256
    ) -> NetlinkWriter {
        var writer = NetlinkWriter(
            type: family, flags: UInt16(flags), sequence: sequence, capacity: capacity)
        header(command: command, version: version).withUnsafeBytes { writer.append(structure: $0) }
        return writer
    }

    static func familyRequest(name: String, sequence: UInt32) -> [UInt8] {
        var writer = message(
            family: UInt16(GENL_ID_CTRL), command: UInt8(CTRL_CMD_GETFAMILY), version: 1,
            flags: NLM_F_REQUEST | NLM_F_ACK, sequence: sequence)
        writer.attribute(UInt16(CTRL_ATTR_FAMILY_NAME), string: name)
        return writer.finish()
    }

    /// The number in a CTRL_CMD_NEWFAMILY, nil when the message has none.
    static func familyID(in body: UnsafeRawBufferPointer) throws(WireGuardError) -> UInt16? {
        var attributes = try self.attributes(of: body)
        while let attribute = try attributes.next() {
            if attribute.type == UInt16(CTRL_ATTR_FAMILY_ID) {
                return try attribute.integer(as: UInt16.self, "CTRL_ATTR_FAMILY_ID")
            }
        }
        return nil
    }

    static func attributes(of body: UnsafeRawBufferPointer) throws(WireGuardError) -> NetlinkAttributes {
        guard body.count >= headerBytes else {
            throw .malformed(what: "generic netlink message", why: "\(body.count) bytes")
        }
        return NetlinkAttributes(UnsafeRawBufferPointer(rebasing: body[headerBytes...]))
    }

    /// Asks the kernel, which loads the module that serves the family if it can.
    static func resolve(_ name: String, over exchange: inout NetlinkExchange) throws(WireGuardError) -> UInt16 {
        var family: UInt16?
        do {
            try exchange.request(
                familyRequest(name: name, sequence: exchange.nextSequence()), operation: "resolve",
                element: "generic netlink family \(name)"
            ) { (_, body) throws(WireGuardError) in family = try familyID(in: body) }
        } catch .system(_, _, ENOENT, _) {
            throw .kernelUnsupported
        }
        guard let family else { throw .malformed(what: "CTRL_CMD_NEWFAMILY", why: "no family number") }
        return family
    }
}
