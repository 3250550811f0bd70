import AgentCore
import ArgumentParser
import Base
import CLISupport
import Glibc
import Model

struct ScrubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scrub", abstract: "Compare store and engine with what was signed, and mend them.",
        discussion: """
            Reads every blob and layer of the store, and every image of the present release and the one before as the
            engine gives it. What is damaged is taken anew from a bundle (--from), the engine, the hub or the store. Exits
            with 1 when something could not be mended.

            Example: holdfast-agent scrub --from /media/stick/shop --restart
            """)

    @OptionGroup var options: AgentOptions
    @Option(help: ArgumentHelp("A bundle with sound copies.", valueName: "path")) var from: String?
    @Flag(help: "Load damaged images anew, which restarts their services.") var restart = false

    func run() async throws {
        let console = options.console
        let progress = Progress(console)
        var body: [String: JSONValue] = ["restart": .bool(restart)]
        if let from {
            guard let absolute = realpath(from, nil) else {
                throw FileSystemError(operation: "open", path: from, errno: errno)
            }
            defer { free(absolute) }
            body["path"] = .string(String(cString: absolute))
        }
        var last: JSONValue = [:]
        var isReading = false
        try options.client.call("POST", "/v1/scrub", body: .object(body)) { event in
            last = event
            switch event["event"]?.string {
            case "reading":
                if !isReading { progress.start("reading the store", total: event["total"]?.integer) }
                isReading = true
                progress.update(event["done"]?.integer ?? 0, total: event["total"]?.integer)
            case "image": console.note("reading image \(event["reference"]?.string ?? "")")
            default: break
            }
        }
        if isReading { progress.finish() }
        console.result(last) { text(last) }
        if last["sound"]?.bool != true { throw ExitCode(ExitStatus.failure.rawValue) }
    }

    private func text(_ report: JSONValue) -> String {
        var lines = (report["findings"]?.array ?? []).map { finding in
            let digest = String((finding["digest"]?.string ?? "").dropFirst(7).prefix(12))
            let end = finding["from"]?.string.map { "mended from \($0)" } ?? "not mended"
            return "\(finding["kind"]?.string ?? "") \(digest) of \(finding["of"]?.string ?? ""): "
                + "\(TerminalText.sanitized(finding["detail"]?.string ?? "")); \(end)"
        }
        lines.append(
            "read \(report["blobs"]?.integer ?? 0) blobs, \(report["layers"]?.integer ?? 0) layers made here and \(report["images"]?.integer ?? 0) images, "
                + "\(ByteCount(report["bytes"]?.integer ?? 0)): \(lines.isEmpty ? "all sound" : "damage found")")
        return lines.joined(separator: "\n")
    }
}
