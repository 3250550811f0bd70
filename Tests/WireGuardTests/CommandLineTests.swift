import Base
import Glibc
import Model
import TestSupport
import Testing

@testable import WireGuard

private enum BuiltProgram {
    /// The executable beside the test bundle, whose path is among the arguments of whatever runs it.
    static let holdfast: String? = {
        let link = realpath("/proc/self/exe", nil)
        defer { free(link) }
        let candidates = (link.map { [String(cString: $0)] } ?? []) + CommandLine.arguments
        return candidates.lazy.map { Path.join(Path.parent($0), "holdfast") }.first { access($0, X_OK) == 0 }
    }()
}

/// `holdfast wg show` and `holdfast wg diff` as people and scripts run them, on an interface of wireguard-go.
@Suite(
    .serialized, .enabled(if: NetworkLab.isPossible, NetworkLab.reason),
    .enabled(if: BuiltProgram.holdfast != nil, "holdfast is not built beside the tests: swift build --build-tests"))
struct CommandLineTests {
    private let directory: TemporaryDirectory
    private let lab: NetworkLab
    private let name: InterfaceName
    private let peers: [PublicKey]
    private let secret: SecretKey
    private let preshared: SecretKey

    init() throws {
        directory = try TemporaryDirectory()
        lab = try NetworkLab("cl", hosts: ["a"])
        name = try lab.interfaceName("0")
        var generator = SeededGenerator(seed: 20)
        peers = (0..<3).map { _ in .random(&generator) }.sorted { $0.base64 < $1.base64 }
        secret = .random(&generator)
        preshared = .random(&generator)
        let device = try lab.create(name, on: "a")
        let wanted = DeviceConfiguration(
            privateKey: secret, listenPort: 51_999, firewallMark: 7,
            peers: [
                PeerConfiguration(
                    publicKey: peers[0], presharedKey: preshared, endpoint: "192.0.2.7:51820", persistentKeepalive: 25,
                    allowedIPs: ["fd00::1/128", "10.0.0.0/8"]),
                PeerConfiguration(publicKey: peers[1], allowedIPs: ["fd00::2/128"]),
            ])
        try lab.inside("a") { try device.apply(DeviceDifference(from: try device.read(), to: wanted)) }
    }

    /// `holdfast wg …` in the lab's namespace, its output in a pipe.
    private func wg(_ arguments: String...) throws -> Tool.Outcome {
        let program = try #require(BuiltProgram.holdfast)
        return try Tool.run(["ip", "netns", "exec", lab.namespace("a"), program, "wg"] + arguments)
    }

    private func secrets() -> [String] {
        [secret, preshared].map { key in
            var bytes: [UInt8] = []
            key.appendBase64(to: &bytes)
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    private func file(_ text: String) throws -> String {
        let path = directory.file("wanted.conf")
        let descriptor = creat(path, 0o600)
        defer { close(descriptor) }
        #expect(
            text.utf8.withContiguousStorageIfAvailable { write(descriptor, $0.baseAddress, $0.count) }
                == text.utf8.count)
        return path
    }

    @Test func showSaysWhatIsThereAndNoSecret() throws {
        let text = try wg("show", name.text)
        #expect(text.status == 0, "\(text.output)")
        #expect(text.output.hasPrefix("interface \(name)\n"))
        for words in [
            "listen port  51999", "fwmark       0x7", "peers        2", peers[0].base64, peers[1].base64,
            "192.0.2.7:51820", "25 s", "10.0.0.0/8", "fd00::2/128", "never",
        ] { #expect(text.output.contains(words), "\(words) in \(text.output)") }
        let document = try wg("show", name.text, "--output", "json")
        #expect(document.status == 0)
        let device = try #require(try JSONValue(parsing: Array(document.output.utf8)).array?.first)
        #expect(device["name"]?.string == name.text && device["listenPort"]?.integer == 51_999)
        let shown = try #require(device["peers"]?.array).sorted {
            ($0["publicKey"]?.string ?? "") < ($1["publicKey"]?.string ?? "")
        }
        #expect(shown.map { $0["publicKey"]?.string } == peers.prefix(2).map(\.base64))
        #expect(shown[0]["presharedKey"]?.bool == true && shown[1]["presharedKey"]?.bool == false)
        #expect(shown[0]["endpoint"]?.string == "192.0.2.7:51820" && shown[1]["endpoint"] == .null)
        #expect(shown[0]["persistentKeepalive"]?.integer == 25 && shown[0]["lastHandshake"] == .null)
        #expect(Set((shown[0]["allowedIPs"]?.array ?? []).compactMap(\.string)) == ["fd00::1/128", "10.0.0.0/8"])
        for secret in secrets() { #expect(!text.output.contains(secret) && !document.output.contains(secret)) }
        // Without a name: all interfaces, among them this one.
        let all = try wg("show")
        #expect(all.status == 0 && all.output.contains("interface \(name)\n"))
        // Nothing for a terminal in what goes into a pipe.
        #expect(!text.output.contains("\u{1B}") && !document.output.contains("\u{1B}"))
    }

    @Test func diffSaysNothingOfWhatIsAsItShouldBe() throws {
        let wanted = try lab.run("a", "wg showconf \(name)")
        let same = try wg("diff", name.text, try file(wanted))
        #expect(same.status == 0 && same.output == "nothing would change\n", "\(same)")
        let document = try wg("diff", name.text, try file(wanted), "--output", "json")
        #expect(document.status == 0)
        #expect(try JSONValue(parsing: Array(document.output.utf8)) == ["changes": false, "peers": []])
    }

    @Test func diffNamesEveryChangeAndExitsWithOne() throws {
        let wanted = """
            [Interface]
            PrivateKey = \(secrets()[0])
            ListenPort = 52000
            FwMark = 7
            [Peer]
            PublicKey = \(peers[0].base64)
            Endpoint = 192.0.2.8:51820
            AllowedIPs = fd00::1/128
            [Peer]
            PublicKey = \(peers[2].base64)
            PresharedKey = \(secrets()[1])
            AllowedIPs = fd00::3/128

            """
        let path = try file(wanted)
        let before = try settings()
        let text = try wg("diff", name.text, path)
        #expect(text.status == 1, "\(text.output)")
        for line in [
            "~ listen port 52000", "~ peer \(peers[0].base64)", "- peer \(peers[1].base64)",
            "+ peer \(peers[2].base64)",
            "    preshared key removed", "    preshared key set", "    endpoint 192.0.2.8:51820", "    keepalive off",
        ] { #expect(text.output.split(separator: "\n").contains(Substring(line)), "\(line) in \(text.output)") }
        #expect(!text.output.contains("fwmark") && !text.output.contains("private key"))
        let document = try wg("diff", name.text, path, "--output", "json")
        #expect(document.status == 1)
        let changes = try JSONValue(parsing: Array(document.output.utf8))
        #expect(changes["changes"]?.bool == true && changes["listenPort"]?.integer == 52_000)
        let actions = Dictionary(
            (changes["peers"]?.array ?? []).map { ($0["publicKey"]?.string ?? "", $0["action"]?.string ?? "") },
            uniquingKeysWith: { first, _ in first })
        #expect(
            actions == [peers[0].base64: "update", peers[1].base64: "remove", peers[2].base64: "add"], "\(changes)")
        for secret in secrets() { #expect(!text.output.contains(secret) && !document.output.contains(secret)) }
        // Looked at, not changed.
        #expect(try settings() == before)
    }

    /// What wg(8) shows, without the counters of handshakes and bytes, since wireguard-go tries to reach its peers
    /// meanwhile, and sorted, since it names them in any order.
    private func settings() throws -> [[Substring]] {
        try lab.run("a", "wg show \(name) dump").split(separator: "\n").sorted().map { line in
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            return fields.count == 8 ? Array(fields[..<4] + fields[7...]) : fields
        }
    }

    @Test func mistakesHaveACodeAHintAndAnExitStatus() throws {
        let missing = try wg("show", "nosuch0")
        #expect(missing.status != 0 && missing.output.contains("wireguard."), "\(missing)")
        let malformed = try wg("show", "a/b", "--output", "json")
        #expect(malformed.status != 0 && malformed.output.contains("\"code\""), "\(malformed)")
        let unreadable = try wg("diff", name.text, directory.file("absent.conf"))
        #expect(unreadable.status == ExitStatus.noInput.rawValue, "\(unreadable)")
        let wrong = try wg("diff", name.text, try file("[Peer]\nPublicKey = short\n"))
        #expect(wrong.status == ExitStatus.dataError.rawValue && wrong.output.contains("line 2"), "\(wrong)")
    }

    @Test(arguments: ["wg", "wg show", "wg diff"]) func everyHelpHasAnExample(_ command: String) throws {
        let program = try #require(BuiltProgram.holdfast)
        let help = try Tool.run([program] + command.split(separator: " ").map(String.init) + ["--help"])
        #expect(help.status == 0 && help.output.contains("Example") && help.output.contains("holdfast wg"), "\(help)")
    }
}
