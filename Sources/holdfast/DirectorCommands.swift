import ArgumentParser
import Base
import CLISupport
import Model
import Operator
import Trust

struct DirectorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "director", abstract: "Say which device gets which release, where there is no hub.",
        discussion: """
            A device that was provisioned with a director's root takes nothing that director
            and release repository do not both list for it. Make a director with:
            holdfast repo init REPO --director --lab

            Example: holdfast director assign fleet --device pump-7 --release shop/1.4.0
            """,
        subcommands: [DirectorAssign.self, DirectorRemove.self, DirectorList.self])
}

struct DirectorAssign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "assign", abstract: "Give devices a release, in place of another of the same application.",
        discussion: """
            Example: holdfast director assign fleet --device pump-7 --device pump-8 \\
                --release shop/1.4.0
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var signing: SigningOptions
    @Argument(help: ArgumentHelp("Folder of the repositories.", valueName: "repo")) var repo: String
    @Option(help: ArgumentHelp("A device; give it again for more.", valueName: "id")) var device: [String]
    @Option(help: ArgumentHelp("The release.", valueName: "app/version")) var release: String

    func run() async throws {
        let workspace = try Workspace(repo)
        let director = try workspace.requireDirector()
        let target = try workspace.assignable(try ReleaseName(release))
        let report = try director.assign(target, to: device, signers: try signing.signers(for: [director]))
        output.console.result(
            [
                "release": .string(release), "devices": .array(device.map { .string($0) }),
                "signing": Formatting.report(report),
            ]
        ) {
            "assigned \(release) to \(device.joined(separator: ", "))\n" + Formatting.text(report)
        }
    }
}

struct DirectorRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take releases from devices; what runs there goes on running.",
        discussion: "Example: holdfast director remove fleet --device pump-7 --app shop")

    @OptionGroup var output: OutputOptions
    @OptionGroup var signing: SigningOptions
    @Argument(help: ArgumentHelp("Folder of the repositories.", valueName: "repo")) var repo: String
    @Option(help: ArgumentHelp("A device; give it again for more.", valueName: "id")) var device: [String]
    @Option(help: "Only this application's.") var app: String?

    func run() async throws {
        let director = try Workspace(repo).requireDirector()
        let report = try director.unassign(device, app: app, signers: try signing.signers(for: [director]))
        output.console.result(
            ["devices": .array(device.map { .string($0) }), "signing": Formatting.report(report)]
        ) {
            "removed \(device.joined(separator: ", "))\n" + Formatting.text(report)
        }
    }
}

struct DirectorList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List devices and what they get.",
        discussion: "Example: holdfast director list fleet --device pump-7")

    @OptionGroup var output: OutputOptions
    @Argument(help: ArgumentHelp("Folder of the repositories.", valueName: "repo")) var repo: String
    @Option(help: ArgumentHelp("Only this device; give it again for more.", valueName: "id")) var device: [String] = []

    func run() async throws {
        let director = try Workspace(repo).requireDirector()
        let published = try director.publishedReleases()
        var table = Table("device", "app", "version", "ctr", "state")
        var json: [JSONValue] = []
        for entry in try director.assignments() where device.isEmpty || device.contains(entry.device) {
            // A target names all its devices: what is published is this device's too only when it lists it.
            let isSigned = published.contains {
                $0.path == entry.target.path && $0.devices?.contains(entry.device) == true
            }
            table.add(
                Table.Cell(entry.device), Table.Cell(entry.target.app), Table.Cell(entry.target.version),
                Table.Cell(entry.target.ctr),
                Table.Cell(isSigned ? "signed" : "waits for signatures", style: isSigned ? .good : .warning))
            json.append([
                "device": .string(entry.device), "app": .string(entry.target.app),
                "version": .string(entry.target.version.description), "ctr": .integer(entry.target.ctr),
                "digest": .string(entry.target.digest.description), "signed": .bool(isSigned),
            ])
        }
        output.console.table(table, json: .array(json), empty: "no device is assigned a release")
    }
}
