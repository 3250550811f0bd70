import Glibc
@_spi(Measuring) import WireGuard

/// The kernel's WireGuard, through our netlink and beside wg(8).
struct KernelChecks {
    let host = WireGuardHost(daemon: nil)
    let links = NetworkLinks()

    static func name(_ text: String) throws -> InterfaceName { try InterfaceName(parsing: text) }

    static func secret(_ generator: inout Generator) throws -> SecretKey {
        guard let key = SecretKey(bytes: generator.bytes(32)) else { throw Machine.Failed(description: "a key") }
        return key
    }

    static func host(_ high: UInt64, _ low: UInt64) -> IPPrefix { IPPrefix(host: IPAddress(high: high, low: low)) }

    // MARK: Links, addresses, routes

    func linksAddressesAndRoutes() throws {
        try Machine.check(KernelDevice.isSupported(), "the kernel serves WireGuard")
        let name = try Self.name("wgl")
        let device = try host.create(name, mtu: 1380)
        try Machine.check(device is KernelDevice, "the kernel's own device")
        let link = try links.link(name)
        try Machine.check(
            link?.kind == "wireguard" && link?.mtu == 1380 && link?.isUp == false, "link \(String(describing: link))")
        try Machine.check(try host.deviceNames() == [name], "listed")
        try Machine.check(try host.create(name) is KernelDevice, "made twice is made once")
        guard let address = IPAddress("fd00:1::1"), let four = IPAddress("10.9.0.1"), let net = IPPrefix("fd00:2::/64"),
            let any = IPPrefix("0.0.0.0/0"), let range = InterfaceAddress(four, prefixLength: 24)
        else { throw Machine.Failed(description: "addresses") }
        try links.setAddresses([InterfaceAddress(host: address), range], of: name)
        try links.set(name, up: true, mtu: 1420)
        try links.setRoutes([net, any], through: name)
        let shown = try Machine.shell("ip addr show dev wgl; ip -6 route show dev wgl; ip route show dev wgl")
        for part in ["fd00:1::1/128", "10.9.0.1/24", "mtu 1420", "fd00:2::/64", "default"] {
            try Machine.check(shown.contains(part), "\(part) in \(shown)")
        }
        try Machine.check(Set(try links.routes(through: name)) == [net, any], "routes read back")
        try links.setRoutes([net], through: name)
        try Machine.check(try links.routes(through: name) == [net], "the default route went")
        try links.setAddresses([range], of: name)
        try Machine.check(
            try links.addresses(of: name).filter { !$0.address.isLinkLocal } == [range], "one address left")
        try host.delete(name)
        try Machine.check(try links.link(name) == nil, "deleted")
        try host.delete(name)
        do {
            _ = try KernelDevice(name: name).read()
            throw Machine.Failed(description: "a device that is gone was read")
        } catch WireGuardError.noSuchDevice {}
        do {
            _ = try KernelDevice(name: Self.name("lo")).read()
            throw Machine.Failed(description: "lo was read")
        } catch WireGuardError.noSuchDevice {}
    }

    // MARK: Differential

    /// One line per peer as `wg show dump` has it, sorted.
    static func dump(_ state: DeviceState) -> [String] {
        func text(_ key: SecretKey?) -> String {
            key.map { String(decoding: $0.exposedBase64(), as: UTF8.self) } ?? "(none)"
        }
        let mark = state.firewallMark == 0 ? "off" : "0x" + String(state.firewallMark, radix: 16)
        let first = "\(text(state.privateKey))\t\(state.publicKey?.base64 ?? "(none)")\t\(state.listenPort)\t\(mark)"
        let peers = state.peers.map { peer in
            let prefixes = peer.allowedIPs.map(\.description).sorted().joined(separator: ",")
            return [
                peer.publicKey.base64, text(peer.presharedKey), peer.endpoint?.description ?? "(none)",
                prefixes.isEmpty ? "(none)" : prefixes, "\(peer.lastHandshake?.seconds ?? 0)", "\(peer.receivedBytes)",
                "\(peer.sentBytes)", peer.persistentKeepalive == 0 ? "off" : "\(peer.persistentKeepalive)",
            ].joined(separator: "\t")
        }
        return [first] + peers.sorted()
    }

    static func sorted(_ text: String) -> [String] {
        let lines = text.split(separator: "\n").map { line in
            var fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            if fields.count == 8 { fields[3] = fields[3].split(separator: ",").sorted().joined(separator: ",") }
            return fields.joined(separator: "\t")
        }
        return lines.prefix(1) + lines.dropFirst().sorted()
    }

    func random(_ generator: inout Generator) throws -> DeviceConfiguration {
        var peers: [PeerConfiguration] = []
        for number in 0..<Int.random(in: 0...40, using: &generator) {
            let addresses = ["192.0.2.7", "2001:db8::17", "fe80::1"].compactMap { IPAddress($0) }
            let pick = Int.random(in: 0...addresses.count, using: &generator)
            let endpoint: Endpoint? =
                pick == addresses.count
                ? nil
                : Endpoint(
                    address: addresses[pick], port: UInt16.random(in: 1...65535, using: &generator),
                    scope: pick == 2 ? 1 : 0)
            let many = number == 5 ? 10_000 : Int.random(in: 0...8, using: &generator)
            peers.append(
                PeerConfiguration(
                    publicKey: try Self.secret(&generator).derivePublicKey(),
                    presharedKey: Bool.random(using: &generator) ? try Self.secret(&generator) : nil,
                    endpoint: endpoint,
                    persistentKeepalive: [0, 0, 1, 65535][Int.random(in: 0..<4, using: &generator)],
                    allowedIPs: (0..<many).map { index in
                        index.isMultiple(of: 3)
                            ? IPPrefix(host: IPAddress(v4: 0x0A00_0000 | UInt32(number) << 16 | UInt32(index)))
                            : Self.host(0xFD00 << 48 | UInt64(number), UInt64(index))
                    }))
        }
        return DeviceConfiguration(
            privateKey: try Self.secret(&generator), listenPort: UInt16.random(in: 20_000...60_000, using: &generator),
            firewallMark: UInt32.random(in: 0...3, using: &generator), peers: peers)
    }

    func sameAsTools(rounds: Int) throws {
        let name = try Self.name("wgd")
        let device = try host.create(name)
        var generator = Generator(seed: 30)
        for round in 0..<rounds {
            let wanted = try random(&generator)
            try device.synchronize(to: wanted)
            let state = try device.read()
            try Machine.check(try DeviceDifference(from: state, to: wanted).isEmpty, "round \(round) reached")
            try Machine.check(state.peers.count == wanted.peers.count, "round \(round) has its peers")
            let theirs = Self.sorted(try Machine.shell("wg show wgd dump"))
            try Machine.check(Self.dump(state) == theirs, "round \(round) reads as wg reads it")
        }
        // And the other way: what wg set, we see.
        let wanted = try random(&generator)
        try device.synchronize(to: wanted)
        try Machine.shell(
            "wg showconf wgd > /tmp/conf; wg set wgd private-key /dev/null fwmark 0x99; wg setconf wgd /tmp/conf")
        let configuration = try ConfigurationFile.read("/tmp/conf")
        try Machine.check(
            try DeviceDifference(from: try device.read(), to: configuration).isEmpty, "wg setconf read back")
        try host.delete(name)
    }

    // MARK: Dumps that change under the reader

    /// Reads while another thread adds and removes peers: each reading is one that was true at some moment.
    func consistentUnderChange() throws {
        let name = try Self.name("wgc")
        let device = try host.create(name)
        var generator = Generator(seed: 31)
        var keep: [PeerConfiguration] = []
        for index in 0..<400 {
            keep.append(
                PeerConfiguration(
                    publicKey: try Self.secret(&generator).derivePublicKey(),
                    allowedIPs: (0..<8).map { Self.host(UInt64(index) << 16, $0) }))
        }
        try device.synchronize(to: DeviceConfiguration(peers: keep))
        let key = try Self.secret(&generator).derivePublicKey()
        let writer = try Writer(device: device, changes: [[.add(PeerConfiguration(publicKey: key))], [.remove(key)]])
        var interrupted = 0
        for _ in 0..<40 {
            do {
                let state = try device.read()
                let known = Set(state.peers.map(\.publicKey))
                try Machine.check(known.count == state.peers.count, "no peer twice")
                try Machine.check(keep.allSatisfy { known.contains($0.publicKey) }, "no peer missing")
                try Machine.check(
                    state.peers.allSatisfy { $0.publicKey == key || $0.allowedIPs.count == 8 }, "whole peers")
            } catch WireGuardError.dumpInterrupted {
                interrupted += 1
            }
        }
        let changes = writer.stop()
        Machine.say("  \(changes) changes during 40 readings, \(interrupted) readings given up")
        try Machine.check(interrupted < 40, "some reading got through")
        try host.delete(name)
    }

    // MARK: A clock that ran ahead

    /// A device shakes hands in 2040, its clock comes back, it restarts: the hub refuses it until its peer is added again.
    func clockAhead() throws {
        let (hub, dev) = (try Self.name("wgh"), try Self.name("wgv"))
        var generator = Generator(seed: 32)
        let (hubKey, devKey) = (try Self.secret(&generator), try Self.secret(&generator))
        guard let loopback = IPAddress("127.0.0.1"), let ours = IPAddress("fd07::1"), let theirs = IPAddress("fd07::2")
        else {
            throw Machine.Failed(description: "addresses")
        }
        let hubDevice = try host.create(hub)
        try hubDevice.apply(
            DeviceDifference(
                privateKey: hubKey, listenPort: 4000,
                peers: [
                    .add(
                        PeerConfiguration(publicKey: try devKey.derivePublicKey(), allowedIPs: [IPPrefix(host: theirs)])
                    )
                ]))
        try links.add(InterfaceAddress(host: ours), to: hub)
        try links.set(hub, up: true)
        try links.addRoute(IPPrefix(host: theirs), through: hub)
        try Machine.shell("ip netns add far; ip -n far link set lo up")

        // The interface is made here and then moved: its UDP socket stays here, where the hub's is.
        func startDevice() throws {
            let device = try host.create(dev)
            try device.apply(
                DeviceDifference(
                    privateKey: devKey, listenPort: 4001,
                    peers: [
                        .add(
                            PeerConfiguration(
                                publicKey: try hubKey.derivePublicKey(),
                                endpoint: Endpoint(address: loopback, port: 4000),
                                allowedIPs: [IPPrefix(host: ours)]))
                    ]))
            try Machine.shell(
                "ip link set \(dev) netns far; ip -n far addr add fd07::2/128 dev \(dev) nodad; "
                    + "ip -n far link set \(dev) up; ip -n far route add fd07::1/128 dev \(dev)")
        }
        func reaches(_ seconds: Int) throws -> Bool {
            try Machine.succeeds("ip netns exec far ping -6 -c 1 -W \(seconds) fd07::1")
        }
        let present = Machine.seconds
        Machine.seconds = 2_208_988_800
        try startDevice()
        try Machine.check(try reaches(20), "the device reaches the hub in 2040")
        let peer = try hubDevice.read().peers.first
        try Machine.check((peer?.lastHandshake?.seconds ?? 0) >= 2_208_988_800, "shook hands in 2040")
        try Machine.check((peer?.receivedBytes ?? 0) > 0 && peer?.endpoint?.port == 4001, "counted")

        // Until the device has answered with its passive keepalive: a hub that waits for an answer when the device goes
        // would start a handshake itself, and a device that has just started takes any timestamp.
        sleep(20)
        Machine.seconds = present
        try Machine.shell("ip -n far link delete \(dev)")
        try startDevice()
        try Machine.check(try !reaches(12), "the hub refuses timestamps that went back")
        try hubDevice.readdPeer(try devKey.derivePublicKey())
        try Machine.check(try reaches(12) || reaches(12), "added again, the device is back")

        // The other way round: a device in 1970 whose floor was stored comes up without help.
        try Machine.shell("ip -n far link delete \(dev)")
        // Not quite zero: the kernel refuses a wall clock below the time it has been up.
        Machine.seconds = 100_000
        let floor = TimeFloor(floor: { .init(seconds: present) })
        guard case .raised = try floor.apply() else { throw Machine.Failed(description: "the clock was raised") }
        try startDevice()
        try Machine.check(try reaches(12) || reaches(12), "a clock at its floor is accepted")
        try Machine.shell("ip netns delete far")
        try host.delete(hub)
    }

    // MARK: Size

    func manyPeers(_ count: Int) throws {
        let name = try Self.name("wgm")
        let device = try host.create(name)
        var generator = Generator(seed: 33)
        var peers: [PeerConfiguration] = []
        for index in 0..<count {
            guard let key = PublicKey(bytes: generator.bytes(32)) else { throw Machine.Failed(description: "a key") }
            peers.append(PeerConfiguration(publicKey: key, allowedIPs: [Self.host(0xFD00 << 48, UInt64(index))]))
        }
        let wanted = DeviceConfiguration(peers: peers)
        var start = Self.now()
        try device.synchronize(to: wanted)
        let load = Self.now() - start
        start = Self.now()
        let state = try device.read()
        let read = Self.now() - start
        try Machine.check(state.peers.count == count, "\(state.peers.count) of \(count) peers")
        start = Self.now()
        try Machine.check(try device.synchronize(to: wanted).isEmpty, "nothing left to do")
        let compare = Self.now() - start
        Machine.say("  \(count) peers, emulated: load \(load) s, read \(read) s, read and compare \(compare) s")
        // Left to the machine's end: the kernel takes minutes to delete an interface with this many peers.
    }

    static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

/// Applies changes over and over on a thread of its own.
///
/// Sendable although unchecked: `stopping` is only ever set, and `count` is read after the thread was joined.
final class Writer: @unchecked Sendable {
    private let device: any WireGuardDevice
    private let changes: [[PeerChange]]
    nonisolated(unsafe) private var stopping: Int32 = 0
    private var count = 0
    private var thread = pthread_t()

    init(device: any WireGuardDevice, changes: [[PeerChange]]) throws {
        self.device = device
        self.changes = changes
        let pointer = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(
            &thread, nil,
            { pointer in
                if let pointer { Unmanaged<Writer>.fromOpaque(pointer).takeRetainedValue().run() }
                return nil
            }, pointer)
        guard result == 0 else { throw Machine.Failed(description: "pthread_create") }
    }

    private func run() {
        // Bounded: about a minute at the pace of an emulated machine.
        for round in 0..<100_000 where stopping == 0 {
            try? device.apply(DeviceDifference(peers: changes[round % changes.count]))
            count += 1
            usleep(5_000)
        }
    }

    func stop() -> Int {
        stopping = 1
        pthread_join(thread, nil)
        return count
    }
}
