import AgentTestSupport
import Base
import Glibc
import Model
import TestSupport
import Testing

/// A hub and devices, each in a network namespace of its own and joined by a bridge: the real programs, with wireguard-go
/// between them. No container engine: what a hub does for a device ends where its release is stored.
actor FleetLab {
    /// Root, the tools, and a tun device; elsewhere the tests are skipped and say so.
    static let isPossible =
        geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0
        && ["ip", "nsenter", "wireguard-go", "wg", "iptables", "python3"].allSatisfy(Tool.isInstalled)
    static let reason: Comment =
        "needs root, /dev/net/tun, iproute2, iptables, wireguard-go, wireguard-tools and python3: tools/setup"

    /// The lab of the suite that runs.
    @TaskLocal static var current: FleetLab?

    static let hubAddress = "10.213.7.1"
    static let releaseBytes = 6 << 20
    /// After which the hub's key and the devices' are old.
    static let keyDays: Int64 = 90
    private static let password = "a password for a lab"

    nonisolated let folder: TemporaryDirectory
    /// Tells the labs of two runs apart: UAPI sockets are named by interface alone.
    nonisolated let tag = String(getpid() % 0xFFFFF, radix: 36)
    private var hubProcess: ChildProcess?
    private var devices: [FleetDevice] = []

    nonisolated var interface: String { "hf\(tag)h" }
    nonisolated func path(_ name: String) -> String { folder.file(name) }
    nonisolated func namespace(_ host: String) -> String { "hf-fleet-\(getpid())-\(host)" }
    nonisolated var hubState: String { path("hub") }
    nonisolated var hubDatabase: String { path("hub/hub.db") }

    init() throws { folder = try TemporaryDirectory() }

    static func program(_ name: String) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let own = String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return Path.join(Path.parent(own), name)
    }

    // MARK: Set-up

    /// A repository with two releases, the hub's namespace, and a hub that has the first release for a fleet.
    func open() async throws {
        try await ip("netns add \(namespace("hub"))")
        try await ip("-n \(namespace("hub")) link set lo up")
        try await ip("-n \(namespace("hub")) link add cable type bridge")
        try await ip("-n \(namespace("hub")) addr add \(Self.hubAddress)/24 dev cable")
        try await ip("-n \(namespace("hub")) link set cable up")
        try await makeReleases()
        try await makeHub()
        try await nameFreshnessKey()
        try await startHub()
        try await login()
        try await hub("releases", "push", path("repo"))
        try await hub("fleet", "set", "pumps")
    }

    private func makeReleases() async throws {
        try write("compose.yaml", "services:\n  web:\n    image: web\n    command: serve\n")
        let seed = SplitMix64(seed: 7)
        var generator = seed
        let noise = (0..<Self.releaseBytes / 8).flatMap { _ in
            withUnsafeBytes(of: generator.next()) { Array($0) }
        }
        for (version, content) in [("1.0.0", Array("small".utf8)), ("2.0.0", noise), ("3.0.0", Array("tiny".utf8))] {
            try ImageFolder.make(path("image-\(version)"), layers: [content])
        }
        try await holdfast("repo", "init", path("repo"), "--lab", "--keys", path("keys"))
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            try await holdfast(
                "release", "build", path("compose.yaml"), "--app", "shop", "--version", version, "--repo", path("repo"),
                "--keys", path("keys"), "--image", "web=oci:\(path("image-\(version)"))")
        }
    }

    /// `holdfast …`, where the repository and its keys are.
    func holdfast(_ words: String...) async throws {
        try await Command.succeed(
            [Self.program("holdfast")] + words,
            environment: ["XDG_CONFIG_HOME": path("config"), "DOCKER_HOST": "unix://" + path("no-engine.sock")])
    }

    /// Lets the hub vouch for freshness.
    private func nameFreshnessKey() async throws {
        try await Command.succeed([
            Self.program("holdfast-hub"), "freshness-key", "--config", path("hub.json"), "-o", path("freshness.json"),
        ])
        try await holdfast(
            "repo", "rotate", path("repo"), "x-holdfast-freshness", "--keys", path("keys"), "--new-key",
            path("freshness.json"))
    }

    private func makeHub() async throws {
        let defaults = try await Command.succeed([Self.program("holdfast-hub"), "config", "default"])
        var config = try JSONValue(parsing: Array(defaults.utf8)).object ?? [:]
        func set(_ section: String, _ name: String, _ value: JSONValue) {
            var members = config[section]?.object ?? [:]
            members[name] = value
            config[section] = .object(members)
        }
        config["stateDirectory"] = .string(hubState)
        set("tunnel", "interface", .string(interface))
        set("tunnel", "endpointHost", .string(Self.hubAddress))
        set("tunnel", "hubKeyRotationDays", .integer(Self.keyDays))
        set("tunnel", "keyRotationDays", .integer(Self.keyDays))
        set("device", "pollSeconds", 2)
        set("device", "updatingPollSeconds", 1)
        // Slow enough that a test can step between, fast enough that all else is quick.
        set("device", "deviceBytesPerSecond", .integer(Int64(Self.releaseBytes / 4)))
        try write("hub.json", String(decoding: try JSONValue.object(config).serialized(.pretty), as: UTF8.self))
        try write("password", Self.password + "\n", mode: 0o600)
        try await inside(
            "hub",
            [
                Self.program("holdfast-hub"), "init", "--config", path("hub.json"), "--release-root",
                path("repo/metadata/1.root.json"), "--password-file", path("password"),
            ])
    }

    func close() async {
        for device in devices { await device.end() }
        if let hubProcess {
            hubProcess.send(SIGTERM)
            _ = try? await hubProcess.wait(limit: .seconds(15))
        }
        for host in ["hub", "rogue"] + devices.map(\.host) {
            let name = namespace(host)
            guard access("/run/netns/\(name)", F_OK) == 0 else { continue }
            // An interface that goes ends the wireguard-go that serves it.
            let links = (try? await Command.run(["ip", "-n", name, "-o", "link", "show", "type", "tun"]))?.output ?? ""
            for line in links.split(separator: "\n") {
                let word = line.split(separator: " ").dropFirst().first?.dropLast() ?? ""
                _ = try? await Command.run(["ip", "-n", name, "link", "delete", String(word)])
            }
            _ = try? await Command.run(["ip", "netns", "delete", name])
        }
    }

    // MARK: The hub

    /// - Parameter ahead: seconds by which the hub's wall clock is ahead of the true time.
    func startHub(ahead: Int64 = 0) async throws {
        let process = try ChildProcess(
            enter("hub") + [Self.program("holdfast-hub"), "serve", "--config", path("hub.json")],
            environment: ahead == 0 ? [:] : ["HOLDFAST_CLOCK_AHEAD": String(ahead)])
        hubProcess = process
        let address = "127.0.0.1"
        try await eventually("the hub answers") {
            if let status = process.poll() {
                throw Command.Failed(description: "the hub ended with \(status): \(process.errorOutput())")
            }
            let probe = try await Command.run(
                enter("hub") + ["bash", "-c", "exec 3<>/dev/tcp/\(address)/8443"])
            return probe.status == 0
        }
    }

    func stopHub(_ signal: Int32 = SIGTERM) async throws {
        guard let process = hubProcess else { return }
        process.send(signal)
        _ = try await process.wait(limit: .seconds(30))
        hubProcess = nil
    }

    func login() async throws {
        try await hub(
            "login", "https://127.0.0.1:8443", "--user", "admin", "--ca", path("hub/tls/certificate.pem"),
            "--passphrase-file", path("password"))
    }

    var hubLog: String { hubProcess?.errorOutput() ?? "" }

    /// `holdfast hub …`, from the hub's own namespace; its document.
    @discardableResult
    func hub(_ words: String...) async throws -> JSONValue {
        let output = try await Command.succeed(
            enter("hub") + [Self.program("holdfast"), "hub"] + words
                + ["--session", path("session.json"), "--output", "json"],
            environment: ["XDG_CONFIG_HOME": path("config")])
        return try JSONValue(parsing: Array(output.utf8))
    }

    func token(_ more: String...) async throws -> String {
        let file = path("token-\(UInt32.random(in: 0 ... .max))")
        let output = try await Command.succeed(
            enter("hub") + [Self.program("holdfast"), "hub", "token", "create", "--fleet", "pumps", "-o", file]
                + more + ["--session", path("session.json")],
            environment: ["XDG_CONFIG_HOME": path("config")])
        _ = output
        return file
    }

    /// Kind, subject and fields of every audit event.
    func events() async throws -> [JSONValue] {
        var found: [JSONValue] = []
        let output = try await Command.succeed(
            enter("hub") + [
                Self.program("holdfast"), "hub", "audit", "--output", "json", "--session", path("session.json"),
            ], environment: ["XDG_CONFIG_HOME": path("config")])
        for line in output.split(separator: "\n") {
            let value = try JSONValue(parsing: Array(line.utf8))
            found += value.array ?? [value]
        }
        return found.compactMap { $0["event"] ?? $0 }
    }

    func refusals(_ reason: String) async throws -> Int {
        try await events().filter {
            $0["kind"]?.string == "enrolment.refused" && $0["fields"]?["reason"]?.string == reason
        }.count
    }

    func deviceIDs() async throws -> [String] {
        (try await hub("devices").array ?? []).compactMap { $0["id"]?.string }
    }

    // MARK: Devices

    /// A blank device on the cable, its agent running.
    func device(wall: Int64? = nil, tokenFile: String? = nil) async throws -> FleetDevice {
        let number = devices.count + 1
        let device = FleetDevice(lab: self, number: number)
        devices.append(device)
        try await ip("netns add \(namespace(device.host))")
        try await ip("-n \(namespace(device.host)) link set lo up")
        try await plug(device.host, "10.213.7.\(10 + number)", port: "port\(number)")
        try await device.configure(tokenFile: tokenFile ?? device.path("boot.token"))
        try await device.start(wall: wall)
        return device
    }

    /// Joins a namespace to the hub's bridge.
    func plug(_ host: String, _ address: String, port: String) async throws {
        let hub = namespace("hub")
        try await ip("-n \(hub) link add \(port) type veth peer name cable netns \(namespace(host))")
        try await ip("-n \(hub) link set \(port) master cable")
        try await ip("-n \(hub) link set \(port) up")
        try await ip("-n \(namespace(host)) addr add \(address)/24 dev cable")
        try await ip("-n \(namespace(host)) link set cable up")
    }

    func cut(_ device: FleetDevice) async throws {
        try await ip("-n \(namespace("hub")) link set port\(device.number) down")
    }
    func heal(_ device: FleetDevice) async throws {
        try await ip("-n \(namespace("hub")) link set port\(device.number) up")
    }

    // MARK: Small things

    nonisolated func enter(_ host: String) -> [String] { ["nsenter", "--net=/run/netns/\(namespace(host))"] }

    @discardableResult
    nonisolated func inside(_ host: String, _ words: [String]) async throws -> String {
        try await Command.succeed(enter(host) + words)
    }

    @discardableResult
    nonisolated func ip(_ words: String) async throws -> String {
        try await Command.succeed(["ip"] + words.split(separator: " ").map(String.init))
    }

    nonisolated func write(_ name: String, _ text: String, mode: UInt32 = 0o644) throws {
        try FileSystem().replace(path(name), with: Array(text.utf8), mode: mode, op: "test")
    }
}

/// Waits for something that other processes do; a busy machine may take its time.
func eventually(
    _ what: String, limit: Duration = .seconds(60), isolation: isolated (any Actor)? = #isolation,
    sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while ContinuousClock.now < deadline {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(100))
    }
    throw Command.Failed(description: "never: \(what) (\(sourceLocation))")
}

/// Makes one lab for a suite and takes it away after the suite's last test.
struct FleetScope: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        guard FleetLab.isPossible else { return try await function() }
        let lab = try FleetLab()
        do {
            try await lab.open()
            try await FleetLab.$current.withValue(lab) { try await function() }
        } catch {
            await lab.close()
            throw error
        }
        await lab.close()
    }
}
