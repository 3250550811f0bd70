import ArgumentParser
import CLISupport
import HubServer
import Model
import ServiceSupport

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check or describe the configuration file.",
        subcommands: [Check.self, Default.self, Schema.self])

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read a configuration file as serve would.",
            discussion: "Example: holdfast-hub config check /etc/holdfast/hub.json")
        @OptionGroup var output: OutputOptions
        @Argument(help: ArgumentHelp("The file.", valueName: "file")) var file: String

        func run() async throws {
            let config = try HubConfig.read(file)
            output.console.result(config.json) { "\(file) is good" }
        }
    }

    struct Default: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print every field at its default.",
            discussion: "Example: holdfast-hub config default > hub.json")
        func run() async throws { Console(format: .json).result(HubConfig().json) { "" } }
    }

    struct Schema: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the JSON Schema of the file.",
            discussion: "Example: holdfast-hub config schema > hub.schema.json")
        func run() async throws { Console(format: .json).result(HubConfig.schema) { "" } }
    }
}
