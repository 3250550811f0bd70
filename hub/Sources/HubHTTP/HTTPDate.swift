import Base
import NIOConcurrencyHelpers

/// The `Date` field (RFC 9110 section 5.6.7), made once a second.
final class HTTPDate: Sendable {
    private let clock: SystemClock
    private let cached = NIOLockedValueBox<(seconds: Int64, text: String)>((-1, ""))

    init(clock: SystemClock) { self.clock = clock }

    var text: String {
        let now = clock.now()
        return cached.withLockedValue { cached in
            if cached.seconds != now.seconds { cached = (now.seconds, Self.format(now)) }
            return cached.text
        }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`.
    static func format(_ time: Timestamp) -> String {
        let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        // RFC 3339, so that the calendar is worked out in one place.
        let text = Array(time.description.utf8)
        func part(_ range: Range<Int>) -> String { String(decoding: text[range], as: UTF8.self) }
        let day = Int((time.seconds / 86_400) % 7)
        let month = (Int(part(5..<7)) ?? 1) - 1
        return "\(days[(day + 7) % 7]), \(part(8..<10)) \(months[month]) \(part(0..<4)) \(part(11..<19)) GMT"
    }
}
