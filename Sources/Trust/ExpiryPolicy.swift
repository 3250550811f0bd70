import Base

/// What a device's clock says, and whether anything vouches for it (NTP, GNSS, an RTC known to be set).
public struct ClockReading: Sendable, Equatable {
    public var now: Timestamp
    public var isTrusted: Bool

    public init(now: Timestamp, isTrusted: Bool) {
        self.now = now
        self.isTrusted = isTrusted
    }
}

/// How sure one may be that nothing newer exists.
public enum Freshness: String, Sendable, Codable, CaseIterable, Comparable {
    /// A nonce of this device came back signed, naming this very snapshot.
    case proven
    /// Unexpired by a clock that is vouched for.
    case fresh
    /// The clock cannot tell: not certainly expired, which is all that is known.
    case unknown
    /// Carried by hand and certainly past the expiry of timestamp or snapshot: authentic, likely not the newest.
    case stale

    private var rank: Int {
        switch self {
        case .proven: 0
        case .fresh: 1
        case .unknown: 2
        case .stale: 3
        }
    }
    /// From the freshest to the least fresh, so that `max` of two parts is what may be said of both.
    public static func < (lhs: Freshness, rhs: Freshness) -> Bool { lhs.rank < rhs.rank }
}

/// Judges `expires` fields against a clock that may be wrong by decades.
struct ExpiryPolicy: Sendable {
    /// No earlier than this: the time is at least the floor, whatever the clock says.
    let floor: Timestamp
    /// The clock, when it is vouched for and not behind the floor.
    let trustedNow: Timestamp?
    /// Carried by hand: timestamp and snapshot may be past their expiry.
    let isSideload: Bool

    init(clock: ClockReading, floor: Timestamp, isSideload: Bool) {
        self.floor = floor
        // A clock behind the floor is wrong, whoever vouches for it.
        trustedNow = clock.isTrusted && clock.now >= floor ? clock.now : nil
        self.isSideload = isSideload
    }

    /// The wall clock and nothing else, as the specification has it.
    init(wallClock now: Timestamp) {
        floor = Timestamp(seconds: 0)
        trustedNow = now
        isSideload = false
    }

    /// What an accepted role's freshness is; throws `expired` for one that must not be used.
    ///
    /// "Expired" is `expires <= time` as in 5.3.10, 5.4.4, 5.5.6 and 5.6.6.
    func judge(_ expires: Timestamp, role: String) throws(TrustError) -> Freshness {
        let isCarried = isSideload && (role == TopLevel.timestamp || role == TopLevel.snapshot)
        if expires <= floor {
            if isCarried { return .stale }
            throw TrustError(.expired, role, "expired \(expires), and the time is at least \(floor)")
        }
        guard let trustedNow else { return .unknown }
        if expires > trustedNow { return .fresh }
        if isCarried { return .stale }
        throw TrustError(.expired, role, "expired \(expires), it is \(trustedNow)")
    }
}
