import ArgumentParser
import Base
import CLISupport
import HubCore
import HubServer
import Model
import ServiceSupport

struct PasswordCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "password",
        abstract: "Set an operator's password on the hub's own machine, and unlock the account.",
        discussion: """
            For a password that nobody knows any more. The hub has to be stopped meanwhile.

            Example: holdfast-hub password admin --config /etc/holdfast/hub.json
            """)

    @OptionGroup var output: OutputOptions
    @Argument(help: ArgumentHelp("The operator.", valueName: "name")) var name: String
    @Option(help: ArgumentHelp("Configuration file.", valueName: "file")) var config: String
    @Option(
        name: .customLong("password-file"),
        help: ArgumentHelp("File of the password. Without it one is made and shown once.", valueName: "file"))
    var passwordFile: String?

    func run() async throws {
        let fileSystem = FileSystem()
        let given = try passwordFile.map { try InitCommand.password($0, fileSystem) }
        let password = try given ?? PasswordHash.random()
        try await AccountRecovery(config: try HubConfig.read(config), fileSystem: fileSystem).setPassword(
            password, of: name)
        var document: [String: JSONValue] = ["operator": .string(name)]
        if given == nil { document["password"] = .string(password) }
        output.console.result(.object(document)) {
            given == nil ? "\(name): \(password)   (shown once)" : "\(name) has a new password"
        }
    }
}
