import Base
import Testing

@Suite struct ValueTests {
    @Test(arguments: [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (39_006_003, "37.1 MiB"),
        (-2048, "-2.0 KiB"), (Int64.max, "8191.9 PiB"),
    ] as [(Int64, String)])
    func byteCountsReadWell(_ bytes: Int64, _ text: String) {
        #expect(ByteCount(bytes).description == text)
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("2026-11-23T18:21:42Z", 1_795_458_102), ("2000-02-29T23:59:59Z", 951_868_799),
    ] as [(String, Int64)])
    func timestampsRoundTrip(_ text: String, _ seconds: Int64) {
        #expect(Timestamp(rfc3339: text) == Timestamp(seconds: seconds))
        #expect(Timestamp(seconds: seconds).description == text)
    }

    @Test(arguments: [
        "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+01:00",
        "2026-01-01T00:00:00.5Z", "2026-1-1T00:00:00Z", "", "2025-02-29T00:00:00Z", "2026-01-01t00:00:00z",
    ])
    func timestampsRefuseOtherForms(_ text: String) {
        #expect(Timestamp(rfc3339: text) == nil)
    }

    @Test(arguments: ["../x", "/x", "a//b", "a/./b", "a/..", "", "a\0b", ".", "a/"])
    func escapingPathsAreNotPlain(_ path: String) {
        #expect(!Path.isPlainRelative(path))
    }

    @Test func pathsJoinAndSplit() {
        #expect(Path.join("/a/", "b", "/c") == "/a/b/c")
        #expect(Path.parent("/a") == "/")
        #expect(Path.parent("a") == ".")
        #expect(Path.parent("/a/b/") == "/a")
        #expect(Path.name("/a/b.txt") == "b.txt")
        #expect(Path.isPlainRelative("a/b..c/.d"))
    }

    @Test func hexRefusesOddAndForeign() {
        #expect(Hex.decode("abc") == nil)
        #expect(Hex.decode("zz") == nil)
        #expect(Hex.decode("00FFa0") == [0, 255, 160])
    }

    @Test func backoffGrowsToItsCeiling() {
        let backoff = Backoff(base: .seconds(1), ceiling: .seconds(60))
        #expect(backoff.bound(attempt: 0) == .seconds(1))
        #expect(backoff.bound(attempt: 5) == .seconds(32))
        #expect(backoff.bound(attempt: 1000) == .seconds(60))
        var generator = SystemRandomNumberGenerator()
        for attempt in 0..<100 {
            let delay = backoff.delay(attempt: attempt, using: &generator)
            #expect(delay <= backoff.bound(attempt: attempt) && delay * 2 >= backoff.bound(attempt: attempt))
        }
    }
}
