import ArgumentParser
import Base
import CLISupport
import HubClient
import Model
import Operator

struct HubFleetsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fleets", abstract: "List the fleets.", discussion: "Example: holdfast hub fleets --output json")
    @OptionGroup var hub: HubOptions
    func run() async throws {
        let items = try await hub.withClient { try await $0.list("/v1/fleets") }
        hub.console.table(HubText.fleets(items), json: .array(items), empty: "no fleet")
    }
}

struct HubFleetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fleet", abstract: "Make, show and remove a fleet.",
        discussion: "Example: holdfast hub fleet set cranes --selector type=crane",
        subcommands: [Set.self, Show.self, Delete.self])

    struct Target: ParsableArguments {
        @OptionGroup var hub: HubOptions
        @Argument(help: ArgumentHelp("The fleet's name.", valueName: "fleet")) var fleet: String
        var path: String { "/v1/fleets/\(HubClient.encoded(fleet))" }
        func show(_ item: JSONValue) { hub.console.result(item) { HubText.lines(item) } }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a fleet, or change it.",
            discussion: """
                Without a selector the fleet has the devices with the label fleet=NAME, which tokens give.

                Example: holdfast hub fleet set canary --selector 'ring in (canary)'
                """)
        @OptionGroup var target: Target
        @Option(help: ArgumentHelp("The devices that belong to it.", valueName: "selector")) var selector: String?
        @Option(help: ArgumentHelp("For people.", valueName: "text")) var description: String?
        func run() async throws {
            var body: [String: JSONValue] = [:]
            body["selector"] = selector.map { .string($0) }
            body["description"] = description.map { .string($0) }
            target.show(
                try await target.hub.withClient { try await $0.send(.PUT, target.path, .init(body: .object(body))) })
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a fleet.", discussion: "Example: holdfast hub fleet show cranes")
        @OptionGroup var target: Target
        func run() async throws {
            target.show(try await target.hub.withClient { try await $0.send(.GET, target.path) })
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a fleet; its devices stay.", discussion: "Example: holdfast hub fleet delete cranes")
        @OptionGroup var target: Target
        func run() async throws {
            try await target.hub.withClient { _ = try await $0.send(.DELETE, target.path) }
            target.hub.console.result(["deleted": .string(target.fleet)]) { "deleted \(target.fleet)" }
        }
    }
}

struct HubAssignCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "assign", abstract: "Say which release a fleet or a device gets.",
        discussion: """
            Takes the place of an earlier assignment of the same app for the same fleet or device. A device's own
            assignment goes before its fleets'.

            Example: holdfast hub assign shop/1.1.0 --fleet cranes
            """)

    @OptionGroup var hub: HubOptions
    @Argument(help: ArgumentHelp("The release.", valueName: "app/version")) var release: String
    @Option(help: ArgumentHelp("Every device of this fleet.", valueName: "fleet")) var fleet: String?
    @Option(help: ArgumentHelp("This device.", valueName: "device")) var device: String?
    @Option(help: ArgumentHelp("The greater goes first among fleets: -1000 to 1000.", valueName: "number"))
    var priority: Int = 0

    func validate() throws {
        guard (fleet == nil) != (device == nil) else { throw ValidationError("give one of --fleet and --device") }
    }

    func run() async throws {
        let name = try ReleaseName(release)
        var body: [String: JSONValue] = [
            "app": .string(name.app), "version": .string(name.version.description),
            "priority": .integer(Int64(priority)),
        ]
        body["fleet"] = fleet.map { .string($0) }
        body["device"] = device.map { .string($0) }
        let item = try await hub.withClient { try await $0.send(.POST, "/v1/assignments", .init(body: .object(body))) }
        hub.console.result(item) { HubText.assignments([item]).rendered() }
    }
}

struct HubUnassignCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unassign", abstract: "Take an assignment back. Devices keep what they run.",
        discussion: "Example: holdfast hub unassign a-0f3c1d2e4b5a69788796")
    @OptionGroup var hub: HubOptions
    @Argument(help: ArgumentHelp("The assignment's id.", valueName: "assignment")) var assignment: String
    func run() async throws {
        try await hub.withClient { _ = try await $0.send(.DELETE, "/v1/assignments/\(HubClient.encoded(assignment))") }
        hub.console.result(["removed": .string(assignment)]) { "removed \(assignment)" }
    }
}

struct HubAssignmentsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "assignments", abstract: "List who gets which release.",
        discussion: "Example: holdfast hub assignments")
    @OptionGroup var hub: HubOptions
    func run() async throws {
        let items = try await hub.withClient { try await $0.list("/v1/assignments") }
        hub.console.table(HubText.assignments(items), json: .array(items), empty: "no assignment")
    }
}
