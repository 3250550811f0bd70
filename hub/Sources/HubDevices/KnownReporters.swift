import HubCore
import HubReports
import NIOConcurrencyHelpers

/// Keys of devices that reported lately, made ready: a report then needs nothing from the store but its own place.
///
/// An id that was deleted and enrolled anew has other tunnel keys, since none is bound twice; what is kept of the former
/// device is then not found.
final class KnownReporters: Sendable {
    /// Devices kept; about a kibibyte and a half each. Beyond, all go: those that go on reporting are back at once.
    static let limit = 8_192

    private struct Entry {
        var row: DeviceDirectory.Row
        var reporter: ReportingDevice
    }
    private let entries = NIOLockedValueBox<[DeviceID: Entry]>([:])

    func find(_ row: DeviceDirectory.Row) -> ReportingDevice? {
        entries.withLockedValue { $0[row.id] }.flatMap { $0.row.hasKeys(of: row) ? $0.reporter : nil }
    }

    func keep(_ reporter: ReportingDevice, for row: DeviceDirectory.Row) {
        entries.withLockedValue { entries in
            if entries.count >= Self.limit { entries.removeAll(keepingCapacity: true) }
            entries[row.id] = Entry(row: row, reporter: reporter)
        }
    }
}

extension DeviceDirectory.Row {
    fileprivate func hasKeys(of other: Self) -> Bool { keys.even == other.keys.even && keys.odd == other.keys.odd }
}
