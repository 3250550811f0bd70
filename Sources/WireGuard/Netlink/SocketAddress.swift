import Glibc

/// `sockaddr_in` and `sockaddr_in6` as WGPEER_A_ENDPOINT carries them.
enum SocketAddress {
    private static let v4Bytes = 16
    private static let v6Bytes = 28

    static func encode(_ endpoint: Endpoint) -> [UInt8] {
        let isV4 = endpoint.address.family == .v4
        var bytes: [UInt8] = []
        withUnsafeBytes(of: sa_family_t(isV4 ? AF_INET : AF_INET6)) { bytes += $0 }
        bytes += [UInt8(endpoint.port >> 8), UInt8(endpoint.port & 0xFF)]
        if isV4 { return bytes + endpoint.address.bytes + [UInt8](repeating: 0, count: 8) }
        bytes += [0, 0, 0, 0]
        bytes += endpoint.address.bytes
        withUnsafeBytes(of: endpoint.scope) { bytes += $0 }
        return bytes
    }

    static func decode(_ bytes: UnsafeRawBufferPointer) throws(WireGuardError) -> Endpoint {
        let family = bytes.count >= 2 ? Int32(bytes.loadUnaligned(as: sa_family_t.self)) : -1
        let range: Range<Int>
        switch (family, bytes.count) {
        case (AF_INET, v4Bytes...): range = 4..<8
        case (AF_INET6, v6Bytes...): range = 8..<24
        default: throw .malformed(what: "WGPEER_A_ENDPOINT", why: "family \(family) in \(bytes.count) bytes")
        }
        guard let address = IPAddress(bytes: bytes[range]) else {
            throw .malformed(what: "WGPEER_A_ENDPOINT", why: "address of \(range.count) bytes")
        }
        return Endpoint(
            address: address, port: UInt16(bytes[2]) << 8 | UInt16(bytes[3]),
            scope: family == AF_INET6 ? bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self) : 0)
    }
}
