import Base
import Model
import Testing

@_spi(Fuzzing) @testable import Trust

@Suite struct CanonicalJSONTests {
    @Test(
        "OLPC canonical JSON to the letter",
        arguments: [
            (#"{"b":1,"a":2}"#, #"{"a":2,"b":1}"#), (#"  [ 1 , -0, null,true ] "#, "[1,0,null,true]"),
            (#""\u0041\n\t\"\\\/""#, "\"A\n\t\\\"\\\\/\""), ("\"a\u{1}b\"", "\"a\u{1}b\""),
            (#"{"é":1,"z":2,"e":3}"#, #"{"e":3,"z":2,"é":1}"#), (#""\ud83d\ude00""#, "\"😀\""),
            (#"{"\uffff":1,"\ud83d\ude00":2}"#, "{\"\u{ffff}\":1,\"😀\":2}"), ("{}", "{}"), ("[]", "[]"),
            (#"{"a":{"c":[],"b":{}}}"#, #"{"a":{"b":{},"c":[]}}"#),
        ])
    func canonicalForm(_ pair: (String, String)) throws {
        let tape = try JSONTape(parsing: Array(pair.0.utf8))
        #expect(String(decoding: try tape.root.canonical(), as: UTF8.self) == pair.1)
        #expect(try JSONValue(parsing: Array(pair.0.utf8)).serialized(.canonical) == Array(pair.1.utf8))
    }

    @Test(
        "what is no JSON is refused",
        arguments: [
            ("", "json.syntax"), ("{", "json.syntax"), (#"{"a":1,}"#, "json.syntax"), ("[1,]", "json.syntax"),
            (#"{"a":1,"a":2}"#, "json.duplicateKey"), (#"{"a":1,"\u0061":2}"#, "json.duplicateKey"),
            ("01", "json.syntax"), ("9223372036854775808", "json.number"), ("[] []", "json.trailing"),
            (#""\ud800""#, "json.utf8"), (#""\x""#, "json.utf8"), ("\"", "json.syntax"), ("\"\\", "json.syntax"),
            ("nul", "json.syntax"), ("+1", "json.syntax"), (".5", "json.syntax"), ("1.", "json.syntax"),
            (String(repeating: "[", count: 40) + String(repeating: "]", count: 40), "json.depth"),
        ])
    func malformed(_ pair: (String, String)) async {
        let expected = pair.1 == "json.duplicateKey" ? "json.duplicate-key" : pair.1
        #expect(await code { _ = try JSONTape(parsing: Array(pair.0.utf8)) } == expected, "\(pair.0)")
    }

    @Test func fractionsHaveNoCanonicalForm() async throws {
        let tape = try JSONTape(parsing: Array("[1.5]".utf8))
        #expect(await code { _ = try tape.root.canonical() } == "json.float")
    }

    /// Regression: the tree once took keys that are equal only after normalisation for one, the tape did not.
    @Test func keysAreTheSameWhenTheirBytesAre() throws {
        let (one, two) = ("\u{E9}", "e\u{301}")
        let bytes = Array(#"{"\#(two)":2,"\#(one)":1}"#.utf8)
        let tape = try JSONTape(parsing: bytes).root
        let tree = try JSONValue(parsing: bytes)
        #expect(tape.value == tree)
        #expect(tree.object?.count == 2 && tape.count == 2)
        for (key, number) in [(one, Int64(1)), (two, 2)] {
            #expect(tree[key]?.integer == number && tape[key]?.integer == number)
            #expect(JSONIndex(tape)[key]?.integer == number)
        }
        #expect(JSONValue.string(one) != .string(two))
        #expect(try tape.canonical() == tree.serialized(.canonical))
        #expect(try tape.canonical() == bytes, "e and a mark come before e with an acute")
        let doubled = Array(#"{"\#(one)":1,"\u00e9":2}"#.utf8)
        #expect(throws: JSONError.self) { try JSONTape(parsing: doubled) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: doubled) }
    }

    @Test func invalidUTF8IsRefused() async {
        for bytes: [UInt8] in [[0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22]] {
            #expect(await code { _ = try JSONTape(parsing: bytes) } == "json.utf8")
        }
    }

    /// A short, deterministic part of what `tools/fuzz` does without end: every seed, cut and mutated.
    @Test(arguments: UntrustedInput.allCases) func seedsAndTheirMutationsOnlyEverThrow(_ input: UntrustedInput) throws {
        let root = Path.parent(Path.parent(Path.parent(#filePath)))
        let folders: [UntrustedInput: String] = [
            .json: "TrustJSON", .metadata: "TrustMetadata", .envelope: "TrustEnvelope", .key: "TrustKey",
        ]
        let folder = Path.join(root, "tools/fuzz/corpus", try #require(folders[input]))
        let seeds = try FileSystem().list(folder)
        #expect(!seeds.isEmpty)
        var generator = SplitMix(state: 7)
        var accepted = 0
        for name in seeds {
            let seed = try FileSystem().read(Path.join(folder, name), limit: 1 << 20)
            if (try? input.consume(seed)) != nil { accepted += 1 }
            for _ in 0..<400 {
                var bytes = seed
                for _ in 0...Int(generator.next() % 4) where !bytes.isEmpty {
                    let place = Int(generator.next() % UInt64(bytes.count))
                    switch generator.next() % 5 {
                    case 0: bytes[place] = UInt8(truncatingIfNeeded: generator.next())
                    case 1: bytes.remove(at: place)
                    case 2: bytes.insert(Array("{}[]\",:\\0-".utf8)[Int(generator.next() % 10)], at: place)
                    case 3: bytes.removeSubrange(place...)
                    default: bytes += bytes[place...]
                    }
                }
                try? input.consume(bytes)
            }
        }
        #expect(accepted > 0, "a corpus that nothing accepts tests only the first check")
    }
}

/// Steele, Lea and Flood's SplitMix64: small, and the same everywhere.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
