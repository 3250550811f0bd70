import TestSupport
import Testing

/// What `--help` says, through the whole tree of commands.
@Suite struct AgentHelpTests {
    @Test(
        .enabled(if: LinkTests.agent != nil, "holdfast-agent is not built beside the tests: swift build --build-tests"))
    func everyCommandHelpsWithAnExample() throws {
        let agent = try #require(LinkTests.agent)
        var pending: [[String]] = [[]]
        var seen = 0
        while let words = pending.popLast() {
            let help = try Tool.run([agent] + words + ["--help"])
            let name = (["holdfast-agent"] + words).joined(separator: " ")
            #expect(help.status == 0, "\(name)")
            #expect(help.output.contains("Example: holdfast-agent"), "\(name) gives no example")
            seen += 1
            guard let list = help.output.firstRange(of: "SUBCOMMANDS:\n") else { continue }
            for line in help.output[list.upperBound...].split(separator: "\n", omittingEmptySubsequences: false) {
                guard line.hasPrefix("  "), let command = line.split(separator: " ").first else { break }
                // Longer descriptions go on in an indented line of their own.
                if line.hasPrefix("   ") { continue }
                pending.append(words + [String(command)])
            }
        }
        #expect(seen >= 15)
    }
}
