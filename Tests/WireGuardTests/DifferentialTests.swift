import Base
import Glibc
import TestSupport
import Testing

@testable import WireGuard

/// The same state through wireguard-tools and through ours.
@Suite(.serialized, .enabled(if: NetworkLab.isPossible, NetworkLab.reason))
struct DifferentialTests {
    /// `wg show IF dump`: order of peers and allowed IPs is the daemon's whim, so both are sorted.
    static func dump(_ state: DeviceState) throws -> [String] {
        func text(_ key: SecretKey?) -> String {
            var bytes: [UInt8] = []
            key?.appendBase64(to: &bytes)
            return key == nil ? "(none)" : String(decoding: bytes, as: UTF8.self)
        }
        let mark = state.firewallMark == 0 ? "off" : "0x" + String(state.firewallMark, radix: 16)
        let first = [text(state.privateKey), state.publicKey?.base64 ?? "(none)", "\(state.listenPort)", mark]
        let peers = state.peers.map { peer in
            [
                peer.publicKey.base64, text(peer.presharedKey), peer.endpoint?.description ?? "(none)",
                peer.allowedIPs.isEmpty ? "(none)" : peer.allowedIPs.map(\.description).sorted().joined(separator: ","),
                "\(peer.lastHandshake?.seconds ?? 0)", "\(peer.receivedBytes)", "\(peer.sentBytes)",
                peer.persistentKeepalive == 0 ? "off" : "\(peer.persistentKeepalive)",
            ].joined(separator: "\t")
        }
        return [first.joined(separator: "\t")] + peers.sorted()
    }

    static func normalized(dump text: String) -> [String] {
        let lines = text.split(separator: "\n").map { line in
            var fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            if fields.count == 8 { fields[3] = fields[3].split(separator: ",").sorted().joined(separator: ",") }
            return fields.joined(separator: "\t")
        }
        return lines.prefix(1) + lines.dropFirst().sorted()
    }

    /// `wg showconf`, section by section.
    static func configuration(_ state: DeviceState) throws -> [[String]] {
        func text(_ key: SecretKey) -> String {
            var bytes: [UInt8] = []
            key.appendBase64(to: &bytes)
            return String(decoding: bytes, as: UTF8.self)
        }
        var interface = ["[Interface]"]
        if state.listenPort != 0 { interface.append("ListenPort = \(state.listenPort)") }
        if state.firewallMark != 0 { interface.append("FwMark = 0x\(String(state.firewallMark, radix: 16))") }
        if let key = state.privateKey { interface.append("PrivateKey = \(text(key))") }
        let peers = state.peers.map { peer in
            var lines = ["[Peer]", "PublicKey = \(peer.publicKey.base64)"]
            if let key = peer.presharedKey { lines.append("PresharedKey = \(text(key))") }
            if !peer.allowedIPs.isEmpty {
                lines.append("AllowedIPs = " + peer.allowedIPs.map(\.description).sorted().joined(separator: ", "))
            }
            if let endpoint = peer.endpoint { lines.append("Endpoint = \(endpoint)") }
            if peer.persistentKeepalive != 0 { lines.append("PersistentKeepalive = \(peer.persistentKeepalive)") }
            return lines.sorted()
        }
        return [interface.sorted()] + peers.sorted { $0.joined() < $1.joined() }
    }

    static func normalized(configuration text: String) -> [[String]] {
        var sections: [[String]] = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix("[") { sections.append([]) }
            var line = String(line)
            if line.hasPrefix("AllowedIPs = ") {
                let list = line.dropFirst(13).split(separator: ",").map { String($0.drop { $0 == " " }) }
                line = "AllowedIPs = " + list.sorted().joined(separator: ", ")
            }
            sections[sections.count - 1].append(line)
        }
        sections = sections.map { $0.sorted() }
        return sections.prefix(1) + sections.dropFirst().sorted { $0.joined() < $1.joined() }
    }

    /// A random configuration with the awkward cases in it.
    static func random(_ generator: inout SeededGenerator) throws -> DeviceConfiguration {
        var peers: [PeerConfiguration] = []
        let count = Int.random(in: 0...25, using: &generator)
        for number in 0..<count {
            let endpoints: [Endpoint?] = [
                nil,
                Endpoint(address: IPAddress(v4: UInt32.random(in: 1...UInt32.max, using: &generator)), port: 51820),
                Endpoint(address: "2001:db8::17", port: UInt16.random(in: 1...65535, using: &generator)),
                Endpoint(address: "fe80::1", port: 9, scope: 1),
            ]
            var prefixes: [IPPrefix] = []
            let many = number == 3 ? 10_000 : Int.random(in: 0...6, using: &generator)
            for index in 0..<many {
                let high = 0xFD00 << 48 | UInt64(number) << 16 | UInt64(index & 7)
                if index.isMultiple(of: 3) {
                    prefixes.append(IPPrefix(host: IPAddress(v4: 0x0A00_0000 | UInt32(number) << 16 | UInt32(index))))
                } else if let prefix = IPPrefix(
                    IPAddress(high: high, low: UInt64(index) << 8),
                    length: UInt8.random(in: 121...128, using: &generator))
                {
                    prefixes.append(prefix)
                }
            }
            peers.append(
                PeerConfiguration(
                    publicKey: try SecretKey.random(&generator).derivePublicKey(),
                    presharedKey: Bool.random(using: &generator) ? .random(&generator) : nil,
                    endpoint: endpoints[Int.random(in: 0..<4, using: &generator)],
                    persistentKeepalive: [0, 0, 1, 25, 65535][Int.random(in: 0..<5, using: &generator)],
                    allowedIPs: Array(Set(prefixes)).sorted()))
        }
        return DeviceConfiguration(
            privateKey: .random(&generator), listenPort: UInt16.random(in: 20_000...60_000, using: &generator),
            firewallMark: Bool.random(using: &generator) ? 0 : UInt32.random(in: 1...UInt32.max, using: &generator),
            peers: peers)
    }

    @Test func ourStateReadsTheSameThroughWireGuardTools() throws {
        let lab = try NetworkLab("df", hosts: ["a"])
        let name = try lab.interfaceName("a")
        let device = try lab.create(name, on: "a")
        var generator = SeededGenerator(seed: 20)
        for round in 0..<25 {
            let wanted = try Self.random(&generator)
            // Half of the rounds go from what is there, half take the interface over.
            let state = try lab.inside("a") {
                if round.isMultiple(of: 2) {
                    try device.synchronize(to: wanted)
                } else {
                    try device.apply(
                        DeviceDifference(
                            privateKey: wanted.privateKey, listenPort: wanted.listenPort,
                            firewallMark: wanted.firewallMark, replacePeers: true, peers: wanted.peers.map { .add($0) })
                    )
                }
                return try device.read()
            }
            #expect(try lab.inside("a") { try DeviceDifference(from: state, to: wanted).isEmpty }, "round \(round)")
            #expect(state.peers.count == wanted.peers.count)
            let dumped = try lab.inside("a") { try Self.dump(state) }
            #expect(dumped == Self.normalized(dump: try lab.run("a", "wg show \(name) dump")), "round \(round)")
            let printed = try lab.inside("a") { try Self.configuration(state) }
            #expect(
                printed == Self.normalized(configuration: try lab.run("a", "wg showconf \(name)")), "round \(round)")
        }
    }

    @Test func whatWireGuardToolsSetReadsTheSameThroughUs() throws {
        let lab = try NetworkLab("dg", hosts: ["a"])
        let name = try lab.interfaceName("a")
        let device = try lab.create(name, on: "a")
        var generator = SeededGenerator(seed: 21)
        let path = "/tmp/\(lab.namespace("a")).conf"
        defer { unlink(path) }
        for round in 0..<15 {
            let wanted = try Self.random(&generator)
            let text = try lab.inside("a") {
                try Self.configuration(
                    DeviceState(
                        name: name, privateKey: wanted.privateKey, listenPort: wanted.listenPort ?? 0,
                        firewallMark: wanted.firewallMark ?? 0,
                        peers: wanted.peers.map {
                            Peer(
                                publicKey: $0.publicKey, presharedKey: $0.presharedKey, endpoint: $0.endpoint,
                                persistentKeepalive: $0.persistentKeepalive, allowedIPs: $0.allowedIPs)
                        })
                ).map { section in
                    // Sections are sorted with their heading among the lines; it has to lead.
                    let heading = section.filter { $0.hasPrefix("[") }
                    return (heading + section.filter { !$0.hasPrefix("[") }).joined(separator: "\n")
                }.joined(separator: "\n\n") + "\n"
            }
            try FileSystem().replace(path, with: Array(text.utf8), mode: 0o600, op: "test")
            try lab.run("a", "wg \(round.isMultiple(of: 2) ? "setconf" : "syncconf") \(name) \(path)")
            let difference = try lab.inside("a") { try DeviceDifference(from: try device.read(), to: wanted) }
            #expect(difference.isEmpty, "round \(round)")
        }
    }

    @Test func aPortThatIsTakenIsTheDaemonsErrorAndTheRestStays() throws {
        let lab = try NetworkLab("dh", hosts: ["a"])
        let (first, second) = (try lab.interfaceName("a"), try lab.interfaceName("b"))
        let one = try lab.create(first, on: "a")
        let other = try lab.create(second, on: "a")
        try lab.inside("a") {
            for name in [first, second] { try NetworkLinks().set(name, up: true) }
            try one.apply(DeviceDifference(privateKey: .repeating(1), listenPort: 40_001))
            try other.apply(DeviceDifference(privateKey: .repeating(2), listenPort: 40_002))
            let error = #expect(throws: WireGuardError.self) { try other.apply(DeviceDifference(listenPort: 40_001)) }
            guard case .system(_, let element, let code, _)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(element == second.text)
            #expect(code == EADDRINUSE)
            #expect(try one.read().listenPort == 40_001)
        }
    }
}
