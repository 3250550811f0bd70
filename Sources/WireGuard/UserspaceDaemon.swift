import Base
import CLinux
import Glibc

/// Starts and stops a userspace WireGuard for one interface.
///
/// The daemon outlives us on purpose: a tunnel should not fall because an agent restarts. Who comes back finds
/// it by its socket (``UserspaceDevice/isServed()``); it ends when its interface or its socket is removed.
public struct UserspaceDaemon: Sendable {
    /// How long the daemon may take to make its interface and its socket.
    public static let startLimit: Duration = .seconds(10)
    private static let pollMicroseconds: useconds_t = 5_000
    /// POSIX_SPAWN_SETSID of spawn.h, which is behind _GNU_SOURCE and so not imported.
    private static let newSession: Int16 = 0x80

    /// The program, such as `/usr/bin/wireguard-go`.
    public var program: String
    public var directory: String

    public init(program: String, directory: String = UserspaceDevice.defaultDirectory) {
        self.program = program
        self.directory = directory
    }

    /// The first wireguard-go in the places where packages put it.
    public static func installed() -> UserspaceDaemon? {
        ["/usr/bin/wireguard-go", "/usr/local/bin/wireguard-go", "/usr/sbin/wireguard-go"]
            .first { (path: String) in access(path, X_OK) == 0 }
            .map { UserspaceDaemon(program: $0) }
    }

    /// Starts the daemon in the network namespace of the calling thread and returns when it answers.
    /// One that answers already is left alone.
    ///
    /// wireguard-go makes the interface and the socket, hands both to a process in the background and ends; that
    /// first process is ours to wait for, the one in the background is nobody's child here.
    public func start(_ name: InterfaceName) throws(WireGuardError) {
        let device = UserspaceDevice(name: name, directory: directory)
        if device.isServed() { return }
        let process = try spawn(name)
        let deadline = SystemClock.live.monotonic() + UInt64(Self.startLimit.components.seconds) * 1_000_000_000
        var ended = false
        while SystemClock.live.monotonic() < deadline {
            var status: Int32 = 0
            if !ended, waitpid(process, &status, WNOHANG) == process {
                guard status == 0 else {
                    throw .userspaceUnavailable(program: program, why: "it ended with status \(status >> 8 & 0xFF)")
                }
                ended = true
            }
            if ended, device.isServed() { return }
            usleep(Self.pollMicroseconds)
        }
        if !ended {
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
        }
        throw .userspaceUnavailable(program: program, why: "no answer within \(Self.startLimit)")
    }

    /// In a session of its own, so that no terminal ends it.
    private func spawn(_ name: InterfaceName) throws(WireGuardError) -> pid_t {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Threads of Swift's concurrency block most signals; a daemon that inherits that cannot be told to stop.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Self.newSession | Int16(POSIX_SPAWN_SETSIGMASK))
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
        posix_spawn_file_actions_adddup2(&actions, 0, 1)
        posix_spawn_file_actions_adddup2(&actions, 0, 2)
        // A daemon that outlives us must not keep our listening sockets and locks: nobody could take our place.
        holdfast_spawn_close_from(&actions, 3)
        // The last one stops wireguard-go from refusing where it believes in a kernel module.
        let environment = [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LOG_LEVEL=error", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1",
        ]
        let arguments = [program, name.text]
        var process: pid_t = 0
        let result = withCStrings(arguments) { argv in
            withCStrings(environment) { envp in posix_spawn(&process, program, &actions, &attributes, argv, envp) }
        }
        guard result == 0 else {
            throw .userspaceUnavailable(program: program, why: String(cString: strerror(result)))
        }
        return process
    }

    /// Ends the daemon by removing its socket, and waits until its interface is gone.
    public func stop(_ name: InterfaceName) throws(WireGuardError) {
        let path = UAPISocket.path(of: name, in: directory)
        unlink(path)
        try NetworkLinks().delete(name)
    }
}

/// Calls `body` with a NULL-terminated array of C strings.
private func withCStrings<Value>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Value
) -> Value {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeMutableBufferPointer { buffer in
        guard let base = buffer.baseAddress else { preconditionFailure("the array has at least its NULL") }
        return body(base)
    }
}
