import Base
import Model
import TestSupport
import Testing

@testable import Compose

@Suite struct InterpolationTests {
    static let environment = ["A": "a", "B": "b", "EMPTY": "", "_x1": "under"]

    @Test(arguments: [
        ("plain", "plain"), ("$A", "a"), ("${A}", "a"), ("x${A}y$B-z", "xayb-z"), ("$_x1", "under"), ("$A1", ""),
        ("$$A", "$A"), ("$$$A", "$a"), ("$$", "$"), ("$", "$"), ("a$", "a$"), ("$1 $- $(x) $.", "$1 $- $(x) $."),
        ("^[a-z]+$", "^[a-z]+$"), ("${A:-d}", "a"), ("${NO:-d}", "d"), ("${EMPTY:-d}", "d"), ("${EMPTY-d}", ""),
        ("${NO-d}", "d"), ("${NO:-}", ""), ("${NO-}", ""), ("${A:?e}", "a"), ("${EMPTY?e}", ""), ("${A:+r}", "r"),
        ("${NO:+r}", ""), ("${EMPTY:+r}", ""), ("${EMPTY+r}", "r"), ("${NO+r}", ""), ("${NO:-${B}}", "b"),
        ("${NO:-$B}", "b"), ("${NO:-${ALSO:-${EMPTY:-deep}}}", "deep"), ("${A:+${B}}", "b"), ("${NO:-$$}", "$"),
        ("${NO:-{\"k\":1}}", "{\"k\":1}"), ("${NO:-a:b-c?d+e}", "a:b-c?d+e"), ("${NO}", ""), ("ü${A}漢", "üa漢"),
        ("${A:-${NO:?never}}", "a"),
    ])
    func substitutionFollowsTheSpecification(input: String, expected: String) throws {
        var interpolation = Interpolation { Self.environment[$0] }
        #expect(try interpolation.substitute(input) == expected)
    }

    @Test(arguments: [
        "${", "${A", "${}", "${1A}", "${A:}", "${A:x}", "${A/x/y}", "${A%x}", "${-A}", "${A:?x", "${ A}", "${A }",
    ])
    func malformedVariablesAreRefused(input: String) {
        var interpolation = Interpolation { Self.environment[$0] }
        #expect(throws: Interpolation.Failure.self) { try interpolation.substitute(input) }
    }

    @Test(arguments: [
        ("${NO:?say it}", "say it"), ("${EMPTY:?x}", "x"), ("${NO?}", ""), ("${NO:?set ${A}}", "set a"),
    ])
    func requiredVariablesSayTheirMessage(input: String, message: String) throws {
        var interpolation = Interpolation { Self.environment[$0] }
        do {
            _ = try interpolation.substitute(input)
            Issue.record("accepted")
        } catch .required(_, let text) {
            #expect(text == message)
        }
    }

    @Test func deepNestingEnds() {
        var interpolation = Interpolation { _ in nil }
        let text = String(repeating: "${A:-", count: 100) + String(repeating: "}", count: 100)
        #expect(throws: Interpolation.Failure.self) { try interpolation.substitute(text) }
    }

    @Test func unsetVariablesWarnOnceWithTheirLine() throws {
        let app = try compose(service("hostname: x${NO}${NO}\nuser: y${OTHER}"))
        #expect(app.warnings.map(\.location.line) == [4, 5])
        #expect(app.warnings.first?.message.contains("NO") == true)
    }

    @Test func keysAreNotSubstitutedButListFormIs() throws {
        #expect(try web("labels: {$A: b}", Self.environment).labels == ["$A": "b"])
        #expect(try web("labels: ['$A=b']", Self.environment).labels == ["a": "b"])
    }

    @Test func aSubstitutedValueIsTextWhateverItLooksLike() throws {
        #expect(try web("environment: {V: $V}", ["V": "1.50"]).environment == ["V": "1.50"])
        #expect(try web("privileged: $P", ["P": "true"]).privileged)
        #expect(try web("environment: {V: $V}", ["V": ""]).environment == ["V": ""])
    }
}

@Suite struct EnvironmentFileTests {
    @Test(arguments: [
        ("A=b", ["A": "b"]), ("A=b\nC=d\n", ["A": "b", "C": "d"]), ("A=b\r\nC=d\r\n", ["A": "b", "C": "d"]),
        ("# note\n\n  A = b  \n", ["A": "b"]), ("export A=b", ["A": "b"]), ("A=", ["A": ""]),
        ("A=b # note", ["A": "b"]),
        ("A=b# not", ["A": "b# not"]), ("A=#x", ["A": ""]), ("A='b # c'", ["A": "b # c"]), ("A=\"b\" # c", ["A": "b"]),
        ("A='$X'", ["A": "$X"]), ("A=$X", ["A": "ex"]), ("A=\"${X}y\"", ["A": "exy"]), ("A=${N:-d}", ["A": "d"]),
        ("A='Let\\'s go'", ["A": "Let's go"]), ("A=\"{\\\"a\\\": 1}\"", ["A": "{\"a\": 1}"]),
        ("A=\"x\\ty\\n\"", ["A": "x\ty\n"]), ("A='x\\ty'", ["A": "x\\ty"]), ("A=\"\\$X\"", ["A": "$X"]),
        ("A='one\ntwo'\nB=3", ["A": "one\ntwo", "B": "3"]), ("A=1\nB=${A}2", ["A": "1", "B": "12"]),
        ("A=1\nA=2", ["A": "2"]), ("A=a=b", ["A": "a=b"]), ("\u{FEFF}A=b", ["A": "b"]), ("A=$$x", ["A": "$x"]),
        ("X=mine\nA=$X", ["X": "mine", "A": "ex"]), ("A.b-c=1", ["A.b-c": "1"]), ("A=\"\\\\\"", ["A": "\\"]),
    ])
    func aLineMeansWhatComposeSays(text: String, expected: [String: String]) throws {
        let file = try EnvironmentFile(Array(text.utf8), file: "a.env") { ["X": "ex"][$0] }
        var values: [String: String] = [:]
        for (name, value) in file.entries { values[name] = value }
        #expect(values == expected)
    }

    @Test(arguments: [
        ("1A=b", 1), ("A=b\n=c", 2), ("A B=c", 1), ("A='b", 1), ("x\n\nA=\"b", 3), ("A='b' c", 1), ("A=${", 1),
        ("A=${N:?no}", 1), ("A: b", 1), ("A=\"b\nc\"\n-=x", 3),
    ])
    func aBadLineIsRefusedWithItsNumber(text: String, line: Int) {
        let error = #expect(throws: ComposeError.self) {
            try EnvironmentFile(Array(text.utf8), file: "a.env") { _ in nil }
        }
        #expect(error?.location == SourceLocation(file: "a.env", line: line, column: 0))
    }

    @Test func rawFilesAreTakenAsTheyStand() throws {
        let file = try EnvironmentFile(Array("A= \"$X\" # y\n".utf8), file: "a", isRaw: true) { _ in nil }
        #expect(file.entries.map(\.value) == [" \"$X\" # y"])
    }

    @Test func filesAndVariablesWinInTheOrderOfCompose() throws {
        let folder = try TemporaryDirectory()
        let fileSystem = FileSystem()
        func write(_ name: String, _ text: String) throws {
            try fileSystem.replace(folder.file(name), with: Array(text.utf8), op: "test")
        }
        try write(".env", "TAG=from-dotenv\nBOTH=dotenv\n")
        try write("one.env", "A=1\nB=1\nC=1\nPASSED\nABSENT\n")
        try write("two.env", "B=2\nC=2\n")
        try write("site.conf", "hello")
        try write(
            "compose.yaml",
            """
            services:
              web:
                image: "web:${TAG}-${BOTH}"
                env_file: [one.env, {path: two.env}, {path: none.env, required: false}]
                environment: {C: 3, PASSED2: , ABSENT2: }
                configs: [site]
            configs: {site: {file: ./site.conf}}
            """)
        let app = try ComposeApplication.load(
            path: folder.file("compose.yaml"), environment: ["BOTH": "shell", "PASSED": "p", "PASSED2": "q"])
        #expect(app.images["web"] == "web:from-dotenv-shell")
        #expect(app.services["web"]?.environment == ["A": "1", "B": "2", "C": "3", "PASSED": "p", "PASSED2": "q"])
        #expect(app.files["site"]?.bytes == Array("hello".utf8))
        try write("other.env", "TAG=other\n")
        let other = try ComposeApplication.load(
            path: folder.file("compose.yaml"), environment: [:], environmentFiles: [folder.file("other.env")])
        #expect(other.images["web"] == "web:other-")
    }
}

@Suite struct QuantityTests {
    @Test(
        arguments: [
            ("10ms", 10_000_000), ("40s", 40_000_000_000), ("1m30s", 90_000_000_000),
            ("1h5m30s20ms", 3_930_020_000_000),
            ("1.5s", 1_500_000_000), ("5us", 5000), ("0", 0), ("0s", 0), ("", nil), ("10", nil), ("s", nil),
            ("1x", nil),
            ("-1s", nil), ("1s 2s", nil), ("1..5s", nil), ("9999999999h", nil), ("99999999999999999999s", nil),
        ] as [(String, Int64?)])
    func durations(text: String, expected: Int64?) { #expect(Quantity.duration(text) == expected) }

    @Test(
        arguments: [
            ("2b", 2), ("1024kb", 1 << 20), ("2048k", 2 << 20), ("300m", 300 << 20), ("1gb", 1 << 30),
            ("1.5g", 3 << 29),
            ("512", 512), ("1GiB", 1 << 30), ("0.1k", 102), ("5 MB", 5 << 20), ("", nil), ("k", nil), ("1q", nil),
            ("-1", nil), ("99999999999t", nil), ("1.2.3k", nil),
        ] as [(String, Int64?)])
    func sizes(text: String, expected: Int64?) { #expect(Quantity.bytes(text) == expected) }

    @Test(
        arguments: [
            ("0.5", 500_000_000), ("2", 2_000_000_000), ("1.000000001", 1_000_000_001), (".5", 500_000_000),
            ("1.", 1_000_000_000),
            (".", nil), ("", nil), ("1e3", nil), ("99999999999", nil),
        ] as [(String, Int64?)])
    func cpus(text: String, expected: Int64?) { #expect(Quantity.billionths(text) == expected) }
}
