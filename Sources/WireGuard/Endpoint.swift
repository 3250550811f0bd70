import Glibc

/// Where a peer's UDP packets go: address and port, and the interface for a link-local address.
public struct Endpoint: Hashable, Sendable {
    public var address: IPAddress
    public var port: UInt16
    /// Interface index of an IPv6 address that has a scope; 0 for none.
    public var scope: UInt32

    public init(address: IPAddress, port: UInt16, scope: UInt32 = 0) {
        self.address = address
        self.port = port
        self.scope = address.family == .v6 ? scope : 0
    }

    /// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`, `[fe80::1%3]:51820`.
    /// A zone that is no number is looked up among the interfaces of this network namespace.
    public init?(_ text: some StringProtocol) {
        let utf8 = Array(text.utf8)
        guard let endpoint = utf8.withUnsafeBytes({ Endpoint(text: $0) }) else { return nil }
        self = endpoint
    }

    init?(text: UnsafeRawBufferPointer) {
        guard let colon = text.lastIndex(of: 0x3A), colon > 0,
            let port = UInt16(decimal: UnsafeRawBufferPointer(rebasing: text[(colon + 1)...]))
        else { return nil }
        var host = UnsafeRawBufferPointer(rebasing: text[..<colon])
        guard host.first == 0x5B else {
            guard let address = IPAddress(text: host), address.family == .v4 else { return nil }
            self.init(address: address, port: port)
            return
        }
        guard host.count > 2, host.last == 0x5D else { return nil }
        host = UnsafeRawBufferPointer(rebasing: host[1..<(host.count - 1)])
        var scope: UInt32 = 0
        if let percent = host.firstIndex(of: 0x25) {
            guard let index = Self.interfaceIndex(UnsafeRawBufferPointer(rebasing: host[(percent + 1)...])) else {
                return nil
            }
            scope = index
            host = UnsafeRawBufferPointer(rebasing: host[..<percent])
        }
        guard let address = IPAddress(text: host), address.family == .v6 else { return nil }
        self.init(address: address, port: port, scope: scope)
    }

    private static func interfaceIndex(_ zone: UnsafeRawBufferPointer) -> UInt32? {
        if let number = UInt32(decimal: zone) { return number }
        guard let name = InterfaceName(String(decoding: zone, as: UTF8.self)) else { return nil }
        let index = if_nametoindex(name.text)
        return index == 0 ? nil : index
    }
}

extension Endpoint {
    /// True when a device that was given this endpoint may report it so. wireguard-go takes a zone and does not
    /// tell it again; since a link-local address always has one, none there means "not told".
    func isReported(as other: Endpoint?) -> Bool {
        guard let other else { return false }
        if self == other { return true }
        return address.isLinkLocal && other.scope == 0 && address == other.address && port == other.port
    }
}

extension Endpoint: CustomStringConvertible {
    /// As `wg` prints it; the zone by its name where this namespace has the interface.
    public var description: String {
        guard address.family == .v6 else { return "\(address):\(port)" }
        guard scope != 0 else { return "[\(address)]:\(port)" }
        var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        guard if_indextoname(scope, &name) != nil else { return "[\(address)%\(scope)]:\(port)" }
        let zone = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return "[\(address)%\(String(decoding: zone, as: UTF8.self))]:\(port)"
    }
}
