import Base
import Glibc
import HubCore
import HubProtocol
import HubStore
import Model
import TestSupport
@_spi(Measuring) import WireGuard

// What a test does to a lab that no honest person would.

extension FleetLab {
    /// Process numbers of the wireguard-go that run in a namespace.
    func daemons(_ host: String) async throws -> Set<String> {
        let pids = try await ip("netns pids \(namespace(host))").split(separator: "\n").map(String.init)
        return Set(
            pids.filter { pid in
                let name = try? FileSystem().read("/proc/\(pid)/comm", limit: 64)
                return name.map { String(decoding: $0, as: UTF8.self) } == "wireguard-go\n"
            })
    }

    /// Public keys of the peers that the hub's interface has.
    func tunnelPeers() async throws -> Set<String> {
        let output = try await Command.succeed(enter("hub") + ["wg", "show", interface, "peers"])
        return Set(output.split(separator: "\n").map(String.init))
    }

    /// Metrics of a device's routes to the hub, the preferred first.
    func metrics(at device: FleetDevice) async throws -> [Int] {
        let routes = try await inside(device.host, ["ip", "-j", "-6", "route", "show", "table", "main"])
        return (try JSONValue(parsing: Array(routes.utf8)).array ?? [])
            .filter { $0["dev"]?.string?.hasPrefix(device.interface) == true && $0["protocol"]?.string != "kernel" }
            .compactMap { $0["metric"]?.integer.map(Int.init) }.sorted()
    }

    /// Loses this share of the packets to and from a device; nil for none.
    func lose(_ share: Double?, at device: FleetDevice) async throws {
        for chain in ["INPUT", "OUTPUT"] {
            try await inside(device.host, ["iptables", "-F", chain])
            guard let share else { continue }
            try await inside(
                device.host,
                [
                    "iptables", "-A", chain, "-p", "udp", "-m", "statistic", "--mode", "random", "--probability",
                    String(share), "-j", "DROP",
                ])
        }
    }

    /// Numbers of a device's report segments by epoch, in the order in which they came, and the events in them. The hub
    /// is stopped.
    func reports(of id: String) async throws -> (numbers: [Int64: [Int64]], events: [String]) {
        let store = try SQLiteMetadataStore(path: hubDatabase)
        guard let key = try await store.record(Device.self, id)?.value.reportKey else {
            throw Command.Failed(description: "\(id) has no key")
        }
        var numbers: [Int64: [Int64]] = [:]
        var events: [String] = []
        var position: Int64 = 0
        while true {
            let page = try await store.segments(after: position, limit: 100)
            guard let last = page.last else { return (numbers, events) }
            position = last.position
            for stored in page where stored.segment.device.text == id {
                numbers[stored.segment.epoch, default: []].append(stored.segment.sequence)
                for entry in try ReportEnvelope(verifying: stored.segment.body, by: key).content
                where entry["kind"]?.string == "event" {
                    events.append(String(decoding: try entry.serialized(.canonical), as: UTF8.self))
                }
            }
        }
    }

    /// Somebody with the hub's address, port and network, and with a key of their own; the interface's name.
    func standInForHub(peer device: FleetDevice) async throws -> String {
        let rogue = "hf\(tag)r"
        try await ip("netns add \(namespace("rogue"))")
        try await ip("-n \(namespace("hub")) addr del \(Self.hubAddress)/24 dev cable")
        try await plug("rogue", Self.hubAddress, port: "rogue")
        let key = path("rogue.key")
        try FileSystem().replace(
            key, with: SecretKey.generatePrivate().exposedBase64() + [0x0A], mode: 0o600, op: "test")
        try await Command.succeed(
            enter("rogue") + ["wireguard-go", rogue],
            environment: ["WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"])
        var words = ["wg", "set", rogue, "private-key", key, "listen-port", "51820"]
        for peer in try device.publicKeys() { words += ["peer", peer, "allowed-ips", "::/0"] }
        try await inside("rogue", words)
        try await ip("-n \(namespace("rogue")) link set \(rogue) up")
        try await ip("-n \(namespace(device.host)) neigh flush dev cable")
        return rogue
    }

    func endStandIn(for device: FleetDevice) async throws {
        try await ip("-n \(namespace("rogue")) link delete hf\(tag)r")
        try await ip("-n \(namespace("hub")) link delete rogue")
        try await ip("netns delete \(namespace("rogue"))")
        try await ip("-n \(namespace("hub")) addr add \(Self.hubAddress)/24 dev cable")
        try await ip("-n \(namespace(device.host)) neigh flush dev cable")
    }

    /// Records what passes on a device's cable for so long; the frames, and a way to send them all again.
    func capture(at device: FleetDevice, seconds: Int) throws -> ChildProcess {
        try ChildProcess(
            enter(device.host) + [
                "python3", "-c",
                """
                import socket, sys, time
                wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
                wire.bind(("cable", 0)); wire.settimeout(0.2)
                end = time.monotonic() + \(seconds)
                with open(sys.argv[1], "wb") as file:
                    while time.monotonic() < end:
                        try: frame = wire.recv(65535)
                        except TimeoutError: continue
                        file.write(len(frame).to_bytes(4, "big") + frame)
                """, path("frames"),
            ])
    }

    func frames() throws -> [[UInt8]] {
        var rest = try FileSystem().read(path("frames"), limit: 64 << 20)[...]
        var found: [[UInt8]] = []
        while rest.count >= 4 {
            let count = rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
            found.append(Array(rest.dropFirst(4).prefix(count)))
            rest = rest.dropFirst(4 + count)
        }
        return found
    }

    func replayFrames(at device: FleetDevice) async throws {
        try await inside(
            device.host,
            [
                "python3", "-c",
                """
                import socket, sys
                wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind(("cable", 0))
                data = open(sys.argv[1], "rb").read()
                while data:
                    count = int.from_bytes(data[:4], "big"); wire.send(data[4:4 + count]); data = data[4 + count:]
                """, path("frames"),
            ])
    }

    /// Where in the hub's state a secret stands, as bytes, in hex or in base64, folders of these names left out.
    func search(_ secrets: [(name: String, bytes: [UInt8])], besides folders: [String]) async throws -> String {
        let list = path("secrets")
        let lines = secrets.map { "\(Hex.encode($0.bytes)) \($0.name)\n" }.joined()
        try FileSystem().replace(list, with: Array(lines.utf8), mode: 0o600, op: "test")
        return try await Command.succeed(
            [
                "python3", "-c",
                """
                import base64, os, sys
                secrets = [line.rstrip("\\n").split(" ", 1) for line in open(sys.argv[1])]
                for folder, names, files in os.walk(sys.argv[2]):
                    names[:] = [name for name in names if name not in sys.argv[3:]]
                    for file in files:
                        content = open(os.path.join(folder, file), "rb").read()
                        for hex, name in secrets:
                            raw = bytes.fromhex(hex)
                            if any(form in content for form in (raw, hex.encode(), base64.b64encode(raw))):
                                print(f"{name} is in {os.path.join(folder, file)}")
                """, list, hubState,
            ] + folders)
    }
}

extension FleetDevice {
    private var hubFolder: String { Path.join(state, "hub") }

    private func standing() throws -> JSONObject {
        try JSONValue(parsing: try FileSystem().read(Path.join(hubFolder, "standing.json"), limit: 1 << 20)).object
            ?? [:]
    }

    /// Puts the stopped device back to where it had asked and not heard.
    func forgetAnswer(token: String) throws {
        var standing = try standing()
        standing["phase"] = "asking"
        standing["device"] = ""
        standing["addresses"] = nil
        standing["hub"] = nil
        let fileSystem = FileSystem()
        try fileSystem.replace(
            Path.join(hubFolder, "standing.json"), with: try JSONValue.object(standing).serialized(.pretty),
            mode: 0o600,
            op: "test")
        try fileSystem.replace(
            Path.join(hubFolder, "token"), with: try fileSystem.read(token, limit: 4_096), mode: 0o600, op: "test")
    }

    /// A stopped device with another's keys.
    func takeKeys(of other: FleetDevice) throws {
        let fileSystem = FileSystem()
        try fileSystem.makeDirectories(hubFolder, mode: 0o700, op: "test")
        for name in ["first.key", "signing.key"] {
            try fileSystem.replace(
                Path.join(hubFolder, name), with: try fileSystem.read(Path.join(other.hubFolder, name), limit: 256),
                mode: 0o600, op: "test")
        }
    }

    /// Private keys as bytes, by the names of their files.
    func privateKeys() throws -> [(name: String, bytes: [UInt8])] {
        let fileSystem = FileSystem()
        return try fileSystem.list(hubFolder).filter { $0.hasSuffix(".key") }.sorted().compactMap { name in
            let text = String(decoding: try fileSystem.read(Path.join(hubFolder, name), limit: 256), as: UTF8.self)
            let word = String(text.prefix { $0 != "\n" })
            return (Hex.decode(word) ?? Base64.decode(word)).map { (name, $0) }
        }
    }

    /// WireGuard public keys in base64.
    func publicKeys() throws -> [String] {
        try privateKeys().filter { $0.name != "signing.key" }
            .compactMap { try SecretKey(bytes: $0.bytes)?.derivePublicKey().base64 }
    }

    /// The hub's key that its tunnel leads to.
    func hubKey() throws -> String? {
        let standing = try standing()
        return standing["active_end"]?["public_key"]?.string ?? standing["hub_key"]?.string
    }

    /// Bytes that came through the tunnel.
    func received() async throws -> Int {
        Int(try await hubStatus()["tunnel"]?["receivedBytes"]?.integer ?? 0)
    }
}

extension Sequence<UInt8> {
    /// Whether these bytes stand in it in a row.
    func contains(row: [UInt8]) -> Bool {
        guard let first = row.first else { return true }
        return withContiguousStorageIfAvailable { bytes in
            var start = bytes.startIndex
            while let place = bytes[start...].firstIndex(of: first), place + row.count <= bytes.endIndex {
                if bytes[place..<(place + row.count)].elementsEqual(row) { return true }
                start = place + 1
            }
            return false
        } ?? false
    }
}
