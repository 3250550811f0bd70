import AgentCore
import ArgumentParser
import CLISupport
import Model

struct InventoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inventory", abstract: "Print what this device holds, for whoever makes a bundle for it.",
        discussion: """
            With --output json it is what `holdfast bundle export --for` reads: digests of blobs and layers, and where
            each layer can be read from.

            Example: holdfast-agent inventory --output json > /media/stick/pump-7.json
            """)

    @OptionGroup var options: AgentOptions

    func run() async throws {
        let answer = try options.client.document("GET", "/v1/inventory")
        let console = options.console
        console.result(answer) { text(answer, console) }
    }

    private func text(_ answer: JSONValue, _ console: Console) -> String {
        let releases = (answer["releases"]?.array ?? []).map {
            "\($0["app"]?.string ?? "") \($0["version"]?.string ?? "") \($0["role"]?.string ?? "")"
        }
        var table = Table("KIND", "DIGEST", "WHERE")
        for layer in answer["layers"]?.array ?? [] {
            let places = (layer["places"]?.array ?? []).compactMap(\.string)
            table.add(["layer", layer["diffID"]?.string ?? "", places.joined(separator: " ")])
        }
        for blob in answer["blobs"]?.array ?? [] { table.add(["blob", blob.string ?? "", "store"]) }
        return ([
            "device   \(TerminalText.sanitized(answer["device"]?.string ?? "")), \(answer["architecture"]?.string ?? "")"
        ] + releases.map { "release  \(TerminalText.sanitized($0))" } + [table.rendered(color: console.colorsOutput)])
            .joined(separator: "\n")
    }
}
