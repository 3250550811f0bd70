import ArgumentParser
import Base
import CLISupport
import FoundationEssentials
import HubClient
import Model

/// `holdfast hub`: a fleet's hub from the operator's side.
struct HubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hub",
        abstract: "Work with a fleet through its hub.",
        discussion: """
            Examples:
              holdfast hub login https://hub.example.org:8443 --user admin --ca hub.pem
              holdfast hub token create --fleet cranes --label site=harbour --ttl 1h
              holdfast hub devices --selector site=harbour
              holdfast hub releases push fleet
              holdfast hub assign shop/1.1.0 --fleet cranes
            """,
        subcommands: [
            HubLoginCommand.self, HubLogoutCommand.self, HubDevicesCommand.self, HubDeviceCommand.self,
            HubFleetsCommand.self, HubFleetCommand.self, HubAssignCommand.self, HubUnassignCommand.self,
            HubAssignmentsCommand.self, HubReleasesCommand.self, HubTokensCommand.self, HubTokenCommand.self,
            HubOperatorsCommand.self, HubOperatorCommand.self, HubPasswordCommand.self, HubKeyCommand.self,
            HubPeersCommand.self,
            HubEventsCommand.self, HubAuditCommand.self,
        ])
}

/// Where the session is kept, for every command that talks to a hub.
struct HubOptions: ParsableArguments {
    @OptionGroup var output: OutputOptions

    @Option(
        help: ArgumentHelp(
            "The file of the session (default: $XDG_CONFIG_HOME/holdfast/hub.json).", valueName: "file"))
    var session: String?

    var console: Console { output.console }

    var sessionPath: String { session ?? Path.join(KeyStoreOptions.configDirectory, "hub.json") }

    /// Runs `work` with a client for the session's hub.
    func withClient<Result>(_ work: (HubClient) async throws -> Result) async throws -> Result {
        let session = try HubSession.load(sessionPath)
        guard session.expires > SystemClock.live.now() else {
            throw HubClientError(
                .session, "the session of \(session.name) at \(session.url) ended at \(session.expires)",
                hint: "holdfast hub login \(session.url) --user \(session.name)")
        }
        let client = try HubClient(session)
        do {
            let result = try await work(client)
            await client.shutdown()
            return result
        } catch {
            await client.shutdown()
            throw error
        }
    }
}

struct HubLoginCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Log in at a hub; the session is kept for the other commands.",
        discussion: """
            The password is asked for, or read from a file or descriptor; it is not kept. A hub with a certificate of its
            own is trusted by that certificate: state/tls/certificate.pem of the hub, carried here once.

            Example: holdfast hub login https://hub.example.org:8443 --user admin --ca hub.pem
            """)

    @OptionGroup var hub: HubOptions
    @Argument(help: ArgumentHelp("The hub.", valueName: "url")) var url: String
    @Option(help: ArgumentHelp("The operator's name.", valueName: "name")) var user: String
    @Option(help: ArgumentHelp("Trust the certificates in this PEM file, for this hub alone.", valueName: "file"))
    var ca: String?
    @Option(
        help: ArgumentHelp(
            "Ask for this right only; may be given again. Default: all of the account.", valueName: "scope"))
    var scope: [String] = []
    @OptionGroup var passphrase: PassphraseOptions

    func run() async throws {
        let certificates = try ca.map { try FileSystem().read($0, limit: 128 << 10) }
            .map { String(decoding: $0, as: UTF8.self) }
        let client = try HubClient(url: url, token: nil, certificates: certificates)
        let password = try passphrase.read(prompt: "Password of \(user): ")
        var body: [String: JSONValue] = ["name": .string(user), "password": .string(password)]
        if !scope.isEmpty { body["scopes"] = .array(scope.map { .string($0) }) }
        let answer: JSONValue
        do {
            answer = try await client.send(.POST, "/v1/login", .init(body: .object(body)))
            await client.shutdown()
        } catch {
            await client.shutdown()
            throw error
        }
        guard let token = answer["access_token"]?.string, let seconds = answer["expires_in"]?.integer else {
            throw HubClientError(.answer, "\(url) answers without a token")
        }
        let session = HubSession(
            url: client.url, name: user, token: token, expires: SystemClock.live.now() + seconds,
            certificates: certificates)
        try session.save(hub.sessionPath)
        hub.console.result(
            [
                "url": .string(session.url), "user": .string(user), "expires": .string(session.expires.description),
                "scope": answer["scope"] ?? .null,
            ]
        ) { "logged in at \(session.url) as \(user) until \(session.expires)" }
    }
}

struct HubLogoutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "Forget the session.", discussion: "Example: holdfast hub logout")

    @OptionGroup var hub: HubOptions

    func run() async throws {
        let fileSystem = FileSystem()
        let had = try fileSystem.status(hub.sessionPath) != nil
        if had { try fileSystem.unlink(hub.sessionPath, op: "hub-session.forget") }
        hub.console.result(["forgotten": .bool(had)]) { had ? "logged out" : "nobody was logged in" }
    }
}
