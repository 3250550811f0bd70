import ArgumentParser
import Base
import CLISupport
import HubClient
import Model

struct HubOperatorsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operators", abstract: "List the people and scripts that may use the hub.",
        discussion: "Example: holdfast hub operators")
    @OptionGroup var hub: HubOptions
    func run() async throws {
        let items = try await hub.withClient { try await $0.list("/v1/operators") }
        hub.console.table(HubText.operators(items), json: .array(items), empty: "no operator")
    }
}

/// One account: made, given rights, locked.
struct HubOperatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operator", abstract: "Make, change and lock accounts.",
        discussion: """
            Scopes are devices, tokens, fleets, releases, assignments, operators, events, audit and peers, each with :read;
            devices:write (labels, keys), devices:admit (approve, reject, revoke, delete), tokens:write, fleets:write,
            releases:publish, assignments:approve, operators:write, hub:read and hub:write. Nobody gives a scope that they do not
            hold. A change ends the account's sessions.

            Example: holdfast hub operator create ci --scope releases:read --scope releases:publish
            """,
        subcommands: [Create.self, Show.self, Scopes.self, Password.self, Lock.self, Unlock.self])

    struct Target: ParsableArguments {
        @OptionGroup var hub: HubOptions
        @Argument(help: ArgumentHelp("The account's name.", valueName: "name")) var name: String
        var path: String { "/v1/operators/\(HubClient.encoded(name))" }

        func send(_ method: HubClient.Method, _ path: String, _ body: JSONValue? = nil) async throws {
            let item = try await hub.withClient { try await $0.send(method, path, .init(body: body)) }
            hub.console.result(item) { HubText.lines(item) }
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make an account. Its password is asked for twice, or read from a file or descriptor.",
            discussion: "Example: holdfast hub operator create ana --scope devices:read --scope tokens:write")
        @OptionGroup var target: Target
        @Option(help: ArgumentHelp("A right of the account; may be given again.", valueName: "scope"))
        var scope: [String]
        @OptionGroup var passphrase: PassphraseOptions
        func run() async throws {
            let password = try passphrase.read(prompt: "Password of \(target.name): ", confirm: true)
            try await target.send(
                .POST, "/v1/operators",
                [
                    "name": .string(target.name), "password": .string(password),
                    "scopes": .array(scope.map { .string($0) }),
                ])
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show an account.", discussion: "Example: holdfast hub operator show ci")
        @OptionGroup var target: Target
        func run() async throws { try await target.send(.GET, target.path) }
    }

    struct Scopes: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change an account's scopes: exactly these, or some more and some less.",
            discussion: """
                --add and --remove change what the account has, and nothing when somebody else changes it meanwhile. A scope
                that nobody holds yet, being new since an update of the hub, is given on its own machine: holdfast-hub scopes.

                Example: holdfast hub operator scopes ci --add hub:read --remove releases:publish
                """)
        @OptionGroup var target: Target
        @Option(help: ArgumentHelp("A right of the account, which then has no other; may be given again.", valueName: "scope"))
        var scope: [String] = []
        @Option(help: ArgumentHelp("A right to give besides; may be given again.", valueName: "scope"))
        var add: [String] = []
        @Option(help: ArgumentHelp("A right to take away; may be given again.", valueName: "scope"))
        var remove: [String] = []

        func validate() throws {
            guard scope.isEmpty || (add.isEmpty && remove.isEmpty) else {
                throw ValidationError("give --scope, or --add and --remove")
            }
            guard Set(add).isDisjoint(with: remove) else {
                throw ValidationError("a scope cannot be given and taken away at once")
            }
        }

        func run() async throws {
            guard !add.isEmpty || !remove.isEmpty else {
                return try await target.send(.PATCH, target.path, ["scopes": .array(scope.map { .string($0) })])
            }
            let item = try await target.hub.withClient { client in
                let present = try await client.send(.GET, target.path)
                let scopes = Set((present["scopes"]?.array ?? []).compactMap(\.string)).union(add).subtracting(remove)
                return try await client.send(
                    .PATCH, target.path,
                    .init(
                        body: ["scopes": .array(scopes.sorted().map { .string($0) })],
                        headers: [("If-Match", "\"v\(present["version"]?.integer ?? 0)\"")]))
            }
            target.hub.console.result(item) { HubText.lines(item) }
        }
    }

    struct Password: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set another's password. For one's own: holdfast hub password.",
            discussion: "Example: holdfast hub operator password ana")
        @OptionGroup var target: Target
        @OptionGroup var passphrase: PassphraseOptions
        func run() async throws {
            let password = try passphrase.read(prompt: "New password of \(target.name): ", confirm: true)
            try await target.send(.PUT, "\(target.path)/password", ["password": .string(password)])
        }
    }

    struct Lock: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End an account's sessions and take no more logins.",
            discussion: "Example: holdfast hub operator lock ana")
        @OptionGroup var target: Target
        func run() async throws { try await target.send(.PATCH, target.path, ["locked": true]) }
    }

    struct Unlock: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let an account log in again.", discussion: "Example: holdfast hub operator unlock ana")
        @OptionGroup var target: Target
        func run() async throws { try await target.send(.PATCH, target.path, ["locked": false]) }
    }
}

struct HubPasswordCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "password", abstract: "Change your own password. All your sessions end.",
        discussion: """
            Asks for the old password and twice for the new one; scripts give files.

            Example: holdfast hub password
            """)
    @OptionGroup var hub: HubOptions
    @OptionGroup var passphrase: PassphraseOptions
    @Option(
        name: .customLong("new-passphrase-file"),
        help: ArgumentHelp("Read the new password from FILE (its first line).", valueName: "file"))
    var newFile: String?

    func run() async throws {
        let session = try HubSession.load(hub.sessionPath)
        let old = try passphrase.read(prompt: "Present password of \(session.name): ")
        var next = PassphraseOptions()
        next.file = newFile
        let new = try next.read(prompt: "New password: ", confirm: true)
        let client = try HubClient(session)
        do {
            _ = try await client.data(
                .POST, "/v1/password",
                .init(
                    body: ["name": .string(session.name), "password": .string(old), "new_password": .string(new)]))
            await client.shutdown()
        } catch {
            await client.shutdown()
            throw error
        }
        try FileSystem().unlink(hub.sessionPath, op: "hub-session.forget")
        hub.console.result(["changed": .string(session.name)]) {
            "changed; log in again: holdfast hub login \(session.url) --user \(session.name)"
        }
    }
}
