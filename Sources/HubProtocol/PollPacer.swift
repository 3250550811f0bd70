import Base

/// When a device polls next. Pure: time and chance are handed in.
///
/// The hub's answer puts each device into its own slot of the interval; the device keeps to it and adds a
/// little chance. Where there is no answer, the device draws its next try anew from one whole interval around
/// its usual one: the retries of a fleet are then spread as evenly as its polls were, however long the
/// outage, and its end is no event. Backoff that grows would gather the fleet in the hour after.
public struct PollPacer: Sendable {
    /// Seconds between polls that a hub may ask for.
    public static let intervals: ClosedRange<Double> = 1...86_400
    /// The interval where no hub has said another, in seconds.
    public static let defaultInterval = 300.0
    /// Chance added to a hub's word, as a part of the wait.
    static let jitter = 0.02
    /// A busy hub's Retry-After is kept, and stretched by up to this part of itself.
    static let retryStretch = 0.5

    /// The last interval that the hub gave, in seconds.
    public private(set) var interval: Double

    public init(interval: Double = Self.defaultInterval) {
        self.interval = Self.clamped(interval)
    }

    private static func clamped(_ seconds: Double) -> Double {
        seconds.isFinite ? min(max(seconds, intervals.lowerBound), intervals.upperBound) : defaultInterval
    }

    /// Seconds to the first poll after the device started: anywhere in the interval, since a power cut
    /// starts a whole site in one moment.
    public func firstWait(using generator: inout some RandomNumberGenerator) -> Double {
        Double.random(in: 0..<interval, using: &generator)
    }

    /// Seconds to the next poll after an answer.
    ///
    /// - Parameters:
    ///   - nextPoll: the hub's `next_poll_s`, the way to this device's slot.
    ///   - interval: the hub's interval; remembered.
    public mutating func waitAfterAnswer(
        nextPoll: Double, interval: Double, using generator: inout some RandomNumberGenerator
    ) -> Double {
        self.interval = Self.clamped(interval)
        let wait = Self.clamped(nextPoll)
        return wait * Double.random(in: (1 - Self.jitter)...(1 + Self.jitter), using: &generator)
    }

    /// Seconds to the next poll of a device that has the hub hold its polls back, after news or a poll that was held:
    /// few, but never none, so that a hub that answers at once makes no device spin.
    public func waitAfterHeld(using generator: inout some RandomNumberGenerator) -> Double {
        Double.random(in: Self.intervals.lowerBound..<2 * Self.intervals.lowerBound, using: &generator)
    }

    /// Seconds to the next poll after no answer, or after an error that says nothing of when.
    public func waitAfterFailure(using generator: inout some RandomNumberGenerator) -> Double {
        interval * Double.random(in: 0.5..<1.5, using: &generator)
    }

    /// Seconds to the next poll after 429 or 503 with Retry-After.
    public func waitAfterRefusal(
        retryAfter: Double, using generator: inout some RandomNumberGenerator
    ) -> Double {
        Self.clamped(retryAfter) * Double.random(in: 1...(1 + Self.retryStretch), using: &generator)
    }
}
