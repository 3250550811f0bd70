import Base
import Model

/// Whether a list of windows is open at a moment, and if not, when one opens.
struct WindowSchedule: Sendable {
    /// Days that are searched for the next opening: windows of 29 February come every eight years at the longest.
    static let horizonDays = 8 * 366 + 2

    let windows: [MaintenanceWindow]
    let zone: TimeZoneRules

    enum State: Equatable {
        case open
        /// Nil when none opens within the horizon (31 February).
        case closed(opens: Timestamp?)
    }

    func state(at now: Timestamp) -> State {
        if windows.isEmpty { return .open }
        var next: Int64?
        for window in windows {
            switch state(of: window, at: now.seconds) {
            case .open: return .open
            case .closed(let opens): next = [next, opens?.seconds].compactMap { $0 }.min()
            }
        }
        return .closed(opens: next.map { Timestamp(seconds: $0) })
    }

    private func state(of window: MaintenanceWindow, at now: Int64) -> State {
        let today = floorDivide(now + Int64(zone.offset(at: now)), 86_400)
        // The longest window may have opened that long ago.
        let back = Int64(window.duration / 86_400 + 2)
        var day = today - back
        while day <= today + Int64(Self.horizonDays) {
            defer { day += 1 }
            let date = CivilDate(day: day)
            guard window.opens(year: date.year, month: date.month, day: date.day, weekday: date.weekday) else {
                continue
            }
            var opening: Int64?
            for hour in window.hours {
                for minute in window.minutes {
                    let opens = moment(day * 86_400 + Int64(hour * 3_600 + minute * 60))
                    if opens <= now, now < opens + Int64(window.duration) { return .open }
                    if opens > now { opening = min(opening ?? opens, opens) }
                }
            }
            if let opening { return .closed(opens: Timestamp(seconds: opening)) }
        }
        return .closed(opens: nil)
    }

    /// The moment of a local time. A time that daylight saving skips is that much later; of one that comes twice it
    /// is the first.
    private func moment(_ local: Int64) -> Int64 {
        let before = zone.offset(at: local - 86_400)
        let after = zone.offset(at: local + 86_400)
        let early = local - Int64(before)
        if before == after { return early }
        if zone.offset(at: early) == before { return early }
        let late = local - Int64(after)
        return zone.offset(at: late) == after ? late : early
    }
}
