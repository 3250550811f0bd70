import ArgumentParser
import Base
import CLISupport
import HubCore
import HubServer
import Model
import ServiceSupport

struct ScopesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scopes",
        abstract: "Change an operator's scopes on the hub's own machine.",
        discussion: """
            Over the management API nobody gives a scope that they do not hold; a scope that is new since an update is given
            here first. The hub has to be stopped meanwhile. The account's sessions end.

            Example: holdfast-hub scopes admin --all --config /etc/holdfast/hub.json
            """)

    @OptionGroup var output: OutputOptions
    @Argument(help: ArgumentHelp("The operator.", valueName: "name")) var name: String
    @Option(help: ArgumentHelp("Configuration file.", valueName: "file")) var config: String
    @Option(help: ArgumentHelp("A scope to give; may be given again.", valueName: "scope")) var add: [OperatorScope] = []
    @Option(help: ArgumentHelp("A scope to take away; may be given again.", valueName: "scope"))
    var remove: [OperatorScope] = []
    @Flag(help: "Give every scope that this hub knows.") var all = false

    func validate() throws {
        guard all || !add.isEmpty || !remove.isEmpty else {
            throw ValidationError("give --all, --add or --remove")
        }
        guard Set(remove).isDisjoint(with: all ? OperatorScope.allCases : add) else {
            throw ValidationError("a scope cannot be given and taken away at once")
        }
    }

    func run() async throws {
        let scopes = try await AccountRecovery(config: try HubConfig.read(config)).changeScopes(
            of: name, adding: Set(all ? OperatorScope.allCases : add), removing: Set(remove))
        let names = scopes.sorted().map(\.rawValue)
        output.console.result(["operator": .string(name), "scopes": .array(names.map { .string($0) })]) {
            "\(name): \(names.isEmpty ? "no scope" : names.joined(separator: " "))"
        }
    }
}

extension OperatorScope: ExpressibleByArgument {}
