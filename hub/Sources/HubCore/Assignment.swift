import Base
import Model

/// One app's release for one device or one fleet.
public struct Assignment: HubRecord, Hashable {
    public static let kind = RecordKind.assignment

    public enum Target: Hashable, Sendable, Codable {
        case device(DeviceID)
        case fleet(FleetID)
    }

    public var id: AssignmentID
    public var target: Target
    public var app: AppID
    public var version: SemanticVersion
    public var digest: Digest
    /// Among fleets the higher wins.
    public var priority: Int
    public var madeAt: Timestamp

    public init(
        id: AssignmentID, target: Target, app: AppID, version: SemanticVersion, digest: Digest, priority: Int = 0,
        madeAt: Timestamp
    ) {
        self.id = id
        self.target = target
        self.app = app
        self.version = version
        self.digest = digest
        self.priority = priority
        self.madeAt = madeAt
    }

    public var recordID: String { id.text }
    public var recordLabels: Labels { (try? Labels(["app": app.text])) ?? Labels() }
}

/// Who gets what: assignments by what they are for, so that a device is judged by those that can be its own.
public struct AssignmentRules: Sendable {
    public enum Outcome: Hashable, Sendable {
        case assigned(Assignment)
        /// Several fleets of one priority ask for different releases: nothing changes until a person decides.
        case conflict([AssignmentID])
    }

    private var byDevice: [DeviceID: [Assignment]] = [:]
    private var byFleet: [(fleet: Fleet, assignments: [Assignment])] = []

    /// - Parameter fleets: those that are not there choose no device.
    public init(fleets: some Sequence<Fleet>, assignments: some Sequence<Assignment>) {
        var ofFleet: [FleetID: [Assignment]] = [:]
        for assignment in assignments {
            switch assignment.target {
            case .device(let id): byDevice[id, default: []].append(assignment)
            case .fleet(let id): ofFleet[id, default: []].append(assignment)
            }
        }
        for fleet in fleets {
            if let assigned = ofFleet[fleet.id] { byFleet.append((fleet, assigned)) }
        }
    }

    /// Per app what `device` shall run. The device's own assignment wins over every fleet's, the later of two;
    /// among fleets the highest priority.
    public func resolve(_ device: Device) -> [AppID: Outcome] {
        guard device.state == .active else { return [:] }
        return resolve(device.id, labels: device.recordLabels)
    }

    /// Whether a device has assignments of its own; one that has none is judged by its labels alone.
    public func hasOwn(_ device: DeviceID) -> Bool { byDevice[device] != nil }

    /// The same of an active device, by its id and its ``Device/recordLabels``.
    public func resolve(_ device: DeviceID, labels: Labels) -> [AppID: Outcome] {
        var candidates: [AppID: [Assignment]] = [:]
        for (fleet, assignments) in byFleet where fleet.selector.matches(labels) {
            for assignment in assignments { candidates[assignment.app, default: []].append(assignment) }
        }
        var outcomes = candidates.compactMapValues(Self.strongest)
        let own = (byDevice[device] ?? []).sorted { ($0.madeAt, $0.id) < ($1.madeAt, $1.id) }
        for assignment in own { outcomes[assignment.app] = .assigned(assignment) }
        return outcomes
    }

    private static func strongest(_ candidates: [Assignment]) -> Outcome? {
        guard let priority = candidates.map(\.priority).max() else { return nil }
        let top = candidates.filter { $0.priority == priority }.sorted { $0.id < $1.id }
        guard Set(top.map(\.digest)).count == 1 else { return .conflict(top.map(\.id)) }
        return top.first.map { .assigned($0) }
    }
}
