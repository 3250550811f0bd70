import AgentCore
import AgentHub
import ArgumentParser
import Base
import CLISupport
import Glibc
import Model

struct EnrolCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enrol", abstract: "Join a hub with an enrolment token.",
        discussion: """
            The token is a secret until it is used: every user of the machine can read a command line, so give it by
            standard input or a file. The command returns when the device is enrolled, refused, or waits for a person.

            Example: ssh operator@laptop 'holdfast hub token create --fleet pumps' | holdfast-agent enrol -
            Example: holdfast-agent enrol --file /media/stick/holdfast.token --wipe
            """)

    @OptionGroup var options: AgentOptions
    @Argument(help: "The token, or - to read it from standard input, as without any.")
    var token: String?
    @Option(help: "Read the token from this file.")
    var file: String?
    @Flag(help: "Overwrite and remove the file once the device is enrolled.")
    var wipe = false
    @Flag(help: "Leave the present hub first.")
    var replace = false
    @Option(help: "Seconds to wait for the hub's answer; 0 returns at once.")
    var timeout = 120

    func validate() throws {
        if token != nil, file != nil { throw ValidationError("give a token or --file, not both") }
        if wipe, file == nil { throw ValidationError("--wipe needs --file") }
    }

    func run() async throws {
        let console = options.console
        let text = try read(console)
        var status = try options.client.document(
            "POST", "/v1/hub/enrol", body: ["token": .string(text), "replace": .bool(replace)])
        let clock = SystemClock.live
        let end = clock.monotonic() + UInt64(max(0, timeout)) * 1_000_000_000
        var said = ""
        while status["phase"]?.string == "asking", clock.monotonic() < end {
            if let error = status["lastError"]?["message"]?.string, error != said {
                console.note(TerminalText.sanitized(error))
                said = error
            }
            try await clock.sleep(.milliseconds(300))
            status = try options.client.document("GET", "/v1/hub")
        }
        let device = status["device"]?.string ?? ""
        switch status["phase"]?.string {
        case "enrolled":
            if wipe, let file { try HubFiles(directory: "/", fileSystem: FileSystem()).wipe(file) }
            console.result(status) { "enrolled as \(device)" }
        case "waiting": console.result(status) { "\(device) waits for a person to approve it on the hub" }
        case "refused":
            throw HubLinkError(
                .refused, status["lastError"]?["message"]?.string ?? "the hub refused", hint: "make a new token")
        default:
            guard timeout > 0 else { return console.result(status) { "the token is kept; holdfast-agent hub status" } }
            throw HubLinkError(
                .unreachable, "no answer from the hub within \(timeout) s; the agent goes on asking",
                hint: "holdfast-agent hub status")
        }
    }

    private func read(_ console: Console) throws -> String {
        if let file {
            return String(decoding: try FileSystem().read(file, limit: HubFiles.tokenLimit), as: UTF8.self)
        }
        if let token, token != "-" {
            console.note(
                "a token on a command line can be read by every user of this machine; - reads it from standard input")
            return token
        }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: HubFiles.tokenLimit)
        while bytes.count <= HubFiles.tokenLimit {
            let count = Glibc.read(0, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

struct HubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hub", abstract: "Look at the hub that this device joined, poll it now, or leave it.",
        discussion: "Example: holdfast-agent hub status", subcommands: [Status.self, Poll.self, Leave.self])

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "status", abstract: "Show the hub, the tunnel, and what waits to be reported.",
            discussion: "Example: holdfast-agent hub status --output json")
        @OptionGroup var options: AgentOptions

        func run() async throws {
            let status = try options.client.document("GET", "/v1/hub")
            options.console.result(status) { HubText.lines(status).joined(separator: "\n") }
        }
    }

    struct Poll: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "poll", abstract: "Ask the hub now rather than at the device's next slot.",
            discussion: "Example: holdfast-agent hub poll")
        @OptionGroup var options: AgentOptions

        func run() async throws {
            let status = try options.client.document("POST", "/v1/hub/poll")
            options.console.result(status) { "polling" }
        }
    }

    struct Leave: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "leave", abstract: "Forget the hub: tunnel, keys and reports that wait.",
            discussion: """
                What runs keeps running, and the device's trust in releases stays. Remove it on the hub too.

                Example: holdfast-agent hub leave
                """)
        @OptionGroup var options: AgentOptions

        func run() async throws {
            let status = try options.client.document("POST", "/v1/hub/leave")
            options.console.result(status) { "left the hub" }
        }
    }
}

/// The hub for people.
enum HubText {
    static func lines(_ status: JSONValue) -> [String] {
        guard let phase = status["phase"]?.string, phase != "none" else {
            return ["hub      none"] + (error(status).map { ["         \($0)"] } ?? [])
        }
        var lines = ["hub      \(phase) at \(status["host"]?.string ?? "") as \(status["device"]?.string ?? "-")"]
        let poll = status["lastPoll"]?.string.map { "last answer \($0)" } ?? "no answer yet"
        let next = status["nextPollInSeconds"]?.integer.map { ", next within \($0) s" } ?? ""
        lines.append("         \(poll)\(next)")
        if let error = error(status) { lines.append("         \(error)") }
        if let tunnel = status["tunnel"] { lines.append("tunnel   \(self.tunnel(tunnel))") }
        if let reports = status["reports"] {
            lines.append(
                "reports  \(reports["waiting"]?.integer ?? 0) wait, \(reports["unacknowledged"]?.integer ?? 0) segments "
                    + "unacknowledged, \(reports["dropped"]?.integer ?? 0) dropped")
        }
        if let audit = status["audit"] {
            let word = audit["consistent"]?.bool == true ? "consistent" : "NOT what it was before"
            lines.append("audit    \(audit["size"]?.integer ?? 0) events seen, \(word)")
        }
        return lines
    }

    private static func error(_ status: JSONValue) -> String? {
        status["lastError"].map {
            "last error \(TerminalText.sanitized($0["message"]?.string ?? "")) [\($0["code"]?.string ?? "")]"
        }
    }

    private static func tunnel(_ tunnel: JSONValue) -> String {
        guard tunnel["up"]?.bool == true else { return "down" }
        let handshake =
            tunnel["handshakeAgeSeconds"]?.integer.map { "handshake \($0) s ago" } ?? "no handshake yet"
        return
            "\(tunnel["interface"]?.string ?? "") \(tunnel["address"]?.string ?? "") (\(tunnel["backend"]?.string ?? "")), \(handshake)"
    }
}
