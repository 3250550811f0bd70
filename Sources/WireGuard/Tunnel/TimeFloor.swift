import Base
import Glibc

/// The clock's lower bound, applied before a tunnel comes up.
///
/// A handshake carries a TAI64N timestamp, and a peer refuses one that is not above the last it saw from that key.
/// A device that boots in 1970 is therefore refused until its clock is back. Setting the clock to the floor that was
/// stored makes the next handshake acceptable, as long as the floor is stored again after each handshake that counts.
public struct TimeFloor: Sendable {
    public enum Outcome: Sendable, Equatable {
        /// The clock was past the floor.
        case satisfied
        case raised(from: Timestamp, to: Timestamp)
        /// The clock is behind and cannot be set; handshakes may be refused until it catches up.
        case refused(WireGuardError)
    }

    /// Seconds added above the floor: the floor was stored some time before the last handshake.
    public static let marginSeconds: Int64 = 120

    /// What is stored: the greatest of build time, verified metadata and earlier handshakes.
    public var floor: @Sendable () throws(WireGuardError) -> Timestamp
    public var now: @Sendable () -> Timestamp
    public var setClock: @Sendable (Timestamp) throws(WireGuardError) -> Void

    public init(
        floor: @escaping @Sendable () throws(WireGuardError) -> Timestamp,
        now: @escaping @Sendable () -> Timestamp = SystemClock.live.now,
        setClock: @escaping @Sendable (Timestamp) throws(WireGuardError) -> Void = Self.setSystemClock
    ) {
        self.floor = floor
        self.now = now
        self.setClock = setClock
    }

    /// Sets the clock forward to the floor and a margin if it is behind; never back.
    public func apply() throws(WireGuardError) -> Outcome {
        let bound = try floor()
        let before = now()
        guard before < bound else { return .satisfied }
        let target = bound + Self.marginSeconds
        do {
            try setClock(target)
            return .raised(from: before, to: target)
        } catch {
            return .refused(error)
        }
    }

    public static func setSystemClock(_ time: Timestamp) throws(WireGuardError) {
        var value = timespec(tv_sec: time_t(time.seconds), tv_nsec: 0)
        guard clock_settime(CLOCK_REALTIME, &value) == 0 else {
            throw .timeFloor(why: String(cString: strerror(errno)))
        }
    }
}

/// Which peers look locked out by a clock that once ran ahead, for a hub to add again.
///
/// Seen from the hub, such a device is one that shook hands and then fell silent; a dead link looks the same, and
/// adding a silent peer again costs it nothing. So: silent for longer than a device ever waits, no session left to
/// lose, and not tried again before a growing wait is over.
public struct LockoutPolicy: Sendable {
    /// WireGuard drops a session's keys after three times REJECT_AFTER_TIME, 180 s.
    public static let sessionSeconds: Int64 = 540
    /// Waits double from the silence that is asked for up to this.
    public static let maxWaitSeconds: Int64 = 86_400

    /// Seconds without a handshake after which a device should have polled several times.
    public var silenceSeconds: Int64

    public init(silenceSeconds: Int64) {
        self.silenceSeconds = max(silenceSeconds, Self.sessionSeconds)
    }

    /// Earlier attempts at one peer.
    public struct Attempts: Sendable, Equatable {
        public var count: Int
        public var last: Timestamp
        public init(count: Int, last: Timestamp) {
            self.count = count
            self.last = last
        }
    }

    /// Peers to add again now. `handshakes` are the last known ones: a peer that was added again reports none.
    public func candidates(
        handshakes: [PublicKey: Timestamp], attempts: [PublicKey: Attempts], now: Timestamp
    ) -> [PublicKey] {
        handshakes.compactMap { key, last in
            guard now - last > silenceSeconds else { return nil }
            if let earlier = attempts[key], earlier.last > last {
                let wait = min(Self.maxWaitSeconds, silenceSeconds << min(Int64(earlier.count), 16))
                guard now - earlier.last > wait else { return nil }
            }
            return key
        }
    }
}
