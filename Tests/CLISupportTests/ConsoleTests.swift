import ArgumentParser
import Base
import Glibc
import Model
import Synchronization
import Testing

@testable import CLISupport

@Suite struct TableTests {
    @Test func columnsAlignAndLinesEndBare() {
        var table = Table("name", "size")
        table.add("a", "1 B")
        table.add("longer", Table.Cell(ByteCount.mib(3)))
        table.add("empty", "")
        #expect(table.rendered() == "NAME    SIZE\na       1 B\nlonger  3.0 MiB\nempty\n")
    }

    @Test func aTableWithoutRowsIsEmpty() { #expect(Table("a", "b").rendered() == "") }

    @Test func colourIsOnlyThereWhenAskedFor() {
        let table = Table("state", rows: [[Table.Cell("bad", style: .bad)]])
        #expect(!table.rendered(color: false).contains("\u{1B}"))
        #expect(table.rendered(color: true).contains("\u{1B}[31mbad\u{1B}[0m"))
    }

    @Test(arguments: [
        ("plain ü 漢", "plain ü 漢"), ("\u{1B}[2J", "\\u{1b}[2J"), ("a\nb", "a\\u{a}b"), ("\u{9B}31m", "\\u{9b}31m"),
        ("a\u{202E}b", "a\\u{202e}b"), ("\u{0}", "\\u{0}"), ("tab\t", "tab\\u{9}"),
    ])
    func terminalTextHoldsNoControls(input: String, expected: String) {
        #expect(TerminalText.sanitized(input) == expected)
        #expect(Table.Cell(input).text == expected)
    }
}

@Suite struct ProgressTests {
    /// A clock that moves only by hand.
    private final class Hands: Sendable {
        let time = Mutex<UInt64>(0)
        var clock: SystemClock {
            SystemClock(
                now: { Timestamp(seconds: 0) }, monotonic: { self.time.withLock { $0 } }, sleep: { _ in })
        }
    }

    private func record(format: OutputFormat, terminal: Bool, quiet: Bool = false) throws -> String {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        let console = Console(
            format: format, quiet: quiet, output: ends[1], diagnostics: ends[1], outputIsTerminal: terminal,
            diagnosticsAreTerminal: terminal, allowsColor: true)
        let hands = Hands()
        let progress = Progress(console, clock: hands.clock)
        progress.start("copy", total: 4 << 20)
        progress.advance(by: 1 << 20)
        hands.time.withLock { $0 += 3_000_000_000 }
        progress.advance(by: 1 << 20)
        progress.update(4 << 20)
        progress.finish()
        progress.finish()
        close(ends[1])
        defer { close(ends[0]) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = read(ends[0], &buffer, buffer.count)
        return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    }

    @Test func aPipeGetsPlainLinesNowAndThen() throws {
        #expect(
            try record(format: .text, terminal: false)
                == "copy: 2.0 MiB of 4.0 MiB (50%) …\ncopy: 4.0 MiB done\n")
    }

    @Test func aTerminalGetsABar() throws {
        let text = try record(format: .text, terminal: true)
        #expect(text.contains("copy [############------------] 2.0 MiB of 4.0 MiB (50%)"))
        #expect(text.hasSuffix("\r\u{1B}[Kcopy: 4.0 MiB done\n"))
    }

    @Test func jsonGetsOneObjectPerLine() throws {
        let lines = try record(format: .json, terminal: true).split(separator: "\n")
        let events = try lines.map { try JSONValue(parsing: Array($0.utf8))["progress"]?["event"]?.string }
        #expect(events == ["start", "progress", "done"])
    }

    @Test func quietSaysNothing() throws {
        #expect(try record(format: .text, terminal: false, quiet: true) == "")
    }

    @Test(
        arguments: [
            (0, nil, Progress.Unit.bytes, ""), (5, nil, .items, "5"), (2, 4, .items, "2 of 4"), (4, 4, .items, "4"),
            (1536, nil, .bytes, "1.5 KiB"), (0, 0, .bytes, ""),
        ] as [(Int64, Int64?, Progress.Unit, String)])
    func amountsReadWell(done: Int64, total: Int64?, unit: Progress.Unit, expected: String) {
        #expect(Progress.amount(done: done, total: total, unit: unit) == expected)
    }
}

@Suite struct PassphraseTests {
    @Test(arguments: [
        ("secret\n", "secret"), ("secret\r\nmore\n", "secret"), ("no newline", "no newline"),
        (" spaces \n", " spaces "),
    ])
    func theFirstLineIsThePassphrase(content: String, expected: String) throws {
        #expect(try PassphraseOptions.firstLine(Array(content.utf8), of: "x") == expected)
    }

    @Test(arguments: [[], [0x0A], [0xFF, 0x0A], [0x61, 0x00, 0x0A]] as [[UInt8]])
    func whatIsNoTextIsRefused(content: [UInt8]) {
        #expect(throws: CommandError.self) { try PassphraseOptions.firstLine(content, of: "x") }
    }

    @Test func aDescriptorIsReadToItsFirstLine() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        _ = write(ends[1], "pass\nrest", 9)
        close(ends[1])
        defer { close(ends[0]) }
        let options = try PassphraseOptions.parse(["--passphrase-fd", String(ends[0])])
        #expect(try options.read(prompt: "") == "pass")
        // For the next key too.
        #expect(try options.read(prompt: "") == "pass")
    }

    @Test func fileAndDescriptorTogetherAreRefused() {
        #expect(throws: (any Error).self) {
            try PassphraseOptions.parse(["--passphrase-fd", "3", "--passphrase-file", "x"])
        }
    }
}
