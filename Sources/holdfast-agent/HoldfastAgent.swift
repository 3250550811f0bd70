import AgentCore
import ArgumentParser
import CLISupport

@main
enum HoldfastAgent {
    static func main() async { await CommandRunner.main(RootCommand.self) }
}

struct RootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast-agent",
        abstract: "Runs signed releases on this device and keeps them running.",
        discussion: """
            The daemon is `holdfast-agent run`; every other command asks it over its local socket.
            Exit codes are those of sysexits.h; the README lists them.

            Example: holdfast-agent status
            """,
        version: DeviceFacts.version,
        subcommands: [
            RunCommand.self, StatusCommand.self, WhyCommand.self, ImportCommand.self, ReleasesCommand.self,
            InventoryCommand.self, RollbackCommand.self, UpdateNowCommand.self, LockCommand.self, ScrubCommand.self,
            LogsCommand.self, NonceCommand.self,
            ProvisionCommand.self, EnrolCommand.self, HubCommand.self, JournalCommand.self, ConfigCommand.self,
        ])
}

/// Options of every command that asks the daemon.
struct AgentOptions: ParsableArguments {
    @OptionGroup var output: OutputOptions

    @Option(help: "The agent's socket.")
    var socket = "/run/holdfast/agent.sock"

    var client: LocalClient { LocalClient(path: socket) }
    var console: Console { output.console }
}
