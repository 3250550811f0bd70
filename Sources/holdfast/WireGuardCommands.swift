import ArgumentParser
import Base
import CLISupport
import Model
import WireGuard

/// `holdfast wg`: WireGuard interfaces, looked at.
struct WireGuardCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wg",
        abstract: "Show WireGuard interfaces and what a configuration would change.",
        discussion: """
            Kernel interfaces and those of wireguard-go alike. Nothing is changed, and no private or preshared key is
            ever printed.

            Examples:
              holdfast wg show
              holdfast wg show wg0 --output json
              holdfast wg diff wg0 wanted.conf
            """,
        subcommands: [WireGuardShowCommand.self, WireGuardDiffCommand.self])
}

struct WireGuardShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show one interface and its peers, or all interfaces.",
        discussion: "Example: holdfast wg show wg0")

    @OptionGroup var output: OutputOptions
    @Argument(help: "The interface; all of them when left out.")
    var interface: String?

    func run() async throws {
        let host = WireGuardHost(daemon: nil)
        let names = try interface.map { [try InterfaceName(parsing: $0)] } ?? host.deviceNames()
        let states = try names.map { try host.device($0).read() }
        let now = SystemClock.live.now()
        output.console.result(.array(states.map(WireGuardText.json))) {
            states.isEmpty
                ? "no WireGuard interface"
                : states.map { WireGuardText.text($0, now: now) }.joined(separator: "\n")
        }
    }
}

struct WireGuardDiffCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Say what a configuration in wg(8)'s format would change on an interface.",
        discussion: """
            Exit status 0 when nothing would change, 1 when something would.

            Example: holdfast wg diff wg0 /etc/wireguard/wg0.conf
            """)

    @OptionGroup var output: OutputOptions
    @Argument(help: "The interface.")
    var interface: String
    @Argument(help: "The configuration, as `wg showconf` prints it.", completion: .file())
    var configuration: String

    func run() async throws {
        let state = try WireGuardHost(daemon: nil).device(try InterfaceName(parsing: interface)).read()
        let difference = try DeviceDifference(from: state, to: try ConfigurationFile.read(configuration))
        output.console.result(WireGuardText.json(difference)) { WireGuardText.text(difference) }
        if !difference.isEmpty { throw ExitCode(ExitStatus.failure.rawValue) }
    }
}

/// Interfaces and differences as text and as JSON. Peers by their whole public key, secrets by their presence.
enum WireGuardText {
    static func text(_ state: DeviceState, now: Timestamp) -> String {
        var text = "interface \(state.name)\n"
        text += "  public key   \(state.publicKey?.base64 ?? "none")\n"
        text += "  listen port  \(state.listenPort == 0 ? "none" : String(state.listenPort))\n"
        if state.firewallMark != 0 { text += "  fwmark       0x\(String(state.firewallMark, radix: 16))\n" }
        text += "  peers        \(state.peers.count)\n"
        var table = Table("peer", "endpoint", "handshake", "received", "sent", "keepalive", "psk", "allowed ips")
        for peer in state.peers.sorted(by: { $0.publicKey.base64 < $1.publicKey.base64 }) {
            table.add([
                peer.publicKey.base64, peer.endpoint?.description ?? "-",
                peer.lastHandshake.map { age(now - $0.timestamp) } ?? "never",
                ByteCount(Int64(clamping: peer.receivedBytes)).description,
                ByteCount(Int64(clamping: peer.sentBytes)).description,
                peer.persistentKeepalive == 0 ? "off" : "\(peer.persistentKeepalive) s",
                peer.presharedKey == nil ? "no" : "yes", prefixes(peer.allowedIPs),
            ])
        }
        return text + table.rendered()
    }

    /// A peer may have thousands: the first few and how many more.
    private static func prefixes(_ list: [IPPrefix]) -> String {
        let shown = 4
        let text = list.prefix(shown).map(\.description).joined(separator: ", ")
        return list.isEmpty ? "-" : list.count > shown ? "\(text) and \(list.count - shown) more" : text
    }

    private static func age(_ seconds: Int64) -> String {
        switch seconds {
        case ..<0: "ahead of our clock"
        case ..<120: "\(seconds) s ago"
        case ..<7200: "\(seconds / 60) min ago"
        case ..<172_800: "\(seconds / 3600) h ago"
        default: "\(seconds / 86_400) days ago"
        }
    }

    static func json(_ state: DeviceState) -> JSONValue {
        let peers = state.peers.map { peer -> JSONValue in
            [
                "publicKey": .string(peer.publicKey.base64), "presharedKey": .bool(peer.presharedKey != nil),
                "endpoint": peer.endpoint.map { .string($0.description) } ?? .null,
                "lastHandshake": peer.lastHandshake.map { .string($0.timestamp.description) } ?? .null,
                "receivedBytes": .integer(Int64(clamping: peer.receivedBytes)),
                "sentBytes": .integer(Int64(clamping: peer.sentBytes)),
                "persistentKeepalive": .integer(Int64(peer.persistentKeepalive)),
                "allowedIPs": .array(peer.allowedIPs.map { .string($0.description) }),
            ]
        }
        return [
            "name": .string(state.name.text), "publicKey": state.publicKey.map { .string($0.base64) } ?? .null,
            "listenPort": .integer(Int64(state.listenPort)), "firewallMark": .integer(Int64(state.firewallMark)),
            "peers": .array(peers),
        ]
    }

    // MARK: Differences

    static func text(_ difference: DeviceDifference) -> String {
        guard !difference.isEmpty else { return "nothing would change" }
        var lines: [String] = []
        if difference.privateKey != nil { lines.append("~ private key") }
        if let port = difference.listenPort { lines.append("~ listen port \(port)") }
        if let mark = difference.firewallMark { lines.append("~ fwmark 0x\(String(mark, radix: 16))") }
        for change in difference.peers {
            let sign = change.action == .add ? "+" : change.action == .remove ? "-" : "~"
            lines.append("\(sign) peer \(change.publicKey.base64)")
            lines += details(change).map { "    \($0.name) \($0.text)" }
        }
        return lines.joined(separator: "\n")
    }

    private static func details(_ change: PeerChange) -> [(name: String, text: String)] {
        var details: [(name: String, text: String)] = []
        switch change.presharedKey {
        case .keep: break
        case .clear: details.append(("preshared key", "removed"))
        case .set: details.append(("preshared key", "set"))
        }
        if let endpoint = change.endpoint { details.append(("endpoint", endpoint.description)) }
        if let interval = change.persistentKeepalive {
            details.append(("keepalive", interval == 0 ? "off" : "\(interval) s"))
        }
        switch change.allowedIPs {
        case .keep: break
        case .add(let list): details.append(("allowed ips added", prefixes(list)))
        case .replace(let list): details.append(("allowed ips now", prefixes(list)))
        }
        return details
    }

    static func json(_ difference: DeviceDifference) -> JSONValue {
        let peers = difference.peers.map { change -> JSONValue in
            var members: [String: JSONValue] = ["publicKey": .string(change.publicKey.base64)]
            switch change.action {
            case .add: members["action"] = "add"
            case .update: members["action"] = "update"
            case .remove: members["action"] = "remove"
            }
            switch change.presharedKey {
            case .keep: break
            case .clear: members["presharedKey"] = "remove"
            case .set: members["presharedKey"] = "set"
            }
            members["endpoint"] = change.endpoint.map { .string($0.description) }
            members["persistentKeepalive"] = change.persistentKeepalive.map { .integer(Int64($0)) }
            switch change.allowedIPs {
            case .keep: break
            case .add(let list): members["addAllowedIPs"] = .array(list.map { .string($0.description) })
            case .replace(let list): members["allowedIPs"] = .array(list.map { .string($0.description) })
            }
            return .object(members)
        }
        var members: [String: JSONValue] = ["changes": .bool(!difference.isEmpty), "peers": .array(peers)]
        if difference.privateKey != nil { members["privateKey"] = "set" }
        members["listenPort"] = difference.listenPort.map { .integer(Int64($0)) }
        members["firewallMark"] = difference.firewallMark.map { .integer(Int64($0)) }
        return .object(members)
    }
}
