import AgentCore
import ArgumentParser
import Base
import CLISupport
import Glibc
import Model
import ServiceSupport

struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Take a release from a bundle: a folder or a tar.",
        discussion: """
            Verifies, copies what the device lacks, and makes the release the target. With --wait the command
            returns when the release is committed or given up. On a device without a clock a
            freshness ticket proves that the bundle is the newest (holdfast-agent nonce).

            Example: holdfast-agent import /media/stick/shop --wait
            """)

    @OptionGroup var options: AgentOptions
    @Argument(help: "The bundle.")
    var path: String
    @Option(help: "Which app, when the bundle holds several.")
    var app: String?
    @Option(help: "Which version, when not the newest. Needs --app.")
    var release: String?
    @Option(help: ArgumentHelp("A freshness ticket that answers this device's nonce.", valueName: "file"))
    var ticket: String?
    @Flag(help: "Take a release that failed on this device before.")
    var retry = false
    @Flag(help: "Wait until the release is committed or given up.")
    var wait = false
    @Option(help: "Seconds to wait at most.")
    var timeout = 900

    func validate() throws {
        if release != nil, app == nil { throw ValidationError("--release needs --app") }
    }

    func run() async throws {
        let console = options.console
        let progress = Progress(console)
        guard let absolute = realpath(path, nil) else {
            throw FileSystemError(operation: "open", path: path, errno: errno)
        }
        defer { free(absolute) }
        var body: [String: JSONValue] = ["path": .string(String(cString: absolute)), "retry": .bool(retry)]
        if let app { body["app"] = .string(app) }
        if let release { body["version"] = .string(release) }
        if let ticket {
            let bytes = try FileSystem().read(ticket, limit: AgentService.ticketLimit)
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw AgentError(.invalidRequest, "\(ticket) is not UTF-8 text", hint: "make it with: holdfast ticket")
            }
            body["ticket"] = .string(text)
        }
        var last: JSONValue = [:]
        var isCopying = false
        try options.client.call("POST", "/v1/import", body: .object(body)) { event in
            last = event
            switch event["event"]?.string {
            case "verified":
                console.note("verified \(event["release"]?.string ?? ""), \(event["freshness"]?.string ?? "")")
            case "copying":
                if !isCopying { progress.start("copying", total: event["total"]?.integer) }
                isCopying = true
                progress.update(event["done"]?.integer ?? 0, total: event["total"]?.integer)
            case "making":
                if !isCopying { progress.start("making", total: event["total"]?.integer) }
                isCopying = true
                progress.update(event["done"]?.integer ?? 0, total: event["total"]?.integer)
            case "took" where event["delta"]?.string != nil:
                if isCopying { progress.finish() }
                isCopying = false
                console.note(
                    "layer \((event["layer"]?.string ?? "").dropFirst(7).prefix(12)) by delta, "
                        + "\(ByteCount(event["read"]?.integer ?? 0)) read, \(ByteCount(event["saved"]?.integer ?? 0)) saved")
            default: break
            }
        }
        if isCopying { progress.finish() }
        // `unchanged` too: an agent that was cut off after it adopted the release may still be on the way to it.
        guard wait, ["adopted", "unchanged"].contains(last["event"]?.string) else {
            return console.result(last) { "\(last["event"]?.string ?? "done") \(last["release"]?.string ?? "")" }
        }
        try await awaitOutcome(last["release"]?.string ?? "", console)
    }

    /// Asks until the app has settled on a release that is not a candidate any more.
    private func awaitOutcome(_ adopted: String, _ console: Console) async throws {
        let name = adopted.prefix { $0 != " " }
        let clock = SystemClock.live
        let end = clock.monotonic() + UInt64(max(0, timeout)) * 1_000_000_000
        var said = ""
        while clock.monotonic() < end {
            let status: JSONValue
            do {
                status = try options.client.document("GET", "/v1/status")
            } catch let error as AgentError where error.reason == .noAgent {
                // The agent restarts, perhaps as the very program that is waited for.
                try await clock.sleep(.seconds(1))
                continue
            }
            try refuseGivenUp(adopted, status)
            if let app = status["apps"]?.array?.first(where: { $0["app"]?.string == String(name) }) {
                let phase = app["phase"]?.string ?? ""
                let digest = String((app["digest"]?.string ?? "").dropFirst(7).prefix(12))
                if phase != said {
                    console.note("\(name) \(app["version"]?.string ?? ""): \(phase)")
                    said = phase
                }
                if phase == "committed", adopted.contains("(\(digest))") {
                    return console.result(app) { "committed \(adopted)" }
                }
                if phase == "degraded" || phase == "committed" && app["settled"]?.bool == true {
                    throw AgentError(
                        .failedBefore, "\(adopted) was given up; \(name) is on \(app["version"]?.string ?? "nothing")",
                        hint: "holdfast-agent why")
                }
            }
            try await clock.sleep(.milliseconds(300))
        }
        throw AgentError(.importRunning, "\(adopted) is not committed after \(timeout) s", hint: "holdfast-agent why")
    }
}

extension ImportCommand {
    /// A first release that fails leaves its app without any.
    private func refuseGivenUp(_ adopted: String, _ status: JSONValue) throws {
        let name = adopted.prefix { $0 != " " }
        guard status["apps"]?.array?.contains(where: { $0["app"]?.string == String(name) }) != true else { return }
        let releases = try options.client.document("GET", "/v1/releases")["releases"]?.array ?? []
        let failed = releases.first { release in
            let digest = String((release["digest"]?.string ?? "").dropFirst(7).prefix(12))
            return release["role"]?.string == "failed" && adopted.contains("(\(digest))")
        }
        guard let failed else { return }
        throw AgentError(
            .failedBefore, "\(adopted) was given up: \(failed["failure"]?.string ?? "")", hint: "holdfast-agent why")
    }
}

struct NonceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nonce", abstract: "Make the nonce that a freshness ticket has to answer.",
        discussion: """
            For a device whose clock proves nothing and that reaches no hub: carry the nonce to
            where the repository is, and the ticket back with a bundle.

              holdfast ticket --repo REPO --device ID --nonce NONCE -o ticket.json
              holdfast-agent import BUNDLE --ticket ticket.json

            Each call voids the nonce before it.

            Example: holdfast-agent nonce
            """)

    @OptionGroup var options: AgentOptions

    func run() async throws {
        let answer = try options.client.document("POST", "/v1/nonce")
        options.console.result(answer) {
            "device   \(answer["device"]?.string ?? "")\nnonce    \(answer["nonce"]?.string ?? "")"
        }
    }
}

struct RollbackCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback", abstract: "Go back to the release before; needs no network.",
        discussion: "Example: holdfast-agent rollback --app shop")

    @OptionGroup var options: AgentOptions
    @Option(help: "Which app, when several run here.")
    var app: String?

    func run() async throws {
        let answer = try options.client.document("POST", "/v1/rollback", body: app.map { ["app": .string($0)] } ?? [:])
        options.console.result(answer) {
            "going back to \(answer["app"]?.string ?? "") \(answer["target"]?.string ?? "")"
        }
    }
}

struct LogsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Print what a service writes.",
        discussion: "Example: holdfast-agent logs web --tail 100 --follow")

    @OptionGroup var options: AgentOptions
    @Argument(help: "The service.")
    var service: String
    @Option(help: "Which app, when several have this service.")
    var app: String?
    @Option(help: "Lines from the past; all when not given.")
    var tail: Int?
    @Flag(name: .shortAndLong, help: "Go on as more is written.")
    var follow = false

    func run() async throws {
        var query = ["service": service]
        if let app { query["app"] = app }
        if let tail { query["tail"] = String(tail) }
        if follow { query["follow"] = "1" }
        let console = options.console
        try options.client.call("GET", "/v1/logs", query: query) { chunk in
            let text = chunk["text"]?.string ?? ""
            switch console.format {
            case .json: console.event(chunk) { "" }
            case .text:
                // The service's own bytes, as they are, on the stream they came from.
                let descriptor = chunk["stream"]?.string == "stderr" ? console.diagnostics : console.output
                let bytes = Array(text.utf8)
                _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            }
        }
    }
}

struct ProvisionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "provision", abstract: "Give this device its first trust: a root, a name, labels.",
        discussion: """
            Example: holdfast-agent provision --root root.json --device-id pump-7 --label site=harbour
            """)

    @OptionGroup var options: AgentOptions
    @Option(help: "root.json of the release repository.")
    var root: String
    @Option(help: "root.json of the director; then this device takes nothing without its word.")
    var directorRoot: String?
    @Option(help: "Expected SHA-256 of the root, when it came by a way that is not trusted.")
    var rootSHA256: String?
    @Option(name: .customLong("device-id"), help: "This device's name; the host name when not given.")
    var deviceID: String?
    @Option(name: .customLong("label"), help: "NAME=VALUE, as often as needed.")
    var labels: [String] = []
    @Flag(help: "Begin trust anew on a device that has a root. Floors stay.")
    var replace = false

    func run() async throws {
        var pairs: [String: JSONValue] = [:]
        for label in labels {
            guard let mark = label.firstIndex(of: "="), mark != label.startIndex else {
                throw ValidationError("--label \(label): write NAME=VALUE")
            }
            pairs[String(label[..<mark])] = .string(String(label[label.index(after: mark)...]))
        }
        var body: [String: JSONValue] = [
            "root": .string(try text(root)), "deviceID": .string(deviceID ?? HubWiring.hostName), "labels": .object(pairs),
            "replace": .bool(replace),
        ]
        if let directorRoot { body["directorRoot"] = .string(try text(directorRoot)) }
        if let rootSHA256 { body["rootSHA256"] = .string(rootSHA256) }
        let answer = try options.client.document("POST", "/v1/provision", body: .object(body))
        options.console.result(answer) {
            "provisioned as \(answer["deviceID"]?.string ?? ""), root sha256 \(answer["rootSHA256"]?.string ?? "")"
        }
    }

    private func text(_ path: String) throws -> String {
        let bytes = try FileSystem().read(path, limit: LocalRequest.bodyLimit / 4)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw AgentError(.invalidRequest, "\(path) is not UTF-8 text")
        }
        return text
    }
}

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check a configuration, print its schema or the defaults.",
        discussion: "Example: holdfast-agent config check /etc/holdfast/agent.json",
        subcommands: [Check.self, Schema.self, Default.self])

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check", abstract: "Read a configuration strictly.",
            discussion: "Example: holdfast-agent config check /etc/holdfast/agent.json")
        @OptionGroup var output: OutputOptions
        @Argument(help: "The file.") var file: String
        func run() async throws {
            let config = try AgentConfig.load(file)
            output.console.result(config.json) { "\(file) is sound" }
        }
    }

    struct Schema: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "schema", abstract: "Print the JSON Schema.",
            discussion: "Example: holdfast-agent config schema > agent.schema.json")
        func run() async throws {
            Console(format: .json).result(AgentConfig.schema) { "" }
        }
    }

    struct Default: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "default", abstract: "Print a configuration with every field at its default.",
            discussion: "Example: holdfast-agent config default > agent.json")
        func run() async throws {
            Console(format: .json).result(AgentConfig().json) { "" }
        }
    }
}
