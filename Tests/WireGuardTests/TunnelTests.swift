import Base
import CMnl
import Glibc
import TestSupport
import Synchronization
import Testing

@testable import WireGuard

/// Two hosts, a hub and a device, joined by a cable and by tunnels of a real wireguard-go on either side.
@Suite(.serialized, .enabled(if: NetworkLab.isPossible, NetworkLab.reason))
struct TunnelTests {
    /// A hub with its interface up, and what a device needs to reach it.
    private struct Field {
        let lab: NetworkLab
        let hubDevice: any WireGuardDevice
        let hubName: InterfaceName
        let end: HubDescriptor.End
        let hubAddresses: DeviceAddresses
        let deviceAddresses: DeviceAddresses
        let tunnels: SlotTunnels
        let keys: String

        init(_ tag: String) throws {
            lab = try NetworkLab(tag, hosts: ["hub", "dev"])
            try lab.join("hub", "10.77.0.1/24", "dev", "10.77.0.2/24")
            var plan = try AddressPlan(hub: "fd12:3456:789a::/48")
            deviceAddresses = try plan.device("device", site: "lab")
            hubAddresses = plan.hubAddresses(inSiteOf: deviceAddresses)
            let site = try plan.site("lab")
            hubName = try lab.interfaceName("h")
            hubDevice = try lab.create(hubName, on: "hub")
            let key = try SecretKey.generatePrivate()
            end = HubDescriptor.End(publicKey: try key.derivePublicKey(), endpoint: "10.77.0.1:51820")
            keys = "/tmp/\(lab.namespace("dev"))-keys"
            let names = (first: try lab.interfaceName("1"), second: try lab.interfaceName("2"))
            tunnels = SlotTunnels(
                interfaces: names, keyDirectory: keys, device: deviceAddresses, hub: hubAddresses)
            let (device, name, addresses) = (hubDevice, hubName, hubAddresses)
            try lab.inside("hub") {
                try device.apply(DeviceDifference(privateKey: key, listenPort: 51820))
                let links = NetworkLinks()
                for slot in Slot.allCases { try links.add(InterfaceAddress(host: addresses.address(slot)), to: name) }
                try links.set(name, up: true)
                try links.addRoute(site, through: name)
            }
        }

        /// Brings a slot up and has the hub know it.
        func connect(_ slot: Slot) throws {
            let (tunnels, end) = (tunnels, end)
            let key = try tunnels.publicKey(slot)
            try admit(key, slot)
            _ = try lab.inside("dev") { try tunnels.bringUp(slot, to: end) }
        }

        func admit(_ key: PublicKey, _ slot: Slot) throws {
            let (device, address) = (hubDevice, deviceAddresses.address(slot))
            let change = PeerChange.add(PeerConfiguration(publicKey: key, allowedIPs: [IPPrefix(host: address)]))
            try lab.inside("hub") { try device.apply(DeviceDifference(peers: [change])) }
        }

        func request(_ slot: Slot) throws -> Bool {
            let target = hubAddresses.address(slot)
            return try lab.inside("dev") { PollTraffic.request(target) }
        }

        func peers() throws -> [Peer] {
            let device = hubDevice
            return try lab.inside("hub") { try device.read().peers }
        }

        func close() {
            let tunnels = tunnels
            for slot in Slot.allCases { _ = try? lab.inside("dev") { try tunnels.retire(slot) } }
            try? FileSystem().removeTree(keys, op: "test")
        }
    }

    @Test func handshakesCarriesDataAndCountsIt() throws {
        let field = try Field("ta")
        defer { field.close() }
        let board = PollTraffic.Board()
        let server = try field.lab.start("hub") { try PollTraffic.serve(board) }
        defer { board.stop.store(true, ordering: .relaxed) }
        try field.connect(.first)
        #expect(try field.peers().first?.lastHandshake == nil)
        for _ in 0..<20 { #expect(try field.request(.first)) }
        let peer = try #require(try field.peers().first)
        #expect(peer.publicKey == (try field.tunnels.publicKey(.first)))
        #expect(abs(try #require(peer.lastHandshake).seconds - SystemClock.live.now().seconds) < 30)
        #expect(peer.endpoint?.address == "10.77.0.2")
        #expect(peer.receivedBytes > 1000 && peer.sentBytes > 1000)

        // What our rtnetlink made is what ip(8) sees.
        let name = field.tunnels.interface(.first)
        let shown = try field.lab.ip("dev", "-6 addr show dev \(name)")
        #expect(shown.contains("inet6 \(field.deviceAddresses.address(.first))/128"))
        #expect(try field.lab.ip("dev", "link show dev \(name)").contains("mtu 1420"))
        #expect(try field.lab.ip("dev", "-6 route show dev \(name)").contains("\(field.hubAddresses.address(.first))"))
        let (links, target) = (NetworkLinks(), IPPrefix(host: field.hubAddresses.address(.first)))
        try field.lab.inside("dev") {
            #expect(try links.routes(through: name) == [target])
            #expect(try links.link(name)?.isUp == true)
            #expect(try links.link(name)?.kind == "tun")
            #expect(try links.addresses(of: name).contains { $0.prefixLength == 128 && !$0.address.isLinkLocal })
            #expect(try WireGuardHost().deviceNames() == [name])
            try links.setRoutes([], through: name)
            #expect(try links.routes(through: name).isEmpty)
        }
        board.stop.store(true, ordering: .relaxed)
        try server.wait()
    }

    @Test func followsAnEndpointThatRoams() throws {
        let field = try Field("tb")
        defer { field.close() }
        let board = PollTraffic.Board()
        let server = try field.lab.start("hub") { try PollTraffic.serve(board) }
        defer { board.stop.store(true, ordering: .relaxed) }
        try field.connect(.first)
        #expect(try field.request(.first))
        #expect(try field.peers().first?.endpoint?.address == "10.77.0.2")
        try field.lab.ip("dev", "addr del 10.77.0.2/24 dev to-hub")
        try field.lab.ip("dev", "addr add 10.77.0.99/24 dev to-hub")
        // wireguard-go goes on with the source address it had until a handshake is due, 15 seconds later.
        let roamed = try (0..<8).contains { _ in try field.request(.first) }
        #expect(roamed)
        #expect(try field.peers().first?.endpoint?.address == "10.77.0.99")
        // The hub's configuration names no endpoint, so applying it again does not send the peer back.
        let peer = try #require(try field.peers().first)
        let (device, wanted) = (
            field.hubDevice,
            DeviceConfiguration(peers: [PeerConfiguration(publicKey: peer.publicKey, allowedIPs: peer.allowedIPs)])
        )
        #expect(try field.lab.inside("hub") { try device.synchronize(to: wanted).isEmpty })
        board.stop.store(true, ordering: .relaxed)
        try server.wait()
    }

    @Test func healsAfterAPartition() throws {
        let field = try Field("tc")
        defer { field.close() }
        let board = PollTraffic.Board()
        let server = try field.lab.start("hub") { try PollTraffic.serve(board) }
        defer { board.stop.store(true, ordering: .relaxed) }
        try field.connect(.first)
        #expect(try field.request(.first))
        try field.lab.ip("hub", "link set to-dev down")
        #expect(try !field.request(.first))
        try field.lab.ip("hub", "link set to-dev up")
        // WireGuard tries a handshake every five seconds; three requests of five seconds are ample.
        let healed = try (0..<3).contains { _ in try field.request(.first) }
        #expect(healed)
        board.stop.store(true, ordering: .relaxed)
        try server.wait()
    }

    @Test func readdingAPeerKeepsItsConfigurationAndItsTraffic() throws {
        let field = try Field("td")
        defer { field.close() }
        let board = PollTraffic.Board()
        let server = try field.lab.start("hub") { try PollTraffic.serve(board) }
        defer { board.stop.store(true, ordering: .relaxed) }
        try field.connect(.first)
        #expect(try field.request(.first))
        let before = try #require(try field.peers().first)
        let device = field.hubDevice
        try field.lab.inside("hub") { try device.readdPeer(before.publicKey) }
        let after = try #require(try field.peers().first)
        #expect(PeerConfiguration(after) == PeerConfiguration(before))
        #expect(after.lastHandshake == nil)
        #expect(throws: WireGuardError.self) { try field.lab.inside("hub") { try device.readdPeer(.repeating(9)) } }
        board.stop.store(true, ordering: .relaxed)
        try server.wait()
    }

    @Test func rotatesUnderTrafficWithoutLosingARequest() async throws {
        let field = try Field("te")
        defer { field.close() }
        try await rotateUnderTraffic(field, toward: field.end)
    }

    @Test func followsTheHubToANewKeyWithoutLosingARequest() async throws {
        let field = try Field("tf")
        defer { field.close() }
        // The hub's second end: another interface with another key on another port, taking over the second slot's address.
        let name = try field.lab.interfaceName("i")
        let second = try field.lab.create(name, on: "hub")
        let key = try SecretKey.generatePrivate()
        let slot = IPPrefix(host: field.deviceAddresses.address(.second))
        let device = try field.tunnels.publicKey(.second)
        try field.lab.inside("hub") {
            try second.apply(
                DeviceDifference(
                    privateKey: key, listenPort: 51821,
                    peers: [.add(PeerConfiguration(publicKey: device, allowedIPs: [slot]))]))
            try NetworkLinks().set(name, up: true)
            try NetworkLinks().addRoute(slot, through: name)
        }
        let end = HubDescriptor.End(publicKey: try key.derivePublicKey(), endpoint: "10.77.0.1:51821")
        let descriptor = HubDescriptor(
            hub: "lab", sequence: 2, issued: SystemClock.live.now(), ends: [end, field.end])
        let payload = try descriptor.payload()
        let accepted = try HubDescriptor.accept(envelope: payload, hub: "lab", current: nil) { bytes, _ in bytes }
        try await rotateUnderTraffic(field, toward: try #require(accepted.ends.first), admits: false)
    }

    /// Four pollers and one with slow requests; a rotation in the middle; nothing may be lost.
    private func rotateUnderTraffic(_ field: Field, toward end: HubDescriptor.End, admits: Bool = true) async throws {
        let board = PollTraffic.Board()
        let server = try field.lab.start("hub") { try PollTraffic.serve(board) }
        defer {
            board.stopPolling.store(true, ordering: .relaxed)
            board.stop.store(true, ordering: .relaxed)
        }
        try field.connect(.first)
        let hub = field.hubAddresses
        var pollers = try (0..<4).map { _ in try field.lab.start("dev") { PollTraffic.poll(hub, board) } }
        pollers.append(try field.lab.start("dev") { PollTraffic.poll(hub, board, text: "w") })
        try await Task.sleep(for: .seconds(1))

        let (lab, tunnels) = (field.lab, field.tunnels)
        // The lab is used from one place at a time: the rotation runs its effects one after another.
        nonisolated(unsafe) let shared = (lab: lab, field: field)
        let rotation = KeyRotation(
            state: RotationState(),
            effects: KeyRotation.Effects(
                persist: { if $0.phase == .flipped { board.use($0.active) } },
                makeKey: { try tunnels.publicKey($0) },
                register: { if admits { try shared.field.admit($0, $1) } },
                bringUp: { slot in _ = try shared.lab.inside("dev") { try tunnels.bringUp(slot, to: end) } },
                probe: { slot in
                    (try? shared.lab.inside("dev") { PollTraffic.request(hub.address(slot)) }) ?? false
                },
                retire: { slot in try shared.lab.inside("dev") { try tunnels.retire(slot) } }),
            policy: KeyRotation.Policy(grace: .seconds(3)))
        try await rotation.rotate()
        #expect(await rotation.state == RotationState(active: .second, phase: .steady, completed: 1))
        try await Task.sleep(for: .seconds(1))
        // The clients first: the server still owes an answer to the slow one.
        board.stopPolling.store(true, ordering: .relaxed)
        for poller in pollers { try poller.wait() }
        board.stop.store(true, ordering: .relaxed)
        try server.wait()

        let lost = board.lost.load(ordering: .relaxed)
        let answered = board.answered.load(ordering: .relaxed)
        let afterwards = board.bySecondSlot.load(ordering: .relaxed)
        #expect(lost == 0)
        #expect(afterwards > 20 && answered - afterwards > 20, "\(answered) answered, \(afterwards) by the new tunnel")
        let gone = tunnels.interface(.first)
        #expect(try lab.inside("dev") { try NetworkLinks().link(gone) } == nil)
        #expect(try FileSystem().status(field.keys + "/first.key") == nil)
        print(
            "rotation under traffic: \(answered) requests answered, \(afterwards) of them by the new tunnel, \(lost) lost"
        )
    }
}
