import AgentCore
import ArgumentParser
import Base
import CLISupport
import Model

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show what runs and what should run.",
        discussion: """
                Exits with 1 when something is not as it should be; `why` says what.

                Example: holdfast-agent status --output json
                """)

    @OptionGroup var options: AgentOptions

    func run() async throws {
        let status = try options.client.document("GET", "/v1/status")
        let console = options.console
        console.result(status) { text(status, console) }
        if status["healthy"]?.bool != true { throw ExitCode(ExitStatus.failure.rawValue) }
    }

    private func text(_ status: JSONValue, _ console: Console) -> String {
        var lines: [String] = []
        let device = status["device"]
        lines.append(
            device?["provisioned"]?.bool == true
                ? "device   \(device?["id"]?.string ?? "")" : "device   not provisioned")
        if let agent = status["agent"] {
            let slot = agent["slot"]?.string ?? ""
            var words = "\(agent["version"]?.string ?? "") (\(slot == "installed" ? slot : "slot \(slot)"))"
            if let trial = agent["trial"] {
                words +=
                    ", \(trial["version"]?.string ?? "") on trial, start \(trial["starts"]?.integer ?? 0) of "
                    + "\(trial["limit"]?.integer ?? 0)"
            }
            lines.append("agent    \(words)")
        }
        let engine = status["engine"]
        var words = engine?["state"]?.string ?? "unknown"
        if let version = engine?["version"]?.string { words += " (\(version), API \(engine?["api"]?.string ?? "?"))" }
        if let message = engine?["message"]?.string { words += ": \(message)" }
        lines.append("engine   \(words)")
        if let hub = status["hub"] { lines += HubText.lines(hub) }
        for lock in status["locks"]?.array ?? [] {
            lines.append(
                "lock     \(lock["holder"]?.string ?? ""), \(lock["secondsLeft"]?.integer ?? 0) s left: "
                    + TerminalText.sanitized(lock["reason"]?.string ?? ""))
        }
        let apps = status["apps"]?.array ?? []
        if apps.isEmpty { lines.append("apps     none yet") }
        for app in apps {
            let previous = app["previous"]?["version"]?.string.map { ", before it \($0)" } ?? ""
            lines.append(
                "\napp      \(app["app"]?.string ?? "") \(app["version"]?.string ?? "") "
                    + "\(app["phase"]?.string ?? "")\(app["settled"]?.bool == true ? ", settled" : "")\(previous)")
            var table = Table("SERVICE", "STATE", "HEALTH", "RESTARTS", "CONTAINER")
            for service in app["services"]?.array ?? [] {
                table.add([
                    service["service"]?.string ?? "", service["state"]?.string ?? "", service["health"]?.string ?? "",
                    service["restarts"]?.integer.map { String($0) } ?? "", service["container"]?.string ?? "",
                ])
            }
            lines.append(table.rendered(color: console.colorsOutput))
        }
        if status["healthy"]?.bool != true { lines.append("\nnot all is well: holdfast-agent why") }
        return lines.joined(separator: "\n")
    }
}

struct WhyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "why", abstract: "Say why the device is not, or not yet, as it should be.",
        discussion: """
                Exits with 1 when there is a fault, with 0 when all is well or an update is on its way.

                Example: holdfast-agent why
                """)

    @OptionGroup var options: AgentOptions

    func run() async throws {
        let answer = try options.client.document("GET", "/v1/why")
        let reasons = answer["reasons"]?.array ?? []
        options.console.result(answer) {
            (reasons.isEmpty ? "all is as it should be" : reasons.map(text).joined(separator: "\n"))
                + (answer["lastImport"].map(supply) ?? "")
        }
        if reasons.contains(where: { $0["fault"]?.bool == true }) { throw ExitCode(ExitStatus.failure.rawValue) }
    }

    /// How the layers of the last import came, where deltas had a part in it.
    private func supply(_ last: JSONValue) -> String {
        let layers = last["layers"]?.array ?? []
        let made = layers.count { $0["delta"]?.string != nil }
        guard made > 0 || layers.contains(where: { $0["failures"]?.array?.isEmpty == false }) else { return "" }
        var lines = [
            "\n\(TerminalText.sanitized(last["release"]?.string ?? "")): \(made) of \(layers.count) new layers by delta, "
                + "\(ByteCount(last["read"]?.integer ?? 0)) read, \(ByteCount(last["saved"]?.integer ?? 0)) saved"
        ]
        for layer in layers {
            for failure in layer["failures"]?.array ?? [] {
                lines.append("    not by \(TerminalText.sanitized(failure.string ?? ""))")
            }
        }
        return lines.joined(separator: "\n")
    }

    private func text(_ reason: JSONValue) -> String {
        var line = reason["fault"]?.bool == true ? "! " : "- "
        if let app = reason["app"]?.string { line += "\(app): " }
        line += "\(TerminalText.sanitized(reason["message"]?.string ?? "")) [\(reason["code"]?.string ?? "")]"
        if let seconds = reason["retryInSeconds"]?.integer { line += ", again in \(seconds) s" }
        if let hint = reason["hint"]?.string { line += "\n    try: \(hint)" }
        return line
    }
}

struct ReleasesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "releases", abstract: "List the releases that this device has verified.",
        discussion: "Example: holdfast-agent releases --output json")

    @OptionGroup var options: AgentOptions

    func run() async throws {
        let answer = try options.client.document("GET", "/v1/releases")
        var table = Table("APP", "VERSION", "ROLE", "CTR", "EPOCH", "FRESHNESS", "DIGEST", "FAILURE")
        for release in answer["releases"]?.array ?? [] {
            table.add([
                release["app"]?.string ?? "", release["version"]?.string ?? "", release["role"]?.string ?? "",
                release["ctr"]?.integer.map { String($0) } ?? "", release["epoch"]?.integer.map { String($0) } ?? "",
                release["freshness"]?.string ?? "", String((release["digest"]?.string ?? "").dropFirst(7).prefix(12)),
                release["failure"]?.string ?? "",
            ])
        }
        options.console.table(table, json: answer, empty: "no releases yet: holdfast-agent import PATH")
    }
}

struct JournalCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "journal", abstract: "Read the agent's memory.",
        discussion: "Example: holdfast-agent journal show --limit 50", subcommands: [Show.self],
        defaultSubcommand: Show.self)

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Print desired states, steps and events, newest first.",
            discussion: "Example: holdfast-agent journal show --limit 50")

        @OptionGroup var options: AgentOptions
        @Option(help: "Rows of each kind, at most 2000.")
        var limit = 20

        func run() async throws {
            let answer = try options.client.document("GET", "/v1/journal", query: ["limit": String(limit)])
            let console = options.console
            console.result(answer) {
                [
                    "Desired states",
                    table(
                        ["ADOPTED", "APP", "VERSION", "PHASE", "CAUSE", "DETAIL"], answer["desired"],
                        ["adoptedAt", "app", "version", "phase", "cause", "detail"], console),
                    "\nSteps",
                    table(
                        ["STARTED", "APP", "OUTCOME", "STEP", "MESSAGE"], answer["steps"],
                        ["startedAt", "app", "outcome", "step", "message"], console),
                    "\nEvents",
                    table(
                        ["AT", "APP", "CODE", "MESSAGE"], answer["events"], ["at", "app", "code", "message"], console),
                ].joined(separator: "\n")
            }
        }

        private func table(_ titles: [String], _ rows: JSONValue?, _ keys: [String], _ console: Console) -> String {
            var table = Table()
            table.titles = titles
            for row in rows?.array ?? [] { table.add(keys.map { row[$0]?.string ?? "" }) }
            return table.rows.isEmpty ? "none" : table.rendered(color: console.colorsOutput)
        }
    }
}
