import NIOConcurrencyHelpers

/// Holds what is sent to a rate, for each key by itself: bytes a second over any longer time.
public final class BandwidthLimiter<Key: Hashable & Sendable>: Sendable {
    /// Keys remembered; beyond that the ones that owe nothing are forgotten.
    static var keyLimit: Int { 100_000 }

    private let rate: Double
    /// Seconds that a key may run ahead of its rate.
    private let burst: Double
    /// Until when each key's bytes are paid for.
    private let paid = NIOLockedValueBox<[Key: Double]>([:])

    /// - Parameter rate: bytes a second; 0 for no limit.
    public init(rate: Double, burst: Double = 1) {
        self.rate = rate
        self.burst = burst
    }

    public var isOn: Bool { rate > 0 }

    /// Takes `bytes` and answers how many seconds to wait before they go. `now` only grows.
    public func reserve(_ bytes: Int, for key: Key, now: Double) -> Double {
        guard rate > 0 else { return 0 }
        return paid.withLockedValue { paid in
            if paid.count >= Self.keyLimit, paid[key] == nil { paid = paid.filter { $0.value > now } }
            let start = max(paid[key] ?? now - burst, now - burst)
            paid[key] = start + Double(bytes) / rate
            return max(0, start - now)
        }
    }
}
