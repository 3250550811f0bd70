import Model
import Testing

@Suite struct JSONTests {
    @Test func roundTripsCompact() throws {
        let text = #"{"a":[1,-2,true,null,"x\"\\\u0001\n"],"b":{},"é":9223372036854775807}"#
        #expect(String(decoding: try JSONValue(parsing: Array(text.utf8)).serialized(), as: UTF8.self) == text)
    }

    @Test func canonicalFormSortsByUTF8AndEscapesTwoCharactersOnly() throws {
        let value: JSONValue = ["b": 1, "a": "tab\there\"\\", "é": [], "Z": nil]
        let text = String(decoding: try value.serialized(.canonical), as: UTF8.self)
        #expect(text == "{\"Z\":null,\"a\":\"tab\there\\\"\\\\\",\"b\":1,\"é\":[]}")
        #expect(try JSONValue(parsing: Array(text.utf8)) == value)
    }

    @Test func canonicalFormHasNoFloats() {
        #expect(throws: JSONError.self) { try JSONValue.double(1.5).serialized(.canonical) }
    }

    @Test func unicodeEscapesDecode() throws {
        let value = try JSONValue(parsing: Array(#""\u00e9\ud83d\ude00\/""#.utf8))
        #expect(value == "é😀/")
    }

    @Test(arguments: [
        ("", "json.syntax"), ("{", "json.syntax"), ("[1,]", "json.syntax"), ("{\"a\":1,}", "json.syntax"),
        ("01", "json.syntax"), ("-", "json.syntax"), ("1.", "json.syntax"), ("nul", "json.syntax"),
        ("{\"a\":1,\"a\":2}", "json.duplicate-key"), ("[1] x", "json.trailing"), ("\"\\ud800\"", "json.utf8"),
        ("\"\\ud800\\u0041\"", "json.utf8"), ("\"\\x\"", "json.utf8"), ("9223372036854775808", "json.number"),
        ("1e999", "json.number"), ("'a'", "json.syntax"), ("{1:2}", "json.syntax"), ("\"open", "json.syntax"),
    ])
    func malformedDocumentsAreRefused(_ text: String, _ code: String) {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: Array(text.utf8)) }
        #expect(error?.code == code)
    }

    @Test func invalidUTF8IsRefused() {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
        #expect(error?.reason == .utf8)
    }

    @Test func limitsHold() {
        let deep = Array(String(repeating: "[", count: 100_000).utf8)
        #expect(throws: JSONError(reason: .depth, offset: 65, line: 1)) { try JSONValue(parsing: deep) }
        let many = Array(("[" + String(repeating: "1,", count: 50) + "1]").utf8)
        #expect(throws: JSONError.self) { try JSONValue(parsing: many, limits: JSONLimits(count: 20)) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: many, limits: JSONLimits(size: 20)) }
    }

    @Test func errorsNameTheLine() {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: Array("{\n\"a\": 1\n\"b\": 2}".utf8)) }
        #expect(error?.line == 3)
    }
}

@Suite struct SemanticVersionTests {
    @Test func ordersAsTheSpecificationDoes() throws {
        let texts = [
            "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
            "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0", "2.0.0",
        ]
        let versions = try texts.map { try #require(SemanticVersion($0)) }
        #expect(versions.shuffled().sorted().map(\.description) == texts)
    }

    @Test(arguments: ["1", "1.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "a.b.c", "1.0.0 ", "v1.0.0", "1.0.0.0"])
    func refusesOtherForms(_ text: String) {
        #expect(SemanticVersion(text) == nil)
    }
}
