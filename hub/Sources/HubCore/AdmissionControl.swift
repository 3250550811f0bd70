/// Decides which requests a hub takes now and tells the others when to come again.
///
/// One token bucket bounds the whole; a part of it is kept for devices in the middle of an update and for
/// enrolment, so that a crowd of idle polls cannot stop them. A second rule bounds each device by itself.
/// Refused devices are given places one after the other (a virtual queue), so that they come back as an even
/// stream and not as a second crowd.
public struct AdmissionControl: Sendable {
    public enum Class: Sendable { case idle, updating, enrolment }

    public enum Verdict: Sendable, Equatable {
        case admit
        /// 429: this device asks too often. Seconds until its next request counts.
        case tooOften(retryAfter: Double)
        /// 503: the hub is full. Seconds until this device's place.
        case full(retryAfter: Double)
    }

    public struct Limits: Sendable {
        /// Requests a second, all classes.
        public var rate: Double
        /// Requests that may come at once.
        public var burst: Double
        /// Part of `rate` and `burst` that idle polls never use, 0..<1.
        public var reserve: Double
        /// Seconds between requests of one device in the long run, and how many it may be ahead.
        public var deviceSpacing: Double
        public var deviceBurst: Double
        /// Devices remembered; more are judged by the whole alone.
        public var devices: Int
        /// The longest Retry-After, in seconds.
        public var longestWait: Double

        public init(
            rate: Double, burst: Double? = nil, reserve: Double = 0.2, deviceSpacing: Double = 1,
            deviceBurst: Double = 20, devices: Int = 200_000, longestWait: Double = 600
        ) {
            self.rate = rate
            self.burst = burst ?? rate
            self.reserve = reserve
            self.deviceSpacing = deviceSpacing
            self.deviceBurst = deviceBurst
            self.devices = devices
            self.longestWait = longestWait
        }
    }

    public let limits: Limits
    private var available: Double
    private var updated = 0.0
    /// Requests that were given a place and are still to come, as far as time has not served them.
    private var queued = 0.0
    /// Per device the time at which it has paid for its requests (the GCRA's theoretical arrival time).
    private var paid: [UInt64: Double] = [:]
    private var swept = 0.0

    public init(_ limits: Limits) {
        self.limits = limits
        available = limits.burst
    }

    /// Devices remembered now.
    public var remembered: Int { paid.count }

    /// - Parameters:
    ///   - device: ``PollSchedule/hash(_:)`` of its id, or any stable number of a caller without one.
    ///   - now: seconds that only grow.
    public mutating func judge(device: UInt64, _ class: Class, now: Double) -> Verdict {
        refill(now)
        let due = paid[device] ?? now
        let ahead = max(due, now) - now
        guard ahead <= limits.deviceSpacing * (limits.deviceBurst - 1) else {
            return .tooOften(retryAfter: min(ahead, limits.longestWait))
        }
        let kept = `class` == .idle ? limits.burst * limits.reserve : 0
        guard available - kept >= 1 else {
            let rate = limits.rate * (`class` == .idle ? 1 - limits.reserve : 1)
            if `class` == .idle { queued = min(queued + 1, rate * limits.longestWait) }
            return .full(retryAfter: max(1, min(max(queued, 1) / rate, limits.longestWait)))
        }
        available -= 1
        remember(device, until: max(due, now) + limits.deviceSpacing, now: now)
        return .admit
    }

    private mutating func refill(_ now: Double) {
        guard now > updated else { return }
        let elapsed = now - updated
        available = min(limits.burst, available + elapsed * limits.rate)
        queued = max(0, queued - elapsed * limits.rate * (1 - limits.reserve))
        updated = now
    }

    private mutating func remember(_ device: UInt64, until: Double, now: Double) {
        if paid[device] == nil, paid.count >= limits.devices {
            // At most one sweep per spacing: a crowd of unknown devices must not make each request a sweep.
            guard now - swept >= limits.deviceSpacing else { return }
            swept = now
            paid = paid.filter { $0.value > now }
            guard paid.count < limits.devices else { return }
        }
        paid[device] = until
    }
}
