import AgentCore
import ArgumentParser
import CLISupport
import Model

struct LockCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock", abstract: "Hold updates back for a while, and see who does.",
        discussion: """
            A lock keeps a new release from being applied until it is released or its time runs out. It never stops
            what runs. Containers take locks by a socket of their own: x-holdfast: { locks: true }.

            Example: holdfast-agent lock take --holder operator --reason "harvest" --ttl 2h
            """,
        subcommands: [Take.self, Release.self, List.self, Override.self], defaultSubcommand: List.self)

    struct Take: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "take", abstract: "Take a lock, or extend the one of the same holder.",
            discussion: "Example: holdfast-agent lock take --holder operator --reason \"harvest\" --ttl 2h")
        @OptionGroup var options: AgentOptions
        @Option(help: "Who holds it.") var holder: String
        @Option(help: "Why, for whoever finds it.") var reason: String
        @Option(help: "How long at most: 30m, 2h, 1d.") var ttl: String
        @Option(help: "Only updates of this app.") var app: String?

        func validate() throws {
            guard LockCommand.seconds(ttl) != nil else {
                throw ValidationError("--ttl \(ttl): write a number and s, m, h or d")
            }
        }

        func run() async throws {
            let seconds = LockCommand.seconds(ttl) ?? 0
            var body: [String: JSONValue] = [
                "holder": .string(holder), "reason": .string(reason), "ttlSeconds": .integer(seconds),
            ]
            if let app { body["app"] = .string(app) }
            let lock = try options.client.document("POST", "/v1/locks", body: .object(body))
            options.console.result(lock) { "lock \(lock["id"]?.integer ?? 0) held by \(holder) for \(ttl)" }
        }
    }

    struct Release: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "release", abstract: "End a holder's locks.",
            discussion: "Example: holdfast-agent lock release --holder operator")
        @OptionGroup var options: AgentOptions
        @Option(help: "Whose.") var holder: String
        @Option(help: "Only the one on this app.") var app: String?

        func run() async throws {
            var body: [String: JSONValue] = ["holder": .string(holder)]
            if let app { body["app"] = .string(app) }
            let answer = try options.client.document("POST", "/v1/locks/release", body: .object(body))
            options.console.result(answer) { "released" }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the locks that hold.", discussion: "Example: holdfast-agent lock list")
        @OptionGroup var options: AgentOptions

        func run() async throws {
            let answer = try options.client.document("GET", "/v1/locks")
            var table = Table("ID", "APP", "HOLDER", "SECONDS LEFT", "REASON")
            for lock in answer["locks"]?.array ?? [] {
                let app = lock["app"]?.string ?? ""
                table.add([
                    String(lock["id"]?.integer ?? 0), app.isEmpty ? "all" : app, lock["holder"]?.string ?? "",
                    String(lock["secondsLeft"]?.integer ?? 0), TerminalText.sanitized(lock["reason"]?.string ?? ""),
                ])
            }
            options.console.table(table, json: answer, empty: "no locks")
        }
    }

    struct Override: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "override", abstract: "End locks whoever holds them; the journal says who did.",
            discussion: "Example: holdfast-agent lock override --id 3")
        @OptionGroup var options: AgentOptions
        @Option(help: "Only this one; all when not given.") var id: Int?

        func run() async throws {
            let body: JSONValue = id.map { ["id": .integer(Int64($0))] } ?? [:]
            let answer = try options.client.document("POST", "/v1/locks/override", body: body)
            options.console.result(answer) { "overridden: \(answer["overridden"]?.integer ?? 0)" }
        }
    }

    /// `90s`, `30m`, `2h`, `1d`; nil for anything else.
    static func seconds(_ text: String) -> Int64? {
        guard let unit = text.last, let scale = ["s": 1, "m": 60, "h": 3_600, "d": 86_400][String(unit)],
            let number = Int64(text.dropLast()), number > 0, number <= 1_000_000
        else { return nil }
        return number * Int64(scale)
    }
}

struct UpdateNowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "update-now", abstract: "Apply the release that waits for a maintenance window now.",
        discussion: """
            Windows are passed over for this one release; a lock holds it all the same (lock override).

            Example: holdfast-agent update-now --app shop
            """)
    @OptionGroup var options: AgentOptions
    @Option(help: "Which app, when several run here.") var app: String?

    func run() async throws {
        let answer = try options.client.document(
            "POST", "/v1/update-now", body: app.map { ["app": .string($0)] } ?? [:])
        options.console.result(answer) {
            "\(answer["app"]?.string ?? "") \(answer["version"]?.string ?? "") goes on now"
        }
    }
}
