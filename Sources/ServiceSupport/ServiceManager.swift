import Base
import Glibc

/// Talks to systemd by the protocol of sd_notify(3): datagrams to the socket named by `NOTIFY_SOCKET`.
public struct ServiceManager: Sendable {
    /// Nil outside systemd: then nothing is sent.
    private let socketPath: String?
    /// Nanoseconds within which systemd wants to hear from the process; nil when it does not watch.
    public let watchdogInterval: UInt64?

    public init(environment: (String) -> String?) {
        socketPath = environment("NOTIFY_SOCKET").flatMap { $0.isEmpty ? nil : $0 }
        // Meant for another process when the pid differs.
        let isOurs = environment("WATCHDOG_PID").map { Int32($0) == getpid() } ?? true
        watchdogInterval = isOurs ? environment("WATCHDOG_USEC").flatMap { UInt64($0) }.map { $0 * 1_000 } : nil
    }

    public static var live: ServiceManager {
        ServiceManager { name in getenv(name).map { String(cString: $0) } }
    }

    public func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }
    public func stopping() { send("STOPPING=1") }
    public func keepAlive() { send("WATCHDOG=1") }

    private func send(_ message: String) {
        guard let socketPath else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(socketPath.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        // An abstract socket is written with @ and named with NUL.
        if bytes.first == 0x40 { bytes[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let payload = Array(message.utf8)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { target in
                payload.withUnsafeBytes {
                    sendto(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL), target, length)
                }
            }
        }
    }
}
