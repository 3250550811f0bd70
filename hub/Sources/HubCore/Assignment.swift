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

/// Who gets what.
public enum AssignmentRules {
    public enum Outcome: Hashable, Sendable {
        case assigned(Assignment)
        /// Several fleets of one priority ask for different releases: nothing changes until a person decides.
        case conflict([AssignmentID])
    }

    /// Per app what `device` shall run. The device's own assignment wins over every fleet's, the later of two;
    /// among fleets the highest priority.
    public static func resolve(
        _ device: Device, fleets: [Fleet], assignments: [Assignment]
    ) -> [AppID: Outcome] {
        let member = Set(fleets.filter { $0.contains(device) }.map(\.id))
        var own: [AppID: Assignment] = [:]
        var byFleet: [AppID: [Assignment]] = [:]
        for assignment in assignments {
            switch assignment.target {
            case .device(device.id) where device.state == .active:
                if let other = own[assignment.app], (other.madeAt, other.id) > (assignment.madeAt, assignment.id) {
                    continue
                }
                own[assignment.app] = assignment
            case .fleet(let fleet) where member.contains(fleet):
                byFleet[assignment.app, default: []].append(assignment)
            default: continue
            }
        }
        return byFleet.compactMapValues(strongest).merging(own.mapValues { .assigned($0) }) { $1 }
    }

    private static func strongest(_ candidates: [Assignment]) -> Outcome? {
        guard let priority = candidates.map(\.priority).max() else { return nil }
        let top = candidates.filter { $0.priority == priority }.sorted { $0.id < $1.id }
        guard Set(top.map(\.digest)).count == 1 else { return .conflict(top.map(\.id)) }
        return top.first.map { .assigned($0) }
    }
}
