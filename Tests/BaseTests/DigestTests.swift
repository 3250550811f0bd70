import Base
import Testing

@Suite struct DigestTests {
    @Test func hashesTheStandardVector() {
        #expect(Digest.sha256(Array("abc".utf8)).hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }
    @Test func refusesOtherForms() {
        #expect(Digest("sha512:00") == nil)
        #expect(Digest("sha256:" + String(repeating: "A", count: 64)) == nil)
        #expect(Digest("sha256:" + String(repeating: "a", count: 64)) != nil)
    }
}
