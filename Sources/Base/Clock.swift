import Glibc

/// Seconds since 1970-01-01T00:00:00Z. A device's idea of it may be wrong by decades.
public struct Timestamp: Hashable, Sendable, Comparable, Codable {
    public var seconds: Int64

    public init(seconds: Int64) { self.seconds = seconds }
    public init(from decoder: any Decoder) throws {
        seconds = try decoder.singleValueContainer().decode(Int64.self)
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(seconds)
    }

    public static func < (lhs: Timestamp, rhs: Timestamp) -> Bool { lhs.seconds < rhs.seconds }
    public static func + (lhs: Timestamp, rhs: Int64) -> Timestamp { Timestamp(seconds: lhs.seconds &+ rhs) }
    public static func - (lhs: Timestamp, rhs: Timestamp) -> Int64 { lhs.seconds &- rhs.seconds }
}

extension Timestamp: CustomStringConvertible {
    /// RFC 3339 in UTC, whole seconds: `2026-11-23T18:21:42Z`.
    public var description: String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        func pad(_ value: Int32, _ width: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        return "\(pad(parts.tm_year + 1900, 4))-\(pad(parts.tm_mon + 1, 2))-\(pad(parts.tm_mday, 2))T"
            + "\(pad(parts.tm_hour, 2)):\(pad(parts.tm_min, 2)):\(pad(parts.tm_sec, 2))Z"
    }

    /// Parses RFC 3339 in UTC with whole seconds, `YYYY-MM-DDTHH:MM:SSZ`, the only form TUF metadata has.
    /// Nil for anything else, impossible dates included.
    public init?(rfc3339 text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 20, bytes[4] == 0x2D, bytes[7] == 0x2D, bytes[10] == 0x54, bytes[13] == 0x3A,
            bytes[16] == 0x3A, bytes[19] == 0x5A
        else { return nil }
        func number(_ range: Range<Int>) -> Int32? {
            var value: Int32 = 0
            for byte in bytes[range] {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int32(byte - 0x30)
            }
            return value
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 60
        else { return nil }
        var parts = tm()
        parts.tm_year = year - 1900
        parts.tm_mon = month - 1
        parts.tm_mday = day
        parts.tm_hour = hour
        parts.tm_min = minute
        parts.tm_sec = second
        let time = timegm(&parts)
        // timegm normalises 30 February into March; a changed day is an impossible date.
        guard parts.tm_mday == day, parts.tm_mon == month - 1 else { return nil }
        self.init(seconds: Int64(time))
    }
}

/// Where time comes from, so that tests own it.
public struct SystemClock: Sendable {
    /// The wall clock. May jump, run backwards or say 1970.
    public var now: @Sendable () -> Timestamp
    /// Nanoseconds that only grow while the machine runs.
    public var monotonic: @Sendable () -> UInt64
    /// Suspends; throws `CancellationError` when the task is cancelled.
    public var sleep: @Sendable (_ duration: Duration) async throws -> Void

    public init(
        now: @escaping @Sendable () -> Timestamp, monotonic: @escaping @Sendable () -> UInt64,
        sleep: @escaping @Sendable (Duration) async throws -> Void
    ) {
        self.now = now
        self.monotonic = monotonic
        self.sleep = sleep
    }

    /// The same with a wall clock that goes wrong by so many seconds.
    public func ahead(by seconds: Int64) -> SystemClock {
        var clock = self
        clock.now = { now() + seconds }
        return clock
    }

    public static let live = SystemClock(
        now: {
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            return Timestamp(seconds: Int64(time.tv_sec))
        },
        monotonic: {
            var time = timespec()
            clock_gettime(CLOCK_BOOTTIME, &time)
            return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        },
        sleep: { try await Task.sleep(for: $0) }
    )
}
