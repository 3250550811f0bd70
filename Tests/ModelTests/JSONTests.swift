import Model
import Testing

@Suite struct JSONTests {
    @Test func roundTrips() throws {
        let text = #"{"a":[1,-2,true,null,"x\"\\"],"b":{}}"#
        #expect(String(decoding: try JSONValue(parsing: Array(text.utf8)).serialized(), as: UTF8.self) == text)
    }
}
