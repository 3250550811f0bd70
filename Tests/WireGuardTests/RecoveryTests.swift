import Base
import CMnl
import Glibc
import Testing

@testable import WireGuard

/// What a process that was killed leaves behind, and what its successor makes of it.
@Suite(.serialized, .enabled(if: NetworkLab.isPossible, NetworkLab.reason))
struct RecoveryTests {
    private let key: SecretKey
    private let lab: NetworkLab

    init() throws {
        key = try SecretKey.generatePrivate()
        lab = try NetworkLab("rc", hosts: ["here", "there"])
    }

    private func start(_ name: InterfaceName, on host: String) throws {
        let (device, key) = (try lab.create(name, on: host), key)
        try lab.inside(host) { try device.apply(DeviceDifference(privateKey: key)) }
    }

    private func recover(_ name: InterfaceName, on host: String, as key: SecretKey) throws -> DeviceState {
        _ = try lab.create(name, on: host, recovering: key)
        return try lab.inside(host) { try WireGuardHost().device(name).read() }
    }

    private func isThere(_ name: InterfaceName, on host: String) throws -> Bool {
        try lab.inside(host) { try NetworkLinks().link(name) != nil }
    }

    @Test func aDaemonThatServesTheInterfaceHereIsTakenOver() throws {
        let name = try lab.interfaceName("a")
        try start(name, on: "here")
        #expect(try recover(name, on: "here", as: SecretKey.generatePrivate()).privateKey == key)
    }

    @Test func aDaemonOfOursInAnotherNamespaceIsReplaced() throws {
        let name = try lab.interfaceName("b")
        try start(name, on: "there")
        #expect(try recover(name, on: "here", as: key).privateKey == nil)
        #expect(try !isThere(name, on: "there"))
        // The new daemon's socket is its own and stays.
        usleep(300_000)
        #expect(UserspaceDevice(name: name).isServed())
    }

    @Test func aDaemonWithoutAKeyIsReplaced() throws {
        let name = try lab.interfaceName("c")
        _ = try lab.create(name, on: "there")
        _ = try recover(name, on: "here", as: key)
        #expect(try !isThere(name, on: "there"))
    }

    @Test func aStrangersDaemonInAnotherNamespaceIsLeftAloneAndNamed() throws {
        let name = try lab.interfaceName("d")
        try start(name, on: "there")
        let socket = UAPISocket.path(of: name)
        #expect(throws: WireGuardError.heldElsewhere(name: name.text, socket: socket)) {
            _ = try recover(name, on: "here", as: SecretKey.generatePrivate())
        }
        #expect(try isThere(name, on: "there"))
        #expect(UserspaceDevice(name: name).isServed())
    }

    @Test func aSocketThatADeadDaemonLeftIsNoHindrance() throws {
        let name = try lab.interfaceName("e")
        let path = UAPISocket.path(of: name)
        mkdir(UAPISocket.directory, 0o755)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        close(descriptor)
        try #require(bound == 0)
        _ = try recover(name, on: "here", as: key)
    }

    @Test func anInterfaceIsMadeAgainWhileItsDaemonStillGoes() throws {
        let name = try lab.interfaceName("f")
        try start(name, on: "here")
        for _ in 0..<3 {
            try lab.inside("here") { try WireGuardHost().delete(name) }
            _ = try recover(name, on: "here", as: key)
        }
    }
}
