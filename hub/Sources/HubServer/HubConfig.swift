import Base
import Model
import ServiceSupport
import WireGuard

/// What `holdfast-hub serve --config FILE` reads: one JSON object, every field optional.
public struct HubConfig: ServiceConfig {
    public var stateDirectory = "/var/lib/holdfast-hub"
    public var name = "hub.local"
    public var interface = "hf-hub0"
    public var managesInterface = true
    public var endpointHost = "hub.local"
    public var listenPort = 51_820
    public var mtu = 1_420
    public var secondPort = 51_821
    public var keyRotationDays = 90
    public var hubKeyRotationDays = 0
    public var devicePort = 8_470
    public var pollSeconds = 300
    public var updatingPollSeconds = 10
    public var requestsPerSecond = 2_000
    public var longPolls = 1_000
    public var deviceBytesPerSecond: Int64 = 0
    public var siteBytesPerSecond: Int64 = 0
    public var managementAddress = "127.0.0.1"
    public var managementPort = 8_443
    public var certificate = ""
    public var certificateKey = ""
    public var threads = 2
    public var logLevel = LogLevel.info

    public init() {}

    public static let title = "holdfast-hub configuration"

    public static let options: [ConfigOption<HubConfig>] = [
        ConfigOption(
            path: ["stateDirectory"], kind: .path(\.stateDirectory),
            help: "Where the database, blobs, repositories and keys live. Absolute; made with mode 0700."),
        ConfigOption(
            path: ["name"], kind: .text(\.name),
            help: "The hub's name, a host name: issuer of access tokens and origin of the audit log."),
        ConfigOption(
            path: ["tunnel", "interface"], kind: .text(\.interface),
            help: "The WireGuard interface's name, at most 14 bytes: the one for the hub's next key has a b behind it."),
        ConfigOption(
            path: ["tunnel", "manage"], kind: .flag(\.managesInterface),
            help: "Whether the hub makes the interface, gives it its address and keeps its peers. "
                + "Without it no device reaches the hub: for trying the management side alone."),
        ConfigOption(
            path: ["tunnel", "endpointHost"], kind: .text(\.endpointHost),
            help: "Host name or address at which devices reach the hub's WireGuard; written into tokens."),
        ConfigOption(
            path: ["tunnel", "listenPort"], kind: .integer(\.listenPort, 1...65_535), help: "UDP port of WireGuard."),
        ConfigOption(
            path: ["tunnel", "secondPort"], kind: .integer(\.secondPort, 1...65_535),
            help: "UDP port of the interface that the hub's next key gets; the two take turns."),
        ConfigOption(
            path: ["tunnel", "mtu"], kind: .integer(\.mtu, 1_280...9_000), help: "Bytes of a packet in the tunnel."),
        ConfigOption(
            path: ["tunnel", "keyRotationDays"], kind: .integer(\.keyRotationDays, 0...3_650),
            help: "Days after which a device is asked to change its WireGuard key. 0 for never."),
        ConfigOption(
            path: ["tunnel", "hubKeyRotationDays"], kind: .integer(\.hubKeyRotationDays, 0...3_650),
            help: "Days after which the hub changes its own WireGuard key. 0 for on command only."),
        ConfigOption(
            path: ["device", "port"], kind: .integer(\.devicePort, 1...65_535),
            help: "TCP port of the device API on the hub's tunnel address."),
        ConfigOption(
            path: ["device", "pollSeconds"], kind: .integer(\.pollSeconds, 1...86_400),
            help: "Seconds between two polls of an idle device."),
        ConfigOption(
            path: ["device", "updatingPollSeconds"], kind: .integer(\.updatingPollSeconds, 1...3_600),
            help: "Seconds between two polls of a device in the middle of an update."),
        ConfigOption(
            path: ["device", "requestsPerSecond"], kind: .integer(\.requestsPerSecond, 1...1_000_000),
            help: "Requests a second that all devices together may make; a fifth is kept for updates and enrolment."),
        ConfigOption(
            path: ["device", "longPolls"], kind: .integer(\.longPolls, 0...100_000),
            help: "Devices that may wait for news with a request held open."),
        ConfigOption(
            path: ["device", "deviceBytesPerSecond"], kind: .size(\.deviceBytesPerSecond, 0...(1 << 40)),
            help: "Bytes of blobs a second to one device. 0 for no bound."),
        ConfigOption(
            path: ["device", "siteBytesPerSecond"], kind: .size(\.siteBytesPerSecond, 0...(1 << 40)),
            help: "Bytes of blobs a second to all devices of one site. 0 for no bound."),
        ConfigOption(
            path: ["management", "address"], kind: .text(\.managementAddress),
            help: "Address that the management API listens on, with TLS."),
        ConfigOption(
            path: ["management", "port"], kind: .integer(\.managementPort, 0...65_535),
            help: "TCP port of the management API; 0 for any that is free."),
        ConfigOption(
            path: ["management", "certificate"], kind: .text(\.certificate),
            help: "File of the TLS certificate chain in PEM. Empty: the self-signed one that init made."),
        ConfigOption(
            path: ["management", "certificateKey"], kind: .text(\.certificateKey),
            help: "File of its private key in PEM."),
        ConfigOption(
            path: ["threads"], kind: .integer(\.threads, 1...64), help: "Threads that serve connections."),
        ConfigOption(
            path: ["log", "level"],
            kind: .choice(
                LogLevel.allCases.map(\.rawValue), get: { $0.logLevel.rawValue },
                set: { $0.logLevel = LogLevel(rawValue: $1) ?? .info }),
            help: "Least severe log line that is written. Logs are JSON lines on standard error."),
    ]

    public var layout: HubLayout { HubLayout(root: stateDirectory) }

    /// The interface of one of the hub's ends.
    func interfaceName(_ slot: Slot) throws -> InterfaceName {
        let text = slot == .first ? interface : interface + "b"
        guard let name = InterfaceName(text) else {
            throw HubServerError(
                .invalid, "\(text) is no interface name", hint: "set tunnel.interface to at most 14 letters")
        }
        return name
    }

    func port(_ slot: Slot) throws -> UInt16 {
        let number = slot == .first ? listenPort : secondPort
        guard let port = UInt16(exactly: number), listenPort != secondPort else {
            throw HubServerError(
                .invalid, "UDP port \(number) cannot be used", hint: "tunnel.listenPort and secondPort are two ports")
        }
        return port
    }
}

/// Where things are below the state directory.
public struct HubLayout: Sendable, Hashable {
    public let root: String
    public init(root: String) { self.root = root }

    /// Written last by init: there is a hub when it is there.
    var identity: String { Path.join(root, "hub.json") }
    public var database: String { Path.join(root, "hub.db") }
    public var store: String { Path.join(root, "store") }
    public var repository: String { Path.join(root, "repository") }
    public var keys: String { Path.join(root, "keys") }
    /// Of one of the hub's two ends.
    public func wireGuardKey(_ slot: Slot) -> String {
        Path.join(root, slot == .first ? "keys/wireguard.key" : "keys/wireguard-second.key")
    }
    public var sealingKey: String { Path.join(root, "keys/sealing.key") }
    public var certificate: String { Path.join(root, "tls/certificate.pem") }
    public var certificateKey: String { Path.join(root, "tls/key.pem") }
    public var lock: String { Path.join(root, "lock") }
}
