/// Bounds of one exchange. Whoever answers may be hung or hostile: it may send without end, or hardly at all.
public struct ExchangeLimits: Sendable, Hashable {
    /// Until a connection stands.
    public var connect: Duration
    /// From the first byte to the last; nil where only silence counts.
    public var total: Duration?
    /// Longest time in which no piece of either body moved, and until the answer's head.
    public var silence: Duration?
    /// Bytes per second that an answer's body must keep up once ``grace`` is over; 0 asks for nothing.
    /// Only time spent waiting for the other side counts, not the time that the consumer takes.
    public var minimumRate: Int64
    /// Time of waiting for a body in which no rate is asked.
    public var grace: Duration

    public init(
        connect: Duration = .seconds(5), total: Duration? = nil, silence: Duration? = nil, minimumRate: Int64 = 0,
        grace: Duration = .seconds(20)
    ) {
        self.connect = connect
        self.total = total
        self.silence = silence
        self.minimumRate = minimumRate
        self.grace = grace
    }
}
