import Base
import Model
import TestSupport
import Testing

@testable import AgentCore

@Suite struct WindowTests {
    private func schedule(_ texts: [String], _ zone: String = "UTC") throws -> WindowSchedule {
        WindowSchedule(
            windows: try texts.map { try #require(MaintenanceWindow($0), "\($0)") },
            zone: try #require(TimeZoneRules.load(zone)))
    }

    private func time(_ text: String) throws -> Timestamp { try #require(Timestamp(rfc3339: text)) }

    @Test(arguments: [
        "0 2 * * * 3h", "*/15 0-6 1,15 jan-mar mon-fri 90m", "59 23 31 12 7 7d", "10-50/20 * * * * 1m",
    ])
    func aWindowIsReadAsCronWritesIt(_ text: String) { #expect(MaintenanceWindow(text) != nil) }

    @Test(arguments: [
        "", "0 2 * * *", "0 2 * * * 0m", "0 2 * * * 8d", "60 2 * * * 1h", "0 24 * * * 1h", "0 2 0 * * 1h",
        "0 2 * 13 * 1h", "0 2 * * 8 1h", "5-1 * * * * 1h", "*/0 * * * * 1h", "0 2 * * * h", "0 2 * * * -1h",
        "0 2 * * * 99999999999999999h", "0,,1 2 * * * 1h", "0 2 * * * 1h 1h", "a b c d e 1h", "0 2 * * * 1y",
    ])
    func whatIsNoWindowIsRefused(_ text: String) { #expect(MaintenanceWindow(text) == nil) }

    @Test func aWindowIsOpenFromItsMinuteForItsTime() throws {
        let nightly = try schedule(["0 2 * * * 3h"])
        #expect(nightly.state(at: try time("2026-11-24T02:00:00Z")) == .open)
        #expect(nightly.state(at: try time("2026-11-24T04:59:59Z")) == .open)
        #expect(nightly.state(at: try time("2026-11-24T05:00:00Z")) == .closed(opens: try time("2026-11-25T02:00:00Z")))
        #expect(nightly.state(at: try time("2026-11-24T01:59:59Z")) == .closed(opens: try time("2026-11-24T02:00:00Z")))
    }

    @Test func aWindowReachesPastMidnightAndWeeks() throws {
        let weekend = try schedule(["0 22 * * fri 2d"])
        #expect(weekend.state(at: try time("2026-11-29T21:59:59Z")) == .open)
        #expect(weekend.state(at: try time("2026-11-29T22:00:00Z")) == .closed(opens: try time("2026-12-04T22:00:00Z")))
        #expect(try schedule(["0 0 * * * 7d"]).state(at: try time("2026-01-01T12:00:00Z")) == .open)
    }

    @Test func localTimeIsThatOfTheZoneInSummerAndWinter() throws {
        let berlin = try schedule(["0 2 * * * 1h"], "Europe/Berlin")
        #expect(berlin.state(at: try time("2026-11-24T01:00:00Z")) == .open)
        #expect(berlin.state(at: try time("2026-07-24T00:30:00Z")) == .open)
        #expect(berlin.state(at: try time("2026-07-24T01:30:00Z")) == .closed(opens: try time("2026-07-25T00:00:00Z")))
        // 02:00 is skipped on 2026-03-29: the window opens an hour later by the wall, at 01:00 UTC.
        #expect(berlin.state(at: try time("2026-03-29T00:59:59Z")) == .closed(opens: try time("2026-03-29T01:00:00Z")))
        // 02:00 comes twice on 2026-10-25: the first counts.
        #expect(berlin.state(at: try time("2026-10-25T00:00:00Z")) == .open)
        #expect(berlin.state(at: try time("2026-10-25T01:00:00Z")) != .open)
        // Past the table the footer's rule goes on.
        #expect(berlin.state(at: try time("2085-07-24T00:30:00Z")) == .open)
    }

    @Test func ofTwoRestrictedDaysEitherSuffices() throws {
        let either = try schedule(["0 0 13 * fri 1d"])
        #expect(either.state(at: try time("2026-11-27T12:00:00Z")) == .open)
        #expect(either.state(at: try time("2026-12-13T12:00:00Z")) == .open)
        #expect(either.state(at: try time("2026-11-26T12:00:00Z")) != .open)
    }

    @Test func aDayThatNeverComesNeverOpens() throws {
        #expect(try schedule(["0 0 31 2 * 1h"]).state(at: try time("2026-01-01T00:00:00Z")) == .closed(opens: nil))
        #expect(
            try schedule(["0 0 29 2 * 1h"]).state(at: try time("2096-03-01T00:00:00Z"))
                == .closed(opens: try time("2104-02-29T00:00:00Z")))
    }

    @Test func offsetsAgreeWithTheSystems() async throws {
        for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"] {
            let rules = try #require(TimeZoneRules.load(zone))
            for seconds in stride(from: Int64(-1_000_000_000), to: 4_000_000_000, by: 312_345_678) {
                let said = try await Command.run(
                    ["date", "-d", "@\(seconds)", "+%:::z"], environment: ["TZ": zone, "LC_ALL": "C"])
                let parts = said.output.trimmingPrefix { "+-".contains($0) }.split(whereSeparator: {
                    ":\n".contains($0)
                })
                let value = zip(parts, [3600, 60, 1]).reduce(0) { $0 + (Int($1.0) ?? 0) * $1.1 }
                #expect(
                    rules.offset(at: seconds) == (said.output.hasPrefix("-") ? -value : value), "\(zone) \(seconds)")
            }
        }
    }

    @Test func aFileThatIsNoZoneIsRefused() throws {
        let good = try FileSystem().read("/usr/share/zoneinfo/Europe/Berlin", limit: 100_000)
        #expect(TimeZoneRules(parsing: good) != nil)
        #expect(TimeZoneRules(parsing: []) == nil)
        for length in stride(from: 1, to: good.count - 40, by: 7) {
            #expect(TimeZoneRules(parsing: Array(good.prefix(length))) == nil, "\(length) bytes")
        }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            var bytes = good
            for _ in 0..<4 {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            _ = TimeZoneRules(parsing: bytes)?.offset(
                at: Int64.random(in: -5_000_000_000...5_000_000_000, using: &random))
        }
        for name in ["../../etc/passwd", "/etc/passwd", "Europe//Berlin", "", "Nowhere/Land", "."] {
            #expect(TimeZoneRules.load(name) == nil, "\(name)")
        }
    }

    @Test func daysAndDatesAgree() {
        for day in stride(from: Int64(-800_000), to: 800_000, by: 377) {
            let date = CivilDate(day: day)
            #expect(CivilDate.day(year: date.year, month: date.month, day: date.day) == day)
        }
        #expect(CivilDate(day: 0).weekday == 4)
        #expect(CivilDate(day: -1).weekday == 3)
        #expect(CivilDate(day: -8).weekday == 3)
    }
}
