import HubCore
import Testing

@Suite struct SelectorTests {
    static let labels: Labels = ["site": "berlin", "ring": "canary", "holdfast.dev/role": "pump", "empty": ""]

    @Test(arguments: [
        ("", true), ("site=berlin", true), ("site==berlin", true), ("site = berlin , ring=canary", true),
        ("site=paris", false), ("site!=paris", true), ("site!=berlin", false), ("gone!=x", true), ("gone=x", false),
        ("site in (paris,berlin)", true), ("site in (paris)", false), ("site notin (paris, rome)", true),
        ("site notin (berlin)", false), ("gone notin (a)", true), ("gone in (a)", false), ("ring", true),
        ("gone", false), ("!gone", true), ("!ring", false), ("! gone", true), ("holdfast.dev/role=pump", true),
        ("empty=", true), ("empty in (,a)", true), ("site=berlin,ring!=stable,!gone", true), ("in=x", false),
        ("site=berlin,gone", false),
    ])
    func choosesAsKubernetesDoes(_ text: String, _ expected: Bool) throws {
        let selector = try Selector(text)
        #expect(selector.matches(Self.labels) == expected)
        #expect(try Selector(selector.description) == selector)
    }

    @Test(arguments: [
        ",", "site=berlin,", "=x", "site=", "site!berlin", "site in", "site in (", "site in (a", "site in (a;b)",
        "site in a", "site is x", "-site=x", "site=x y", "site=ü", "a/b/c=x", "/b=x", "site=-x", "Über", "site=(a)",
        "site===x", "(", "!", "site,,ring",
    ])
    func refusesWhatItCannotRead(_ text: String) {
        if text == "site=" {
            // An empty value is a value.
            #expect(throws: Never.self) { try Selector(text) }
            return
        }
        let error = #expect(throws: HubError.self) { try Selector(text) }
        #expect(error?.reason == .selector)
    }

    @Test func everyBoundHolds() {
        let long = String(repeating: "a", count: 5000)
        let many = Array(repeating: "a=b", count: 33).joined(separator: ",")
        let values = "a in (" + (0..<65).map { "v\($0)" }.joined(separator: ",") + ")"
        for text in [long, many, values] {
            let error = #expect(throws: HubError.self) { try Selector(text) }
            #expect(error?.reason == .limit)
        }
        #expect(throws: Never.self) { try Selector(Array(repeating: "a=b", count: 32).joined(separator: ",")) }
    }

    @Test func randomBytesNeverCrashTheParser() throws {
        var generator = SeededGenerator(seed: 1)
        let alphabet = Array("ab=!,() /.-_in notin\u{0}ü".utf8)
        var accepted = 0
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...24, using: &generator)).map { _ in
                alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
            }
            guard let selector = try? Selector(String(decoding: bytes, as: UTF8.self)) else { continue }
            accepted += 1
            #expect(try Selector(selector.description) == selector)
        }
        #expect(accepted > 100)
    }

    @Test func anAnchorIsAnEqualityIfThereIsOne() throws {
        #expect(try Selector("!a,b in (x,y),c=z").anchor?.key == "c")
        #expect(try Selector("!a,b in (x,y)").anchor == nil)
    }

    @Test(arguments: [
        ("a", "b", true), ("A.b-c_d", "x.Y-z_1", true), ("example.com/a", "", true), ("", "b", false),
        ("a b", "c", false), ("a", "-b", false), ("a", "b c", false), ("EXAMPLE.com/a", "b", false),
        (String(repeating: "k", count: 63), String(repeating: "v", count: 63), true),
        (String(repeating: "k", count: 64), "v", false), ("k", String(repeating: "v", count: 64), false),
    ])
    func labelsKeepTheirSyntax(_ key: String, _ value: String, _ valid: Bool) {
        #expect(((try? Labels([key: value])) != nil) == valid)
    }

    @Test func tooManyLabelsAreRefused() {
        let many = Dictionary(uniqueKeysWithValues: (0..<65).map { ("k\($0)", "v") })
        #expect(throws: HubError.self) { try Labels(many) }
    }
}

/// SplitMix64: small, and the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
