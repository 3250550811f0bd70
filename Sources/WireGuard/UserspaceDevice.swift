import Glibc

/// An interface that a userspace WireGuard serves, by its UAPI socket.
public struct UserspaceDevice: WireGuardDevice {
    /// Where wireguard-go puts its sockets.
    public static let defaultDirectory = UAPISocket.directory

    public let name: InterfaceName
    let socketPath: String
    /// Seconds that a daemon may take to end.
    static let endLimit = 10

    public init(name: InterfaceName, directory: String = Self.defaultDirectory) {
        self.name = name
        socketPath = UAPISocket.path(of: name, in: directory)
    }

    public func read() throws(WireGuardError) -> DeviceState {
        let socket = try connect()
        let request = Array("get=1\n\n".utf8)
        let delivered = try request.span.bytes.withUnsafeBytes { (bytes) throws(WireGuardError) in
            try socket.send(bytes)
        }
        guard delivered else { throw .malformed(what: "UAPI answer", why: "\(socketPath) hung up") }
        var parser = UAPIParser(name: name)
        try socket.receive(into: &parser)
        try check(parser.errno, "read")
        return try parser.finish()
    }

    public func apply(_ difference: DeviceDifference) throws(WireGuardError) {
        guard !difference.isEmpty else { return }
        let socket = try connect()
        var listening = true
        var writer = UAPIWriter { (bytes) throws(WireGuardError) in
            if listening { listening = try socket.send(bytes) }
        }
        try writer.write(difference)
        var parser = UAPIParser(name: name)
        try socket.receive(into: &parser)
        try check(parser.errno, "configure")
    }

    /// True when a daemon answers for this interface.
    public func isServed() -> Bool { (try? connect()) != nil }

    /// Ends the daemon by taking its socket's name away, and returns when its process is gone.
    ///
    /// A daemon removes its socket as it ends, by name: one that was started meanwhile would lose its own.
    func endDaemon() throws(WireGuardError) {
        let socket: UAPISocket
        do { socket = try connect() } catch .noSuchDevice { return }
        guard unlink(socketPath) == 0 || errno == ENOENT else {
            throw .failure("remove", socketPath, errno: errno)
        }
        try socket.awaitEnd(seconds: Self.endLimit)
    }

    private func connect() throws(WireGuardError) -> UAPISocket {
        do {
            return try UAPISocket(path: socketPath)
        } catch .system(_, _, let code, _) where code == ENOENT || code == ECONNREFUSED {
            // A refused connection is a socket file that a dead daemon left.
            throw .noSuchDevice(name: name.text)
        }
    }

    private func check(_ code: Int32?, _ operation: String) throws(WireGuardError) {
        guard let code else { throw .malformed(what: "UAPI answer", why: "\(socketPath) hung up before errno") }
        guard code != 0 else { return }
        throw .failure(operation, name.text, errno: code, detail: "wireguard daemon")
    }
}
