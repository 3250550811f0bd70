import ArgumentParser
import Base
import CLISupport
import HubServer
import Model
import ServiceSupport

struct FreshnessKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "freshness-key",
        abstract: "Print the public key that signs this hub's freshness tickets.",
        discussion: """
            A device without a clock asks its hub whether what it got is the newest, and believes the hub when the root of
            the release repository names this key:

              holdfast repo rotate REPO x-holdfast-freshness --new-key hub-freshness.json

            Example: holdfast-hub freshness-key --config /etc/holdfast/hub.json -o hub-freshness.json
            """)

    @OptionGroup var output: OutputOptions
    @Option(help: ArgumentHelp("Configuration file.", valueName: "file")) var config: String
    @Option(
        name: [.customShort("o"), .customLong("out")],
        help: ArgumentHelp("The file to write; without it the key is printed.", valueName: "file"))
    var destination: String?

    func run() async throws {
        let key = try HubPublicKeys(config: try HubConfig.read(config)).freshness()
        let document = try key.document.serialized(.pretty)
        guard let destination else {
            return output.console.result(key.document) { String(decoding: document, as: UTF8.self) }
        }
        try FileSystem().replace(destination, with: document, op: "key.write")
        output.console.result(["path": .string(destination), "keyid": .string(key.keyID)]) {
            "wrote \(destination): key \(key.keyID.prefix(16))"
        }
    }
}
