/// Gives each device its own moment of the poll interval, so that a fleet's polls are an even stream.
///
/// The slot follows from the device's id alone: it needs no memory and survives restarts. A device that
/// strayed, after an outage or a start, is led back to its slot by longer waits only, never by shorter ones: when
/// a whole fleet is led back at once, no moment then sees more polls than the steady rate.
public struct PollSchedule: Sendable, Equatable {
    /// Seconds between polls of an idle device.
    public var interval: Double
    /// Seconds between polls of a device that is in the middle of an update.
    public var updatingInterval: Double

    public init(interval: Double = 300, updatingInterval: Double = 10) {
        self.interval = interval
        self.updatingInterval = updatingInterval
    }

    /// 0 up to `interval`, in seconds.
    public func slot(of device: DeviceID) -> Double { slot(hash: Self.hash(device)) }

    private func slot(hash: UInt64) -> Double { Double(hash >> 11) / Double(1 << 53) * interval }

    /// The longest detour of one answer towards the slot, and how far from it a device may be to count as in it
    /// (a device adds a little chance to each wait). Both are parts of the interval.
    static let step = 0.5
    static let tolerance = 0.05

    /// `next_poll_s` of an answer at `now` (seconds on any clock that all of the hub shares): one interval, and up
    /// to half of one more on the way to the device's slot.
    public func nextPoll(of device: DeviceID, now: Double, isUpdating: Bool = false) -> Double {
        nextPoll(hash: Self.hash(device), now: now, isUpdating: isUpdating)
    }

    /// As above, of a device whose ``hash(_:)`` is known.
    public func nextPoll(hash: UInt64, now: Double, isUpdating: Bool = false) -> Double {
        if isUpdating { return updatingInterval }
        // To the nearest slot, -interval/2 up to interval/2.
        let distance = (slot(hash: hash) - now).remainder(dividingBy: interval)
        if abs(distance) <= Self.tolerance * interval { return interval + distance }
        return interval + min(distance < 0 ? distance + interval : distance, Self.step * interval)
    }

    /// FNV-1a with the finaliser of SplitMix64: equal on every machine and version, unlike `Hasher`.
    public static func hash(_ device: DeviceID) -> UInt64 {
        var value: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in device.text.utf8 { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
