import CMnl
import Glibc

/// A netlink socket, as much of one as a test has to stand in for.
protocol NetlinkTransport {
    /// Messages for other ports are not ours.
    var portID: UInt32 { get }
    func send(_ message: [UInt8]) throws(WireGuardError)
    /// Calls `body` with one whole datagram.
    func receive(
        _ body: (UnsafeRawBufferPointer) throws(WireGuardError) -> Void
    ) throws(WireGuardError)
}

/// The real socket, by libmnl. Lives for one operation and belongs to one thread.
final class NetlinkSocket: NetlinkTransport {
    /// The kernel fills up to 32 KiB of a dump at a time when the receiver has room for it.
    private static let receiveBytes = 64 << 10
    /// The kernel answers at once; a longer silence is a fault, not a reason to hang.
    private static let receiveTimeoutSeconds = 30

    private let socket: OpaquePointer
    private let buffer: UnsafeMutableRawBufferPointer

    init(protocol family: Int32) throws(WireGuardError) {
        guard let socket = mnl_socket_open2(family, Int32(SOCK_CLOEXEC.rawValue)) else {
            throw .failure("open", "a netlink socket", errno: errno)
        }
        self.socket = socket
        buffer = .allocate(byteCount: Self.receiveBytes, alignment: 16)
        guard mnl_socket_bind(socket, 0, 0) == 0 else {
            throw .failure("bind", "a netlink socket", errno: errno)
        }
        // A sentence of the kernel's beside the error number, where the kernel is new enough to have one.
        var on: Int32 = 1
        _ = mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, socklen_t(MemoryLayout<Int32>.size))
        var timeout = timeval(tv_sec: Self.receiveTimeoutSeconds, tv_usec: 0)
        setsockopt(
            mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit {
        // A dump holds the private and preshared keys.
        if let base = buffer.baseAddress { explicit_bzero(base, buffer.count) }
        buffer.deallocate()
        mnl_socket_close(socket)
    }

    var portID: UInt32 { mnl_socket_get_portid(socket) }

    func send(_ message: [UInt8]) throws(WireGuardError) {
        while mnl_socket_sendto(socket, message, message.count) < 0 {
            guard errno == EINTR else { throw .failure("send to", "netlink", errno: errno) }
        }
    }

    func receive(
        _ body: (UnsafeRawBufferPointer) throws(WireGuardError) -> Void
    ) throws(WireGuardError) {
        while true {
            let count = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw .failure("receive from", "netlink", errno: errno)
            }
            return try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }
}
