import ArgumentParser
import Base
import CLISupport
import Model
import Operator

struct ReleaseBuildAgent: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build-agent", abstract: "Make a release of the agent's own program.",
        discussion: """
            Devices take it as they take any release: same signatures, same bundles, same floors. The new program runs
            on trial first, and the old one comes back by itself when it does not come up.

            Example: holdfast release build-agent build/holdfast-agent --version 1.3.0 --repo fleet
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var workspace: WorkspaceOptions
    @OptionGroup var signing: SigningOptions
    @Argument(help: ArgumentHelp("The program, as the device is to run it.", valueName: "binary")) var binary: String
    @Option(help: "Name of the release's application; one per architecture.") var app = "holdfast-agent"
    @Option(name: .customLong("version"), help: ArgumentHelp("Version of the release.", valueName: "x.y.z"))
    var release: String
    @Option(help: ArgumentHelp("Its architecture, when it is no ELF program.", valueName: "name")) var arch: String?
    @Option(help: ArgumentHelp("Place in the order of releases (default: the newest's and one).", valueName: "n"))
    var ctr: Int64?
    @Option(help: ArgumentHelp("Forbid releases of lower epochs from now on.", valueName: "n")) var epoch: Int64?
    @Option(help: ArgumentHelp("A label that devices must have.", valueName: "label=value")) var label: [String] = []
    @Option(help: "The targets role that lists the release.") var role = "targets"
    @Option(help: ArgumentHelp("Seconds that it must stay healthy before it is confirmed.", valueName: "s"))
    var stable = 60

    func run() async throws {
        let workspace = try workspace.open()
        var request = AgentReleaseBuilder.Request(name: try ReleaseName("\(app)/\(release)"), program: binary)
        request.architecture = arch
        request.ctr = ctr
        request.epoch = epoch
        request.labels = try ReleaseBuild.labels(label)
        request.role = role
        request.stableSeconds = stable
        let signers = try signing.signers(for: [workspace.repository])
        let outcome = try AgentReleaseBuilder(workspace: workspace).build(request, signers: signers)
        ReleaseBuild.show(outcome, output.console)
    }
}
