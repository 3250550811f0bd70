// libmnl's header brings <sys/socket.h> into its module, so the socket types may belong to either.
import CMnl
import Glibc

/// A connection to the control socket of a userspace WireGuard.
final class UAPISocket {
    /// Where wireguard-go and its kin put their sockets.
    static let directory = "/var/run/wireguard"
    private static let readBytes = 256 << 10
    /// A daemon may chew for long on a large `set`: 60,000 peers take it ten seconds and more.
    private static let timeoutSeconds = 120

    private let descriptor: Int32
    private let path: String

    static func path(of name: InterfaceName, in directory: String = directory) -> String {
        "\(directory)/\(name.text).sock"
    }

    init(path: String) throws(WireGuardError) {
        self.path = path
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .failure("open a socket for", path, errno: errno) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard bytes.count < room else { throw .limit(what: "bytes in the path of a UAPI socket", limit: room - 1) }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        var timeout = timeval(tv_sec: Self.timeoutSeconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &timeout, socklen_t(MemoryLayout<timeval>.size))
        }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw .failure("connect to", path, errno: errno) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// False when the daemon has hung up: it does so after an error, and the error is still to be read.
    func send(_ bytes: UnsafeRawBufferPointer) throws(WireGuardError) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = Glibc.send(
                descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EPIPE || errno == ECONNRESET { return false }
                throw .failure("write to", path, errno: errno)
            }
            done += count
        }
        return true
    }

    /// Waits until the daemon has hung up, which nothing but its end makes it do with a silent connection.
    func awaitEnd(seconds: Int) throws(WireGuardError) {
        var timeout = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var byte: UInt8 = 0
        while recv(descriptor, &byte, 1, 0) < 0 {
            if errno == ECONNRESET { return }
            guard errno == EINTR else { throw .failure("wait for the end of the daemon at", path, errno: errno) }
        }
    }

    /// Feeds `parser` until the answer is complete or the daemon hangs up.
    func receive(into parser: inout UAPIParser) throws(WireGuardError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.readBytes, alignment: 16)
        defer {
            // The answer holds the private and preshared keys.
            if let base = buffer.baseAddress { explicit_bzero(base, buffer.count) }
            buffer.deallocate()
        }
        while !parser.isComplete {
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count < 0 {
                if errno == EINTR { continue }
                throw .failure("read from", path, errno: errno)
            }
            guard count > 0 else { return }
            try parser.consume(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }
}
