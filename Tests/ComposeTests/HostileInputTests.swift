import Base
import Model
import Testing

@testable import Compose

/// Files made to hurt: each is refused, quickly and with a line.
@Suite struct HostileInputTests {
    /// `levels` anchors, each of `width` aliases of the one before: width^levels values.
    static func bomb(levels: Int, width: Int) -> String {
        var text = "x-0: &a0 [" + Array(repeating: "x", count: width).joined(separator: ", ") + "]\n"
        for level in 1...levels {
            let aliases = Array(repeating: "*a\(level - 1)", count: width).joined(separator: ", ")
            text += "x-\(level): &a\(level) [\(aliases)]\n"
        }
        return text + "services: {web: {image: x}}\n"
    }

    static func mapBomb(levels: Int) -> String {
        var text = "x-0: &a0 {k: v}\n"
        for level in 1...levels { text += "x-\(level): &a\(level) {a: *a\(level - 1), b: *a\(level - 1)}\n" }
        return text + "services: {web: {image: x}}\n"
    }

    static func keyBomb(levels: Int) -> String {
        var text = "x-0: &a0 [x, x]\n"
        for level in 1...levels { text += "x-\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
        return text + "x-k:\n  ? *a\(levels)\n  : 1\nservices: {web: {image: x}}\n"
    }

    static let texts: [(String, String)] = [
        ("an alias bomb", bomb(levels: 9, width: 9)), ("a thin alias bomb", bomb(levels: 60, width: 2)),
        ("a bomb of mappings", mapBomb(levels: 40)), ("a bomb as a key", keyBomb(levels: 40)),
        ("a bomb as an implicit key", keyBomb(levels: 40).replacing("? *a40\n  : 1", with: "*a40 : 1")),
        ("a merge bomb", mapBomb(levels: 40) + "x-m: {<<: *a40}\n"),
        ("an alias of itself", "x-a: &a [*a]\nservices: {web: {image: x}}"),
        ("an alias without an anchor", "services: {web: {image: *nowhere}}"),
        ("deep flow lists", "x-a: " + String(repeating: "[", count: 5000)),
        ("deep closed flow lists", "x-a: " + String(repeating: "[", count: 900) + String(repeating: "]", count: 900)),
        ("deep flow maps", "x-a: " + String(repeating: "{a: ", count: 5000)),
        ("deep block lists", String(repeating: "- ", count: 5000) + "x"),
        ("deep indentation", (0..<600).map { String(repeating: " ", count: $0) + "k\($0):\n" }.joined()),
        ("many values", "x-a: [" + String(repeating: "1,", count: 60_000) + "1]\nservices: {web: {image: x}}"),
        ("a huge scalar", "services: {web: {image: " + String(repeating: "x", count: 2 << 20) + "}}"),
        ("a grown scalar", "services: {web: {image: '" + String(repeating: "$BIG", count: 100) + "'}}"),
        ("a NUL", "services: {web: {image: \"a\0b\"}}"), ("an escaped NUL", "services: {web: {image: \"a\\0b\"}}"),
        ("a control character", "services: {web: {image: a\u{1}b}}"), ("tabs", "services:\n\tweb:\n\t\timage: x"),
        ("two documents", "services: {web: {image: x}}\n---\nservices: {web: {image: y}}"),
        ("a key twice", "services:\n  web: {image: x}\n  web: {image: y}"),
        ("a key twice by quotes", "services: {web: {image: x}, \"web\": {image: y}}"),
        ("a list as a key", "services: {web: {image: x}}\n? [a, b]\n: c"),
        ("a map as a key", "services: {web: {image: x}}\n{a: b}: c"),
        ("a merge of a text", "services: {web: {<<: text, image: x}}"),
        ("a merge of texts", "services: {web: {<<: [a], image: x}}"),
        ("a tag", "services: {web: {image: !!binary aGk=}}"),
        ("a language tag", "services: {web: {image: !!python/object:os.system x}}"),
        ("the tag !reset", "services: {web: {image: x, ports: !reset []}}"),
        ("an open quote", "services: {web: {image: \"x}}"),
        ("an open brace", "services: {web: {image: x"), ("a directive", "%YAML 9.9\n---\nservices: {web: {image: x}}"),
        ("a percent", "%\n"), ("only a comment", "# nothing\n"),
        ("an open block", "services:\n  web:\n image: x\n  a: b"),
        ("a surrogate escape", "services: {web: {image: \"\\uD800\"}}"),
        (
            "an enormous version",
            "services: {web: {image: x, stop_grace_period: " + String(repeating: "9", count: 5000) + "s}}"
        ),
        ("a name with a line feed", "services: {\"we\\nb\": {image: x}}"),
        ("a name that leads out", "services: {\"../../etc\": {image: x}}"),
        ("a config that is a folder", "services: {web: {image: x}}\nconfigs: {a: {file: /etc}}"),
        ("a config that never ends", "services: {web: {image: x}}\nconfigs: {a: {file: /dev/zero}}"),
        ("an env_file that never ends", "services: {web: {image: x, env_file: /dev/zero}}"),
    ]

    @Test(arguments: texts)
    func isRefusedInTime(name: String, text: String) throws {
        let start = SystemClock.live.monotonic()
        let error = #expect(throws: ComposeError.self) {
            try compose(text, ["BIG": String(repeating: "x", count: 20_000)])
        }
        #expect((error?.location.line ?? 0) >= 1)
        #expect(SystemClock.live.monotonic() - start < 20_000_000_000, "took too long")
    }

    @Test(
        arguments: [
            [0xFF, 0xFE, 0x73, 0x00], [0x73, 0x3A, 0x20, 0xC3], Array("a: b\nc: ".utf8) + [0x80],
            Array("services: {web: {image: \"".utf8) + [0xED, 0xA0, 0x80] + Array("\"}}".utf8),
        ] as [[UInt8]])
    func whatIsNotUTF8IsRefused(bytes: [UInt8]) {
        let error = #expect(throws: ComposeError.self) {
            try ComposeApplication(parsing: bytes, file: "compose.yaml", folder: "/", environment: [:])
        }
        #expect(error?.reason == .yaml)
    }

    @Test func theLineOfABadByteIsNamed() {
        let error = #expect(throws: ComposeError.self) {
            try ComposeApplication(
                parsing: Array("a: b\nc: d\n".utf8) + [0x80], file: "c", folder: "/", environment: [:])
        }
        #expect(error?.location.line == 3)
    }

    @Test func aByteOrderMarkIsFine() throws {
        #expect(try compose("\u{FEFF}services: {web: {image: x}}").images == ["web": "x"])
    }

    @Test func aliasesInTextDoNotCount() throws {
        let stars = (0..<60).map { "*s\($0)" }.joined(separator: " ")
        let app = try compose(
            service("command: ['really? yes', '\(stars)', '{a}: b']").replacing("'{a}: b'", with: "b"))
        #expect(app.services["web"]?.command?.count == 3)
    }

    /// Deterministic damage to a file that uses most of the format: answered or refused, never trapped.
    @Test func damagedFilesNeverTrap() throws {
        let whole = service(
            "environment: &e {A: 1, B: '${X:-y}'}\nports: ['80:80', '90-91:90-91/udp']\nvolumes: ['v:/v']\n"
                + "healthcheck: {test: [CMD, x], interval: 5s}\ncommand: a 'b c'\nlabels: *e",
            top: "volumes: {v: }\nx-holdfast: {epoch: 1}")
        let bytes = Array(whole.utf8)
        var generator = SplitMix(state: 42)
        let alphabet = Array("{}[]:,&*?|>-'\"%@`#!\n\t $\\0\u{0}~<=".utf8) + [0xFF, 0xC3]
        var refused = 0
        for _ in 0..<3000 {
            var damaged = bytes
            for _ in 0...Int(generator.next() % 3) {
                let index = Int(generator.next() % UInt64(damaged.count))
                switch generator.next() % 3 {
                case 0: damaged[index] = alphabet[Int(generator.next() % UInt64(alphabet.count))]
                case 1: damaged.remove(at: index)
                default: damaged.insert(alphabet[Int(generator.next() % UInt64(alphabet.count))], at: index)
                }
            }
            do {
                _ = try ComposeApplication(parsing: damaged, file: "c", folder: "/nonexistent", environment: [:])
            } catch {
                refused += 1
                #expect(error.location.line >= 1)
            }
        }
        #expect(refused > 500)
    }
}

/// A small generator with a seed, so that a failure can be repeated.
struct SplitMix {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
