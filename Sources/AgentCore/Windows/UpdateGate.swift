import Base
import Model
import Trust

/// Judges whether the windows of the device and of a release let it fetch or apply now. Both must be open.
public struct UpdateGate: Sendable {
    public enum Action: Sendable { case download, apply }

    /// The device's own.
    private let windows: MaintenanceWindows
    /// Whether windows count as open while nobody vouches for the clock.
    private let isOpenWithoutClock: Bool
    private let clockReading: @Sendable () -> ClockReading
    private let zones: String

    /// - Parameter zones: folder of the time zone database.
    public init(
        windows: MaintenanceWindows = MaintenanceWindows(), isOpenWithoutClock: Bool = false,
        clockReading: @escaping @Sendable () -> ClockReading = {
            ClockReading(now: Timestamp(seconds: 0), isTrusted: false)
        },
        zones: String = "/usr/share/zoneinfo"
    ) {
        self.windows = windows
        self.isOpenWithoutClock = isOpenWithoutClock
        self.clockReading = clockReading
        self.zones = zones
    }

    /// Nil when nothing holds the action back.
    public func hold(_ action: Action, of release: Release?) -> Hold? {
        let lists = [windows, release?.update.windows].compactMap { $0 }.compactMap { windows in
            let list = action == .download ? windows.download : windows.apply
            return list.isEmpty ? nil : (zone: windows.timeZone, windows: list)
        }
        if lists.isEmpty { return nil }
        let reading = clockReading()
        guard reading.isTrusted else { return isOpenWithoutClock ? nil : .untrustedClock }
        var hold: Hold?
        for list in lists {
            guard let zone = TimeZoneRules.load(list.zone, directory: zones) else { return .unknownTimeZone(list.zone) }
            guard case .closed(let opens) = WindowSchedule(windows: list.windows, zone: zone).state(at: reading.now)
            else {
                continue
            }
            let next = Hold.window(opens: opens, secondsLeft: opens.map { $0 - reading.now })
            // The later one is when both may be open.
            if let present = hold?.secondsLeft, let seconds = next.secondsLeft, present >= seconds { continue }
            hold = next
        }
        return hold
    }
}
