import Base
import Testing

@Suite struct PathTests {
    @Test(arguments: [
        "..", "a/..", "../a", "a/../b", ".", "a//b", "/a", "a/", "", "a\0b",
        // A slash and a combining mark after it are one Swift character.
        "../\u{301}a", "a/../\u{301}b", "a/./\u{308}b", "a/..\u{2F}\u{20D0}",
    ])
    func aPathThatLeadsElsewhereIsNotPlain(_ path: String) { #expect(!Path.isPlainRelative(path)) }

    @Test(arguments: ["a", "a/b", "...", "a/..b", "e\u{301}/b", "a/\u{301}b", "..\u{301}/b"])
    func namesMayBeOdd(_ path: String) { #expect(Path.isPlainRelative(path)) }

    @Test func partsAreTakenAtEverySlash() {
        #expect(Path.parent("a/\u{301}b") == "a")
        #expect(Path.name("a/\u{301}b") == "\u{301}b")
        #expect(Path.parent("/a") == "/" && Path.parent("a") == "." && Path.parent("a/b/") == "a")
        #expect(Path.name("a/b/") == "b" && Path.name("/") == "")
    }
}
