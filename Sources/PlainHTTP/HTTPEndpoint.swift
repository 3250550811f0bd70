import Glibc
import NIOCore

/// Where an exchange takes place. Names are not resolved: a device's network need not have a resolver that can be trusted.
public enum HTTPEndpoint: Sendable, Hashable, CustomStringConvertible {
    /// At most 107 bytes of path, the limit of `sockaddr_un`.
    case unixSocket(path: String)
    case tcp(TCPAddress)

    public struct TCPAddress: Sendable, Hashable {
        /// IPv4 or IPv6, in numbers.
        public var address: String
        public var port: Int
        /// The address to send from, in numbers.
        public var source: String?
        /// The interface to send through, whatever the routes say: `wg0`, at most 15 bytes.
        public var interface: String?

        public init(address: String, port: Int, source: String? = nil, interface: String? = nil) {
            self.address = address
            self.port = port
            self.source = source
            self.interface = interface
        }
    }

    public var description: String {
        switch self {
        case .unixSocket(let path): path
        case .tcp(let address): address.authority
        }
    }

    func socketAddress() throws -> SocketAddress {
        switch self {
        case .unixSocket(let path): try SocketAddress(unixDomainSocketPath: path)
        case .tcp(let tcp): try SocketAddress(ipAddress: tcp.address, port: tcp.port)
        }
    }
}

extension HTTPEndpoint.TCPAddress {
    /// `192.0.2.1:80`, `[fd00::1]:80`.
    public var authority: String { address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)" }
}

/// A network interface's name as `setsockopt(SO_BINDTODEVICE)` takes it, ended by a zero. Source: socket(7).
struct InterfaceName: BitwiseCopyable {
    /// `IFNAMSIZ`, in bytes, with the zero that ends it.
    static let capacity = 16
    private var halves: (UInt64, UInt64) = (0, 0)

    /// Nil for a name that no interface can have.
    init?(_ name: String) {
        let bytes = Array(name.utf8)
        guard !bytes.isEmpty, bytes.count < Self.capacity, !bytes.contains(0) else { return nil }
        withUnsafeMutableBytes(of: &halves) { $0.copyBytes(from: bytes) }
    }
}
