import Base
import CMnl
import Glibc
import Testing

@testable import WireGuard

/// Network namespaces joined by veth pairs, made for one test and removed with it.
///
/// Names carry the process number, so that runs side by side do not meet. Nothing leaves the machine.
final class NetworkLab {
    /// Root, the tools, and a tun device; elsewhere the tests are skipped and say so.
    static let isPossible: Bool = {
        guard geteuid() == 0, access("/dev/net/tun", R_OK | W_OK) == 0 else { return false }
        func isProgram(_ path: String) -> Bool { access(path, X_OK) == 0 }
        return isProgram("/usr/bin/wg") && isProgram("/usr/bin/wireguard-go")
            && (isProgram("/usr/sbin/ip") || isProgram("/usr/bin/ip"))
    }()
    static let reason: Comment = "needs root, /dev/net/tun, wireguard-tools, wireguard-go and iproute2"

    let hosts: [String]
    private let prefix: String
    private let tag: String
    private var interfaces: [(host: String, name: InterfaceName)] = []

    /// `name` tells labs of one run apart; two lower-case letters.
    init(_ name: String, hosts: [String]) throws {
        self.hosts = hosts
        prefix = "hfwg-\(getpid())-\(name)"
        tag = "\(name)\(String(getpid() % 0xFFFFF, radix: 16))"
        for host in hosts {
            try Self.shell("ip netns add \(namespace(host))")
            try Self.shell("ip -n \(namespace(host)) link set lo up")
        }
    }

    deinit {
        for (host, name) in interfaces {
            unlink(UAPISocket.path(of: name, in: UAPISocket.directory))
            _ = try? Self.shell("ip -n \(namespace(host)) link delete \(name)")
        }
        for host in hosts { _ = try? Self.shell("ip netns delete \(namespace(host))") }
    }

    func namespace(_ host: String) -> String { "\(prefix)-\(host)" }

    /// A name no other lab has: UAPI sockets are named by interface alone.
    func interfaceName(_ suffix: String) throws -> InterfaceName {
        try InterfaceName(parsing: "\(tag)\(suffix)")
    }

    /// A veth pair between two hosts, each end named `to-<other>`.
    func join(_ first: String, _ firstAddress: String, _ second: String, _ secondAddress: String) throws {
        try Self.shell(
            "ip -n \(namespace(first)) link add to-\(second) type veth peer name to-\(first) netns \(namespace(second))"
        )
        for (host, other, address) in [(first, second, firstAddress), (second, first, secondAddress)] {
            try ip(host, "addr add \(address) dev to-\(other)")
            try ip(host, "link set to-\(other) up")
        }
    }

    @discardableResult
    func ip(_ host: String, _ command: String) throws -> String {
        try Self.shell("ip -n \(namespace(host)) \(command)")
    }

    /// A tool inside a host's namespace; its output.
    @discardableResult
    func run(_ host: String, _ command: String) throws -> String {
        try Self.shell("ip netns exec \(namespace(host)) \(command)")
    }

    /// An interface on a host, by our own code: wireguard-go is started where the kernel has none.
    func create(_ name: InterfaceName, on host: String, mtu: UInt32 = 1420) throws -> any WireGuardDevice {
        interfaces.append((host, name))
        return try inside(host) { try WireGuardHost().create(name, mtu: mtu) }
    }

    /// The same for a process that starts again and holds this key.
    func create(_ name: InterfaceName, on host: String, recovering key: SecretKey) throws -> any WireGuardDevice {
        interfaces.append((host, name))
        return try inside(host) { try WireGuardHost().recover(name) { $0 == key } }
    }

    /// Runs `body` on a thread of its own that is in the host's namespace, and waits for it.
    func inside<Value: Sendable>(_ host: String, _ body: @escaping @Sendable () throws -> Value) throws -> Value {
        try start(host, body).wait()
    }

    /// Runs `body` on a thread of its own that is in the host's namespace.
    func start<Value: Sendable>(
        _ host: String, _ body: @escaping @Sendable () throws -> Value
    ) throws -> NamespaceThread<Value> {
        try NamespaceThread(path: "/run/netns/\(namespace(host))", body)
    }

    struct ToolFailed: Error, CustomStringConvertible {
        var command: String
        var output: String
        var description: String { "\(command): \(output)" }
    }

    @discardableResult
    static func shell(_ command: String) throws -> String {
        guard let pipe = popen("{ \(command); } 2>&1", "re") else {
            throw ToolFailed(command: command, output: "popen")
        }
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = fread(&chunk, 1, chunk.count, pipe)
            if count == 0 { break }
            output += chunk[..<count]
        }
        let text = String(decoding: output, as: UTF8.self)
        guard pclose(pipe) == 0 else { throw ToolFailed(command: command, output: text) }
        return text
    }
}

/// setns(2), which glibc's headers keep behind _GNU_SOURCE.
@_silgen_name("setns")
private func setns(_ descriptor: Int32, _ type: Int32) -> Int32

/// A thread inside a network namespace. The namespace belongs to the thread alone and goes with it.
struct NamespaceThread<Value: Sendable> {
    private let outcome: ThreadOutcome<Value>
    private let thread: pthread_t

    init(path: String, _ body: @escaping @Sendable () throws -> Value) throws {
        let outcome = ThreadOutcome<Value>()
        self.outcome = outcome
        thread = try ThreadWork.start {
            outcome.result = Result {
                try ThreadWork.enterNamespace(path)
                return try body()
            }
        }
    }

    func wait() throws -> Value {
        pthread_join(thread, nil)
        guard let result = outcome.result else { throw WireGuardError.failure("join", "a thread", errno: EINVAL) }
        return try result.get()
    }
}

/// Sendable although unchecked: written by the thread before it ends and read after it was joined.
private final class ThreadOutcome<Value: Sendable>: @unchecked Sendable {
    var result: Result<Value, any Error>?
}

private final class ThreadWork: Sendable {
    private let body: @Sendable () -> Void
    private init(_ body: @escaping @Sendable () -> Void) { self.body = body }

    static func start(_ body: @escaping @Sendable () -> Void) throws -> pthread_t {
        let pointer = Unmanaged.passRetained(ThreadWork(body)).toOpaque()
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { pointer in
                if let pointer { Unmanaged<ThreadWork>.fromOpaque(pointer).takeRetainedValue().body() }
                return nil
            }, pointer)
        guard result == 0 else {
            Unmanaged<ThreadWork>.fromOpaque(pointer).release()
            throw WireGuardError.failure("start", "a thread", errno: result)
        }
        return thread
    }

    static func enterNamespace(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw WireGuardError.failure("open", path, errno: errno) }
        defer { close(descriptor) }
        // CLONE_NEWNET
        guard setns(descriptor, 0x4000_0000) == 0 else { throw WireGuardError.failure("enter", path, errno: errno) }
    }
}
