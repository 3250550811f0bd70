import ArgumentParser
import CLISupport

@main
enum HoldfastHub {
    static func main() async { await CommandRunner.main(RootCommand.self) }
}

struct RootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast-hub",
        abstract: "Keeps a fleet: enrols devices, holds their tunnels, answers their polls, takes their reports.",
        discussion: """
            `holdfast-hub init`, then `holdfast-hub serve`, is all it takes. Devices need no hub: what they run,
            they keep running without one.
            Exit codes are those of sysexits.h; the README lists them.
            """,
        version: Product.version,
        subcommands: [
            InitCommand.self, ServeCommand.self, ConfigCommand.self, PasswordCommand.self, ScopesCommand.self,
            FreshnessKeyCommand.self,
        ])
}
