import ArgumentParser
import Base
import Glibc
import Model
import Testing

@testable import CLISupport

private struct Refusal: CodedError {
    var code: String { "test.refused" }
    var message: String { "the thing is \u{1B}[31mbad" }
    var hint: String? { "make it good" }
    var exitStatus: Base.ExitStatus { .notTrusted }
}

private struct Uncoded: Error {}

private struct Root: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tool", abstract: "A tool.", version: "9.9",
        subcommands: [Good.self, Bad.self, Odd.self, Quit.self])
}
private struct Good: AsyncParsableCommand {
    @OptionGroup var output: OutputOptions
    @Option var count: Int = 0
    mutating func run() async throws {}
}
private struct Bad: AsyncParsableCommand {
    mutating func run() async throws { throw Refusal() }
}
private struct Odd: AsyncParsableCommand {
    mutating func run() async throws { throw Uncoded() }
}
private struct Quit: ParsableCommand {
    mutating func run() throws { throw ArgumentParser.ExitCode(3) }
}

/// Runs with both streams in pipes; returns the status and what was written.
private func capture(_ arguments: [String], format: OutputFormat) async throws -> (Int32, out: String, err: String) {
    var out: [Int32] = [0, 0]
    var err: [Int32] = [0, 0]
    try #require(pipe(&out) == 0 && pipe(&err) == 0)
    let console = Console(
        format: format, quiet: false, output: out[1], diagnostics: err[1], outputIsTerminal: false,
        diagnosticsAreTerminal: false, allowsColor: true)
    let status = await CommandRunner.run(Root.self, arguments: arguments, console: console)
    close(out[1])
    close(err[1])
    return (status, drain(out[0]), drain(err[0]))
}

private func drain(_ descriptor: Int32) -> String {
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = read(descriptor, &buffer, buffer.count), count > 0 { bytes += buffer.prefix(count) }
    return String(decoding: bytes, as: UTF8.self)
}

@Suite struct CommandRunnerTests {
    @Test(
        arguments: [
            (["good"], 0), (["bad"], 76), (["odd"], 70), (["quit"], 3), (["nonsense"], 64),
            (["good", "--count", "x"], 64),
            (["good", "--output", "xml"], 64), (["--help"], 0), (["good", "--help"], 0), (["--version"], 0),
        ] as [([String], Int32)])
    func theExitStatusFollowsTheError(arguments: [String], expected: Int32) async throws {
        for format in OutputFormat.allCases {
            #expect(try await capture(arguments, format: format).0 == expected)
        }
    }

    @Test func anErrorSaysMessageCodeAndHintWithoutControlCharacters() async throws {
        let (_, out, err) = try await capture(["bad"], format: .text)
        #expect(out.isEmpty)
        #expect(err == "error: the thing is \\u{1b}[31mbad [test.refused]\n  try: make it good\n")
    }

    @Test(arguments: [["bad"], ["odd"], ["nonsense"], ["good", "--count", "x"]])
    func everyErrorIsOneJSONObjectUnderJSON(arguments: [String]) async throws {
        let (status, out, err) = try await capture(arguments, format: .json)
        #expect(out.isEmpty)
        #expect(err.split(separator: "\n").count == 1)
        let error = try #require(try JSONValue(parsing: Array(err.utf8))["error"])
        #expect(error["code"]?.string?.isEmpty == false)
        #expect(error["message"]?.string?.isEmpty == false)
        #expect(error["exitStatus"]?.integer == Int64(status))
    }

    @Test func aWrongCommandLineShowsTheUsage() async throws {
        let (_, _, err) = try await capture(["good", "--count", "x"], format: .text)
        #expect(err.contains("[cli.usage]"))
        #expect(err.contains("Usage: tool good"))
    }

    @Test(arguments: [
        (["a", "--output", "json"], OutputFormat.json), (["--output=json"], .json), (["--output", "text"], .text),
        (["--", "--output", "json"], .text), (["--output"], .text), ([], .text),
    ])
    func theFormatIsFoundBeforeParsing(arguments: [String], expected: OutputFormat) {
        #expect(CommandRunner.requestedFormat(arguments) == expected)
    }
}
