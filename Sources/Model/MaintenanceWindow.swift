import Base

/// A time that comes again: minute, hour, day of month, month and day of week as cron(5) writes them, then how long.
///
/// `0 2 * * 1-5 3h` opens at 02:00 from Monday to Friday for three hours. As in cron, when both days are restricted
/// either suffices. Names (`mon`, `jan`) are understood; Sunday is 0 or 7.
public struct MaintenanceWindow: Hashable, Sendable {
    /// Bytes of the text.
    public static let textLimit = 128
    /// Seconds that one window may be open: a week.
    public static let durationLimit = 7 * 86_400
    /// Windows of one list.
    public static let countLimit = 32

    public let text: String
    public let minutes: Set<Int>
    public let hours: Set<Int>
    public let days: Set<Int>
    public let months: Set<Int>
    /// 0 is Sunday.
    public let weekdays: Set<Int>
    private let restrictsDays: Bool
    private let restrictsWeekdays: Bool
    /// Seconds from its opening to its end.
    public let duration: Int

    /// Nil for text that is no window.
    public init?(_ text: String) {
        let fields = text.split(separator: " ").map(String.init)
        guard text.utf8.count <= Self.textLimit, fields.count == 6,
            let minutes = Self.set(fields[0], 0...59), let hours = Self.set(fields[1], 0...23),
            let days = Self.set(fields[2], 1...31), let months = Self.set(fields[3], 1...12, names: Self.monthNames),
            let weekdays = Self.set(fields[4], 0...7, names: Self.dayNames), let duration = Self.duration(fields[5])
        else { return nil }
        self.text = fields.joined(separator: " ")
        self.minutes = minutes
        self.hours = hours
        self.days = days
        self.months = months
        self.weekdays = Set(weekdays.map { $0 % 7 })
        restrictsDays = fields[2] != "*"
        restrictsWeekdays = fields[4] != "*"
        self.duration = duration
    }

    private static let monthNames = [
        "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11,
        "dec": 12,
    ]
    private static let dayNames = ["sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6]

    /// Whether it opens on that day of the civil calendar.
    public func opens(year: Int, month: Int, day: Int, weekday: Int) -> Bool {
        guard months.contains(month) else { return false }
        switch (restrictsDays, restrictsWeekdays) {
        case (true, true): return days.contains(day) || weekdays.contains(weekday)
        default: return days.contains(day) && weekdays.contains(weekday)
        }
    }

    /// `*`, `5`, `1-5`, `*/15`, `10-50/20`, lists of them.
    private static func set(_ text: String, _ range: ClosedRange<Int>, names: [String: Int] = [:]) -> Set<Int>? {
        var result: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "/", omittingEmptySubsequences: false)
            guard halves.count <= 2 else { return nil }
            var step = 1
            if halves.count == 2 {
                guard let number = number(halves[1], [:]), (1...range.upperBound).contains(number) else { return nil }
                step = number
            }
            let bounds: ClosedRange<Int>
            if halves[0] == "*" {
                bounds = range
            } else {
                let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
                guard ends.count <= 2, let first = number(ends[0], names),
                    let last = ends.count == 2
                        ? number(ends[1], names) : (halves.count == 2 ? range.upperBound : first),
                    range.contains(first), range.contains(last), first <= last
                else { return nil }
                bounds = first...last
            }
            result.formUnion(stride(from: bounds.lowerBound, through: bounds.upperBound, by: step))
        }
        return result.isEmpty ? nil : result
    }

    private static func number(_ text: Substring, _ names: [String: Int]) -> Int? {
        if let named = names[text.lowercased()] { return named }
        guard (1...2).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return nil
        }
        return Int(text)
    }

    /// `90m`, `3h`, `1d`; nil unless within a minute and a week.
    private static func duration(_ text: String) -> Int? {
        guard let unit = text.last, let scale = ["m": 60, "h": 3_600, "d": 86_400][String(unit)],
            text.utf8.count <= 6, text.dropLast().utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(text.dropLast())
        else { return nil }
        let seconds = number * scale
        return (60...durationLimit).contains(seconds) ? seconds : nil
    }
}

extension MaintenanceWindow: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let window = MaintenanceWindow(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no maintenance window")
        }
        self = window
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}

/// When a device may fetch releases, and when it may move to them. An empty list restricts nothing.
public struct MaintenanceWindows: Hashable, Sendable, Codable {
    /// Name in the time zone database, `Europe/Berlin`; `UTC` when not said.
    public var timeZone: String
    public var download: [MaintenanceWindow]
    public var apply: [MaintenanceWindow]

    public init(timeZone: String = "UTC", download: [MaintenanceWindow] = [], apply: [MaintenanceWindow] = []) {
        self.timeZone = timeZone
        self.download = download
        self.apply = apply
    }

    /// A relative path of plain components: it is joined to the database's folder.
    public static func isTimeZoneName(_ text: String) -> Bool {
        text.utf8.count <= 64 && Path.isPlainRelative(text)
            && text.utf8.allSatisfy {
                (0x61...0x7A).contains($0) || (0x41...0x5A).contains($0) || (0x30...0x39).contains($0)
                    || [0x2D, 0x2F, 0x5F, 0x2B].contains($0)
            }
    }
}
