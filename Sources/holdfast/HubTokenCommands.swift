import ArgumentParser
import Base
import CLISupport
import HubClient
import Model

struct HubTokensCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokens", abstract: "List the enrolment tokens, without their secrets.",
        discussion: "Example: holdfast hub tokens")
    @OptionGroup var hub: HubOptions
    func run() async throws {
        let items = try await hub.withClient { try await $0.list("/v1/tokens") }
        hub.console.table(HubText.tokens(items), json: .array(items), empty: "no token")
    }
}

struct HubTokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Make, show and revoke enrolment tokens.",
        discussion: "Example: holdfast hub token create --fleet cranes --label site=harbour",
        subcommands: [Create.self, Show.self, Revoke.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a token that lets a device be enrolled.",
            discussion: """
                The token is shown once, as text and (on a terminal, or with --qr) as a QR code. It is a secret until it
                is used up. A token for several devices needs a person's approval of each.

                Example: holdfast hub token create --fleet cranes --label site=harbour --ttl 1h --uses 1 -o stick/token
                """)

        @OptionGroup var hub: HubOptions
        @Option(help: ArgumentHelp("Its devices get the label fleet=FLEET.", valueName: "fleet")) var fleet: String?
        @Option(help: ArgumentHelp("A label of its devices; may be given again.", valueName: "name=value"))
        var label: [String] = []
        @Option(
            help: ArgumentHelp("How long it is good for: 90s, 15m, 1h, 7d; 1 minute to 30 days.", valueName: "time"))
        var ttl = Lifetime(seconds: 3_600)
        @Option(help: ArgumentHelp("How many devices it enrols, 1 to 10000.", valueName: "number")) var uses = 1
        @Option(help: ArgumentHelp("The site's number, 1 to 65534.", valueName: "number")) var site = 1
        @Flag(help: "A person admits each device.") var approval = false
        @Flag(inversion: .prefixedNo, help: "Show the QR code.") var qr: Bool?
        @Option(
            name: [.customShort("o"), .customLong("out")],
            help: ArgumentHelp("Write the token to a file of mode 0600 instead of showing it.", valueName: "file"))
        var destination: String?

        func run() async throws {
            var body: [String: JSONValue] = [
                "labels": try LabelArgument.labels(label), "ttl_s": .integer(ttl.seconds),
                "uses": .integer(Int64(uses)), "site": .integer(Int64(site)),
            ]
            body["fleet"] = fleet.map { .string($0) }
            if approval { body["approval"] = true }
            let item = try await hub.withClient { try await $0.send(.POST, "/v1/tokens", .init(body: .object(body))) }
            guard let token = item["token"]?.string else { throw HubClientError(.answer, "the answer has no token") }
            try show(item, token)
        }

        private func show(_ item: JSONValue, _ token: String) throws {
            var members = item.object ?? [:]
            if let destination {
                try FileSystem().replace(destination, with: Array((token + "\n").utf8), mode: 0o600, op: "token.write")
                members["token"] = nil
                members["path"] = .string(destination)
            }
            let console = hub.console
            console.result(.object(members)) {
                let state = "token \(HubText.text(members["id"])), good until \(HubText.text(members["expires"]))"
                if let destination { return "wrote \(destination): \(state)" }
                console.note(state)
                guard qr ?? console.outputIsTerminal, let code = QRCode.text(token) else { return token }
                return "\(code)\n\(token)"
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a token, without its secret.",
            discussion: "Example: holdfast hub token show 00112233445566778899aabbccddeeff")
        @OptionGroup var hub: HubOptions
        @Argument(help: ArgumentHelp("The token's id.", valueName: "id")) var id: String
        func run() async throws {
            let item = try await hub.withClient { try await $0.send(.GET, "/v1/tokens/\(HubClient.encoded(id))") }
            hub.console.result(item) { HubText.lines(item) }
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a token at once.",
            discussion: "Example: holdfast hub token revoke 00112233445566778899aabbccddeeff")
        @OptionGroup var hub: HubOptions
        @Argument(help: ArgumentHelp("The token's id.", valueName: "id")) var id: String
        func run() async throws {
            try await hub.withClient { _ = try await $0.send(.DELETE, "/v1/tokens/\(HubClient.encoded(id))") }
            hub.console.result(["revoked": .string(id)]) { "revoked \(id)" }
        }
    }
}

/// A time on a command line: a whole number and s, m, h or d.
struct Lifetime: ExpressibleByArgument, Equatable, Sendable, CustomStringConvertible {
    var seconds: Int64

    init(seconds: Int64) { self.seconds = seconds }

    init?(argument: String) {
        guard let unit = argument.last, let factor = ["s": 1, "m": 60, "h": 3_600, "d": 86_400][unit] as Int64?,
            argument.dropLast().utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int64(argument.dropLast()), number > 0
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { return nil }
        seconds = product
    }

    var description: String {
        for (unit, factor) in [("d", Int64(86_400)), ("h", 3_600), ("m", 60)] where seconds % factor == 0 {
            return "\(seconds / factor)\(unit)"
        }
        return "\(seconds)s"
    }
}
