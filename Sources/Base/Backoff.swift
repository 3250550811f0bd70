/// Exponential backoff with full jitter: attempt n waits a random time up to `min(ceiling, base * 2^n)`.
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
public struct Backoff: Sendable {
    public var base: Duration
    public var ceiling: Duration

    public init(base: Duration, ceiling: Duration) {
        self.base = base
        self.ceiling = ceiling
    }

    /// The longest wait before retry number `attempt` (0 is the first).
    public func bound(attempt: Int) -> Duration {
        let doublings = min(max(attempt, 0), 30)
        return min(ceiling, base * (1 << doublings))
    }

    /// A wait drawn uniformly from half the bound to the bound, so that retries neither align nor hurry.
    public func delay(attempt: Int, using generator: inout some RandomNumberGenerator) -> Duration {
        bound(attempt: attempt) * Double.random(in: 0.5...1, using: &generator)
    }
}
