import ArgumentParser
import CLISupport

/// The operator's and technician's tool.
struct HoldfastCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast",
        abstract: "Build, sign and carry releases for devices.",
        discussion: """
            One operator, one device and one USB stick are a complete system:

              holdfast repo init fleet --lab
              holdfast release build compose.yaml --app shop --version 1.0.0 --repo fleet \\
                  --image web=oci:build/web
              holdfast bundle export fleet --release shop/1.0.0 -o /media/stick/shop

            Every command takes --output json. Exit statuses are those of sysexits.h; 76 says: not trusted.
            """,
        version: Product.version,
        subcommands: [
            KeysCommand.self, RepoCommand.self, ReleaseCommand.self, DirectorCommand.self, BundleCommand.self,
            TicketCommand.self, DeltaCommand.self, WireGuardCommand.self, HubCommand.self,
        ])
}
