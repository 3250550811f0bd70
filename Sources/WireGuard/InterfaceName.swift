/// A network interface's name, as the kernel allows it and a path can hold it.
public struct InterfaceName: Hashable, Sendable, CustomStringConvertible {
    /// IFNAMSIZ less its NUL.
    public static let maxBytes = 15

    public let text: String

    /// 1 to 15 bytes of letters, digits and `_ - . = +`; not `.` or `..`. The kernel takes a few more,
    /// but a UAPI socket is named after its interface, so a slash or a space has no place here.
    public init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        guard (1...Self.maxBytes).contains(bytes.count), text != ".", text != ".." else { return nil }
        for byte in bytes {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F, 0x2D, 0x2E, 0x3D, 0x2B: continue
            default: return nil
            }
        }
        self.text = String(text)
    }

    public init(parsing text: String) throws(WireGuardError) {
        guard let name = InterfaceName(text) else {
            throw .invalidText(what: "an interface name (1 to 15 letters, digits or _-.=+)", text: text)
        }
        self = name
    }

    public var description: String { text }
}
