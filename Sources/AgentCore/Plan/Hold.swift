import Base

/// A reason from outside the plan to leave a candidate unapplied. What runs is never stopped by one.
public enum Hold: Hashable, Sendable {
    case lock(holder: String, reason: String, secondsLeft: Int64)
    /// No window is open; nil when none ever opens.
    case window(opens: Timestamp?, secondsLeft: Int64?)
    /// Windows are set, and nobody vouches for the clock.
    case untrustedClock
    /// A time zone that this device does not know: the windows cannot be judged.
    case unknownTimeZone(String)

    /// Seconds after which it ends by itself; nil when it does not.
    var secondsLeft: Int64? {
        switch self {
        case .lock(_, _, let seconds): seconds
        case .window(_, let seconds): seconds
        case .untrustedClock, .unknownTimeZone: nil
        }
    }

    /// Stable, for scripts.
    public var code: String {
        switch self {
        case .lock: "wait.lock"
        case .window: "wait.window"
        case .untrustedClock: "wait.clock"
        case .unknownTimeZone: "wait.time-zone"
        }
    }

    public var hint: String {
        switch self {
        case .lock: "holdfast-agent lock list; to go on in spite of it: holdfast-agent lock override"
        case .window, .untrustedClock, .unknownTimeZone: "to go on now: holdfast-agent update-now"
        }
    }
}

extension Hold: CustomStringConvertible {
    public var description: String {
        switch self {
        case .lock(let holder, let reason, let seconds): "held by \(holder) for \(seconds) s more: \(reason)"
        case .window(let opens?, let seconds):
            "the maintenance window opens at \(opens)" + (seconds.map { ", in \($0) s" } ?? "")
        case .window(nil, _): "the maintenance window never opens"
        case .untrustedClock: "there are maintenance windows, and nobody vouches for this device's clock"
        case .unknownTimeZone(let name): "the windows are in time zone \(name), which this device does not know"
        }
    }
}
