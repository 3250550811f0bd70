import Testing

@testable import WireGuard

/// What WireGuard does with a difference, as far as the differ relies on it: an allowed IP has one owner.
struct ModelDevice {
    var state = DeviceState(name: "wg0")

    mutating func apply(_ difference: DeviceDifference) {
        if let key = difference.privateKey { state.privateKey = key }
        if let port = difference.listenPort { state.listenPort = port }
        if let mark = difference.firewallMark { state.firewallMark = mark }
        if difference.replacePeers { state.peers = [] }
        for change in difference.peers {
            var index = state.peers.firstIndex { $0.publicKey == change.publicKey }
            if change.action == .remove {
                if let index { state.peers.remove(at: index) }
                continue
            }
            if index == nil, change.action == .add {
                state.peers.append(Peer(publicKey: change.publicKey))
                index = state.peers.count - 1
            }
            guard let index else { continue }
            switch change.presharedKey {
            case .keep: break
            case .clear: state.peers[index].presharedKey = nil
            case .set(let key): state.peers[index].presharedKey = key
            }
            if let endpoint = change.endpoint { state.peers[index].endpoint = endpoint }
            if let interval = change.persistentKeepalive { state.peers[index].persistentKeepalive = interval }
            var added: [IPPrefix] = []
            switch change.allowedIPs {
            case .keep: break
            case .add(let prefixes): added = prefixes
            case .replace(let prefixes):
                state.peers[index].allowedIPs = []
                added = prefixes
            }
            for prefix in added {
                for other in state.peers.indices { state.peers[other].allowedIPs.removeAll { $0 == prefix } }
                state.peers[index].allowedIPs.append(prefix)
            }
        }
    }
}

/// Random configurations over a few keys and prefixes, so that everything collides with everything.
struct ConfigurationGenerator {
    var generator: SeededGenerator
    let keys: [PublicKey]
    let secrets: [SecretKey]

    init(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        keys = (0..<12).map { _ in .random(&generator) }
        secrets = (0..<3).map { _ in .random(&generator) }
        self.generator = generator
    }

    mutating func next() -> DeviceConfiguration {
        var prefixes = (0..<30).map { IPPrefix(host: IPAddress(high: 0xFD00_0000_0000_0000, low: UInt64($0))) }
        prefixes += (0..<10).compactMap { IPPrefix(IPAddress(v4: 0x0A00_0000 + UInt32($0) << 8), length: 24) }
        prefixes.shuffle(using: &generator)
        var peers: [PeerConfiguration] = []
        for key in keys.shuffled(using: &generator).prefix(Int.random(in: 0...12, using: &generator)) {
            let count = Int.random(in: 0...min(5, prefixes.count), using: &generator)
            peers.append(
                PeerConfiguration(
                    publicKey: key,
                    presharedKey: Bool.random(using: &generator) ? secrets.randomElement(using: &generator) : nil,
                    endpoint: Bool.random(using: &generator)
                        ? Endpoint(address: "192.0.2.7", port: UInt16.random(in: 1...9, using: &generator)) : nil,
                    persistentKeepalive: [0, 0, 25].randomElement(using: &generator) ?? 0,
                    allowedIPs: Array(prefixes.prefix(count))))
            prefixes.removeFirst(count)
        }
        return DeviceConfiguration(
            privateKey: secrets.randomElement(using: &generator),
            listenPort: UInt16.random(in: 1...3, using: &generator),
            firewallMark: UInt32.random(in: 0...2, using: &generator), peers: peers)
    }
}

@Suite struct DifferenceTests {
    @Test func everyRandomStateReachesEveryRandomConfigurationInOneStep() throws {
        var configurations = ConfigurationGenerator(seed: 6)
        var device = ModelDevice()
        for _ in 0..<2000 {
            let wanted = configurations.next()
            device.apply(try DeviceDifference(from: device.state, to: wanted))
            #expect(try DeviceDifference(from: device.state, to: wanted).isEmpty)
            #expect(Set(device.state.peers.map(\.publicKey)) == Set(wanted.peers.map(\.publicKey)))
            for peer in wanted.peers {
                let reached = try #require(device.state.peers.first { $0.publicKey == peer.publicKey })
                #expect(Set(reached.allowedIPs) == Set(peer.allowedIPs))
                #expect(reached.presharedKey == peer.presharedKey)
                #expect(reached.persistentKeepalive == peer.persistentKeepalive)
                if let endpoint = peer.endpoint { #expect(reached.endpoint == endpoint) }
            }
            #expect(device.state.listenPort == wanted.listenPort)
            #expect(device.state.firewallMark == wanted.firewallMark)
            #expect(device.state.privateKey == wanted.privateKey)
        }
    }

    @Test func leavesARoamedEndpointAlone() throws {
        let state = DeviceState(
            name: "wg0",
            peers: [Peer(publicKey: .repeating(1), endpoint: "198.51.100.9:1234", allowedIPs: ["10.0.0.1"])])
        let wanted = DeviceConfiguration(peers: [PeerConfiguration(publicKey: .repeating(1), allowedIPs: ["10.0.0.1"])])
        #expect(try DeviceDifference(from: state, to: wanted).isEmpty)
    }

    @Test func addsOnlyTheMissingAllowedIPsWhereNoneGoes() throws {
        let state = DeviceState(
            name: "wg0", peers: [Peer(publicKey: .repeating(1), allowedIPs: ["10.0.0.1", "10.0.0.2"])])
        func change(_ prefixes: [IPPrefix]) throws -> PeerChange.AllowedIPs? {
            let wanted = DeviceConfiguration(peers: [PeerConfiguration(publicKey: .repeating(1), allowedIPs: prefixes)])
            return try DeviceDifference(from: state, to: wanted).peers.first?.allowedIPs
        }
        #expect(try change(["10.0.0.2", "10.0.0.1"]) == nil)
        #expect(try change(["10.0.0.1", "10.0.0.2", "10.0.0.3"]) == .add(["10.0.0.3"]))
        #expect(try change(["10.0.0.1", "10.0.0.3"]) == .replace(["10.0.0.1", "10.0.0.3"]))
        #expect(try change([]) == .replace([]))
    }

    @Test func refusesAnAllowedIPOfTwoPeersAndAPeerTwice() {
        let one = PeerConfiguration(publicKey: .repeating(1), allowedIPs: ["10.0.0.0/24"])
        let two = PeerConfiguration(publicKey: .repeating(2), allowedIPs: ["10.0.0.0/24"])
        #expect(
            throws: WireGuardError.allowedIPTwice(
                prefix: "10.0.0.0/24", first: "\(one.publicKey)", second: "\(two.publicKey)")
        ) { try DeviceConfiguration(peers: [one, two]).validate() }
        #expect(throws: WireGuardError.peerTwice(peer: "\(one.publicKey)")) {
            try DeviceConfiguration(peers: [one, one]).validate()
        }
    }

    @Test func removesBeforeItAdds() throws {
        let state = DeviceState(name: "wg0", peers: [Peer(publicKey: .repeating(1))])
        let wanted = DeviceConfiguration(peers: [PeerConfiguration(publicKey: .repeating(2))])
        #expect(try DeviceDifference(from: state, to: wanted).peers.map(\.action) == [.remove, .add])
    }
}
