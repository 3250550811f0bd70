import Base
import Testing

@Suite struct Base64Tests {
    /// RFC 4648 section 10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func followsTheVectorsOfTheRFC(_ plain: String, _ coded: String) {
        #expect(Base64.encode(plain.utf8) == coded)
        #expect(Base64.decode(coded) == Array(plain.utf8))
        let bare = coded.filter { $0 != "=" }
        #expect(Base64.encode(plain.utf8, .url) == bare)
        #expect(Base64.decode(bare, .url) == Array(plain.utf8))
    }

    @Test func theVariantsDifferInTwoCharacters() {
        let bytes: [UInt8] = [0xFB, 0xFF]
        #expect(Base64.encode(bytes) == "+/8=")
        #expect(Base64.encode(bytes, .url) == "-_8")
        #expect(Base64.decode("-_8=") == nil)
        #expect(Base64.decode("+/8", .url) == nil)
    }

    @Test(arguments: ["Zg", "Zg=", "Zh==", "Zm9", "Z", "====", "Zg==Zg==", "Zm 9v", "Zm9v\n", "Zm9ß"])
    func refusesWhatItWouldNotWrite(_ text: String) { #expect(Base64.decode(text) == nil) }

    @Test func everyByteSurvives() {
        for count in 0..<70 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 89 &+ count) }
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
            #expect(Base64.decode(Base64.encode(bytes, .url), .url) == bytes)
        }
    }
}
