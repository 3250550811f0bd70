import Base
import Testing

@testable import WireGuard

@Suite struct TimeFloorTests {
    private final class Clock: @unchecked Sendable {
        // Sendable although unchecked: used by one test on one thread.
        var now: Timestamp
        var refuses = false
        init(_ seconds: Int64) { now = Timestamp(seconds: seconds) }
    }

    private func floor(_ clock: Clock, _ bound: Int64) -> TimeFloor {
        TimeFloor(
            floor: { Timestamp(seconds: bound) }, now: { clock.now },
            setClock: { (time) throws(WireGuardError) in
                if clock.refuses { throw .timeFloor(why: "not permitted") }
                clock.now = time
            })
    }

    @Test func raisesAClockThatBootedIn1970() throws {
        let clock = Clock(17)
        let target = Timestamp(seconds: 1_700_000_000 + TimeFloor.marginSeconds)
        #expect(try floor(clock, 1_700_000_000).apply() == .raised(from: Timestamp(seconds: 17), to: target))
        #expect(clock.now == target)
        #expect(try floor(clock, 1_700_000_000).apply() == .satisfied)
    }

    @Test func neverSetsAClockBack() throws {
        let clock = Clock(2_000_000_000)
        #expect(try floor(clock, 1_700_000_000).apply() == .satisfied)
        #expect(clock.now == Timestamp(seconds: 2_000_000_000))
    }

    @Test func saysSoWhenTheClockCannotBeSet() throws {
        let clock = Clock(17)
        clock.refuses = true
        #expect(try floor(clock, 1_700_000_000).apply() == .refused(.timeFloor(why: "not permitted")))
    }

    @Test func addsASilentPeerAgainWithGrowingWaits() {
        let policy = LockoutPolicy(silenceSeconds: 600)
        let key = PublicKey.repeating(1)
        func isDue(silent: Int64, attempts: LockoutPolicy.Attempts? = nil) -> Bool {
            !policy.candidates(
                handshakes: [key: Timestamp(seconds: 1000)], attempts: attempts.map { [key: $0] } ?? [:],
                now: Timestamp(seconds: 1000 + silent)
            ).isEmpty
        }
        #expect(!isDue(silent: 600))
        #expect(isDue(silent: 601))
        let once = LockoutPolicy.Attempts(count: 1, last: Timestamp(seconds: 1601))
        #expect(!isDue(silent: 601 + 1200, attempts: once))
        #expect(isDue(silent: 601 + 1201, attempts: once))
        // An attempt before the last handshake worked and counts no more.
        #expect(isDue(silent: 601, attempts: LockoutPolicy.Attempts(count: 9, last: Timestamp(seconds: 900))))
        let often = LockoutPolicy.Attempts(count: 1000, last: Timestamp(seconds: 2000))
        #expect(isDue(silent: 1000 + 86_401, attempts: often))
        #expect(LockoutPolicy(silenceSeconds: 1).silenceSeconds == LockoutPolicy.sessionSeconds)
    }
}
