import Dispatch
import Glibc

/// A blocking TCP client of a few system calls, which can be as rude as a test wants.
public final class RudeClient: Sendable {
    public struct Refused: Error { public var code: Int32 }

    /// Seconds that a read waits at most.
    private static let patience = 60
    private let descriptor: Int32

    /// To 127.0.0.1.
    public init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: Self.patience, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else {
            let code = errno
            close(descriptor)
            throw Refused(code: code)
        }
    }

    deinit { close(descriptor) }

    public func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// Says that nothing more comes.
    public func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    public func readAll() -> [UInt8] {
        var output: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = recv(descriptor, &piece, piece.count, 0)
            guard count > 0 else { return output }
            output += piece.prefix(count)
        }
    }

    public func readSome() -> String {
        var piece = [UInt8](repeating: 0, count: 1 << 12)
        let count = recv(descriptor, &piece, piece.count, 0)
        return String(decoding: piece.prefix(max(count, 0)), as: UTF8.self)
    }

    /// Sends bytes on a connection of their own and reads until the other side closes. On a thread of its own, since
    /// the server's work needs the few cooperative ones.
    public static func converse(
        _ port: UInt16, _ bytes: [UInt8], finishes: Bool = false
    ) async throws -> [UInt8] {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    with: Result {
                        let client = try RudeClient(port: port)
                        client.send(bytes)
                        if finishes { client.finish() }
                        return client.readAll()
                    })
            }
        }
    }
}
