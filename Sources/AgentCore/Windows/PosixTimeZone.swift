import Base

/// The rule in a TZif file's footer, for times past its table: `CET-1CEST,M3.5.0,M10.5.0/3` (POSIX, `TZ`).
/// Only rules of the form `Mmonth.week.day` are read, which is what the database writes but for a few zones.
struct PosixTimeZone: Sendable, Equatable {
    private struct Change: Equatable {
        var month: Int
        var week: Int
        var weekday: Int
        /// Seconds of local time on that day.
        var second: Int
    }
    private var standard: Int
    private var daylight: (offset: Int, from: Change, to: Change)?

    static func == (lhs: PosixTimeZone, rhs: PosixTimeZone) -> Bool {
        lhs.standard == rhs.standard && lhs.daylight?.offset == rhs.daylight?.offset
            && lhs.daylight?.from == rhs.daylight?.from && lhs.daylight?.to == rhs.daylight?.to
    }

    init?(_ text: String) {
        var rest = Array(text.utf8)[...]
        guard Self.name(&rest), let west = Self.time(&rest) else { return nil }
        standard = -west
        if rest.isEmpty { return }
        guard Self.name(&rest) else { return nil }
        var offset = standard + 3_600
        if rest.first != 0x2C {
            guard let west = Self.time(&rest) else { return nil }
            offset = -west
        }
        guard let from = Self.change(&rest), let to = Self.change(&rest), rest.isEmpty else { return nil }
        daylight = (offset, from, to)
    }

    func offset(at time: Int64) -> Int {
        guard let daylight else { return standard }
        let year = CivilDate(day: floorDivide(time + Int64(standard), 86_400)).year
        let start = Self.moment(daylight.from, year) - Int64(standard)
        let end = Self.moment(daylight.to, year) - Int64(daylight.offset)
        let isDaylight = start < end ? time >= start && time < end : time >= start || time < end
        return isDaylight ? daylight.offset : standard
    }

    /// Local seconds since 1970 of a change in a year.
    private static func moment(_ change: Change, _ year: Int) -> Int64 {
        let first = CivilDate.day(year: year, month: change.month, day: 1)
        let weekday = CivilDate(day: first).weekday
        var day = first + Int64((change.weekday - weekday + 7) % 7 + (change.week - 1) * 7)
        while CivilDate(day: day).month != change.month { day -= 7 }
        return day * 86_400 + Int64(change.second)
    }

    private static func name(_ rest: inout ArraySlice<UInt8>) -> Bool {
        if rest.first == 0x3C {
            guard let end = rest.firstIndex(of: 0x3E) else { return false }
            rest = rest[(end + 1)...]
            return true
        }
        let letters = rest.prefix { (0x41...0x5A).contains($0 & 0xDF) }
        rest = rest.dropFirst(letters.count)
        return letters.count >= 3
    }

    private static func number(_ rest: inout ArraySlice<UInt8>) -> Int? {
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        guard (1...3).contains(digits.count) else { return nil }
        rest = rest.dropFirst(digits.count)
        return digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    }

    private static func take(_ byte: UInt8, _ rest: inout ArraySlice<UInt8>) -> Bool {
        guard rest.first == byte else { return false }
        rest = rest.dropFirst()
        return true
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    private static func time(_ rest: inout ArraySlice<UInt8>) -> Int? {
        let isNegative = take(0x2D, &rest)
        if !isNegative { _ = take(0x2B, &rest) }
        guard let hours = number(&rest), hours <= 167 else { return nil }
        var seconds = hours * 3_600
        for scale in [60, 1] where take(0x3A, &rest) {
            guard let part = number(&rest), part < 60 else { return nil }
            seconds += part * scale
        }
        return isNegative ? -seconds : seconds
    }

    private static func change(_ rest: inout ArraySlice<UInt8>) -> Change? {
        guard take(0x2C, &rest), take(0x4D, &rest), let month = number(&rest), take(0x2E, &rest),
            let week = number(&rest), take(0x2E, &rest), let weekday = number(&rest), (1...12).contains(month),
            (1...5).contains(week), (0...6).contains(weekday)
        else { return nil }
        var second = 2 * 3_600
        if take(0x2F, &rest) {
            guard let written = time(&rest) else { return nil }
            second = written
        }
        return Change(month: month, week: week, weekday: weekday, second: second)
    }
}
