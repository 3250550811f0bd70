import ArgumentParser
import Base
import CLISupport
import HubCore
import HubProtocol
import HubServer
import Model
import ServiceSupport
import WireGuard

struct InitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make a new hub.",
        discussion: """
            Makes keys, the tunnel's network, the director repository, the database with its first operator, and a
            self-signed certificate for the management side. Writes the configuration file where there is none.

            Example: holdfast-hub init --config /etc/holdfast/hub.json --name hub.example.org \\
              --endpoint hub.example.org:51820 --release-root fleet/metadata/1.root.json
            """)

    @OptionGroup var output: OutputOptions
    @Option(help: ArgumentHelp("Configuration file; made from the defaults where there is none.", valueName: "file"))
    var config: String
    @Option(help: ArgumentHelp("The hub's name.", valueName: "host"))
    var name: String?
    @Option(help: ArgumentHelp("Where devices reach the hub's WireGuard.", valueName: "host:port"))
    var endpoint: String?
    @Option(help: ArgumentHelp("State directory.", valueName: "dir"))
    var state: String?
    @Option(
        name: .customLong("release-root"),
        help: ArgumentHelp("Root metadata of the release repository.", valueName: "file"))
    var releaseRoot: String
    @Option(help: ArgumentHelp("Name of the first operator.", valueName: "name"))
    var `operator` = "admin"
    @Option(
        name: .customLong("password-file"),
        help: ArgumentHelp(
            "File of the operator's password. Without it one is made and shown once.", valueName: "file"))
    var passwordFile: String?

    func run() async throws {
        let fileSystem = FileSystem()
        let config = try configuration(fileSystem)
        let root = try fileSystem.read(releaseRoot, limit: 1 << 20)
        var given: String?
        if let passwordFile { given = try Self.password(passwordFile, fileSystem) }
        let password: String
        if let given { password = given } else { password = try PasswordHash.random() }
        let made = try await HubMaker(config: config, fileSystem: fileSystem).make(
            root: root, operator: self.operator, password: password)
        if try fileSystem.status(self.config) == nil {
            try fileSystem.makeDirectories(Path.parent(self.config), op: "hub.config")
            try fileSystem.replace(self.config, with: config.json.serialized(.pretty), op: "hub.config")
        }
        var document: [String: JSONValue] = [
            "config": .string(self.config), "state": .string(config.stateDirectory),
            "network": .string(made.network.description), "public_key": .string(made.publicKey.base64),
            "operator": .string(made.operatorName), "freshness_key": .string(made.freshnessKeyID),
        ]
        if given == nil { document["password"] = .string(password) }
        if let fingerprint = made.fingerprint { document["certificate_sha256"] = .string(fingerprint.hex) }
        output.console.result(.object(document)) {
            var lines = [
                "made a hub in \(config.stateDirectory)", "  network      \(made.network)",
                "  WireGuard    \(made.publicKey.base64)", "  operator     \(made.operatorName)",
            ]
            if given == nil { lines.append("  password     \(password)   (shown once)") }
            if let fingerprint = made.fingerprint { lines.append("  certificate  sha256:\(fingerprint.hex)") }
            return (lines + ["next: holdfast-hub serve --config \(self.config)"]).joined(separator: "\n")
        }
    }

    private func configuration(_ fileSystem: FileSystem) throws -> HubConfig {
        guard try fileSystem.status(self.config) != nil else { return try wanted(HubConfig()) }
        let found = try HubConfig.read(self.config)
        // The hub that serves reads the file alone: what is only said here would be forgotten.
        guard try wanted(found) == found else {
            throw HubServerError(
                .invalid, "\(self.config) says something else than the options",
                hint: "change the file, or leave the options out")
        }
        return found
    }

    private func wanted(_ config: HubConfig) throws -> HubConfig {
        var config = config
        if let name { config.name = name }
        if let state {
            guard state.hasPrefix("/") else {
                throw HubServerError(.invalid, "the state directory \(state) is not absolute")
            }
            config.stateDirectory = state
        }
        if let endpoint {
            guard let colon = endpoint.lastIndex(of: ":"), let port = Int(endpoint[endpoint.index(after: colon)...]),
                (1...65_535).contains(port)
            else { throw HubServerError(.invalid, "\(endpoint) is no host:port") }
            config.endpointHost = String(endpoint[..<colon].filter { $0 != "[" && $0 != "]" })
            config.listenPort = port
        }
        return config
    }

    static func password(_ path: String, _ fileSystem: FileSystem) throws -> String {
        let bytes = try fileSystem.read(path, limit: 2_048)
        guard let line = String(validating: bytes.prefix { $0 != 0x0A && $0 != 0x0D }, as: UTF8.self) else {
            throw HubServerError(.invalid, "\(path) is no text")
        }
        return line
    }
}
