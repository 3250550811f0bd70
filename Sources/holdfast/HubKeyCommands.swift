import ArgumentParser
import Base
import CLISupport
import HubClient
import Model

/// `holdfast hub key`: the hub's own WireGuard key.
struct HubKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Show and change the hub's own WireGuard key.",
        discussion: """
            A change goes in two steps. `rotate` puts the next key beside the present one, on the hub's other interface and
            UDP port, and announces it, signed, with the next poll of each device; devices go over by themselves, and
            nothing is cut. `retire` takes the last key away, which the hub does by itself once all devices have followed.

            Example: holdfast hub key rotate
            """,
        subcommands: [Show.self, Rotate.self, Retire.self], defaultSubcommand: Show.self)

    struct Target: ParsableArguments {
        @OptionGroup var hub: HubOptions
        func send(_ method: HubClient.Method, _ path: String, _ body: JSONValue? = nil) async throws {
            let item = try await hub.withClient { try await $0.send(method, path, .init(body: body)) }
            hub.console.result(item) { HubText.key(item) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the hub's keys, and how many devices have still to follow.",
            discussion: "Example: holdfast hub key show")
        @OptionGroup var target: Target
        func run() async throws { try await target.send(.GET, "/v1/hub") }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Announce the hub's next key.",
            discussion: """
                The UDP port of the other interface (tunnel.secondPort) has to be open.

                Example: holdfast hub key rotate
                """)
        @OptionGroup var target: Target
        func run() async throws { try await target.send(.POST, "/v1/hub/rotate-key") }
    }

    struct Retire: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take the hub's last key away.",
            discussion: """
                Refused while devices use it. With --force those devices have to be enrolled again, and tokens that were
                made under the last key enrol nobody any more.

                Example: holdfast hub key retire
                """)
        @OptionGroup var target: Target
        @Flag(help: "Also when devices have not followed.") var force = false
        func run() async throws {
            try await target.send(.POST, "/v1/hub/retire-key", force ? ["force": true] : nil)
        }
    }
}
