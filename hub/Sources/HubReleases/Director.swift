import Base
import HubCore
import HubStore
import Model
import Trust

/// The director repository: the hub's signed word on which device gets which release.
///
/// It follows the store: assignments, fleets and devices say what each device shall have, and what the repository
/// says otherwise is changed. A stolen hub can hold back or choose among signed releases, and no more than that.
public actor Director {
    private let repository: FleetDirector
    private let releases: Repository
    private let store: any MetadataStore
    private let published: @Sendable () async throws -> Void
    /// Nil before the first round and after one that failed.
    private var known: Knowledge?
    /// Whether all that was signed was told.
    private var isAnnounced = true
    /// The last round, which the next one waits for.
    private var turn: Task<Void, any Error>?

    /// - Parameter path: the folder whose `director` part this keeps, and whose release part lists the releases.
    public init(
        path: String, signers: [any Signer], store: any MetadataStore, fileSystem: FileSystem = FileSystem(),
        clock: SystemClock = .live, published: @escaping @Sendable () async throws -> Void
    ) {
        repository = FleetDirector(path: path, signers: signers, fileSystem: fileSystem, clock: clock)
        releases = Repository(path: path, fileSystem: fileSystem, clock: clock)
        self.store = store
        self.published = published
    }

    // MARK: Following

    /// A listener of the change feed: judges the devices that the changes can touch, and no others.
    public func follow(_ changes: [RecordChange]?) async throws {
        guard let changes else { return try await apply() }
        let kinds: Set<RecordKind> = [.assignment, .fleet, .device, .release]
        let keys = Set(changes.map(\.key).filter { kinds.contains($0.kind) })
        guard !keys.isEmpty else { return }
        try await inTurn { director in
            if director.known == nil { try await director.readAnew() } else { try await director.take(keys) }
        }
    }

    /// Makes the repository say what the store says, from all of both. Signs only when something differs.
    public func apply() async throws {
        try await inTurn { try await $0.readAnew() }
    }

    /// One after the other: what is known is only changed by one at a time.
    private func inTurn(_ work: @escaping @Sendable (isolated Director) async throws -> Void) async throws {
        let earlier = turn
        let next = Task {
            _ = await earlier?.result
            try await work(self)
        }
        turn = next
        try await next.value
    }

    private func readAnew() async throws {
        known = nil
        var now = Knowledge()
        try await store.each(Assignments.self) { now.assignments[$0.id] = $0 }
        try await store.each(Fleet.self) { now.fleets[$0.id] = $0 }
        try list(&now)
        var edit = AssignmentEdit(isWhole: true)
        if !now.assignments.isEmpty {
            var judge = Judge(now)
            try await store.eachBrief { try judge.set($0, in: &edit) }
        }
        try await write(edit)
        known = now
    }

    /// Takes changed records in. What fails halfway is read anew at the next change.
    private func take(_ keys: Set<RecordKey>) async throws {
        guard var now = known else { return }
        known = nil
        let records = try await store.get(Array(keys))
        var scope = Scope()
        for key in keys {
            let body = records[key]?.body
            switch key.kind {
            case .device: scope.devices.insert(key.id)
            case .assignment:
                let id = try AssignmentID(key.id)
                let next = try body.map { try Assignments(decoding: $0) }
                for assignment in [now.assignments[id], next] {
                    if let assignment { scope.targets.insert(assignment.target) }
                }
                now.assignments[id] = next
            case .fleet:
                let id = try FleetID(key.id)
                let next = try body.map { try Fleet(decoding: $0) }
                scope.selectors += [now.fleets[id], next].compactMap { $0?.selector }
                now.fleets[id] = next
            case .release:
                try list(&now)
                for assignment in now.assignments.values
                where ReleaseRecord.recordID(assignment.app, assignment.version) == key.id {
                    scope.targets.insert(assignment.target)
                }
            default: continue
            }
        }
        var edit = AssignmentEdit(isWhole: false)
        try await judge(scope, now, &edit)
        try await write(edit)
        known = now
    }

    private func judge(_ scope: Scope, _ now: Knowledge, _ edit: inout AssignmentEdit) async throws {
        var devices = scope.devices
        var selectors = Set(scope.selectors)
        for target in scope.targets {
            switch target {
            case .device(let id): devices.insert(id.text)
            case .fleet(let id): if let fleet = now.fleets[id] { selectors.insert(fleet.selector) }
            }
        }
        var judge = Judge(now)
        // A device that two fleets choose is judged twice, to the same end.
        for selector in selectors { try await store.eachBrief(selector) { try judge.set($0, in: &edit) } }
        let ids = devices.sorted()
        for start in stride(from: 0, to: ids.count, by: HubStoreLimits.page) {
            let page = ids[start..<min(start + HubStoreLimits.page, ids.count)]
            let records = try await store.get(page.map { RecordKey(.device, $0) })
            for id in page {
                if let record = records[RecordKey(.device, id)] {
                    try record.body.withUnsafeBytes { try DeviceBrief.read($0) { try judge.set($0, in: &edit) } }
                } else {
                    try edit.set(id, to: [])
                }
            }
        }
    }

    private func list(_ now: inout Knowledge) throws {
        now.listed = Dictionary(
            try releases.publishedReleases().map { ("\($0.app)/\($0.version)", $0) }, uniquingKeysWith: { $1 })
    }

    private func write(_ edit: AssignmentEdit) async throws { try await announce { try repository.apply(edit) } }

    /// What was signed is told even where signing ended with an error, or telling did: else it would be in force on the
    /// disk, and devices would hear of it with the next change.
    private func announce(_ work: () throws -> Bool) async throws {
        let before = isAnnounced
        isAnnounced = false
        if try work() || !before { try await published() }
        isAnnounced = true
    }

    private typealias Assignments = HubCore.Assignment

    /// What the last round left: a change then costs what it touches, however large the fleet.
    private struct Knowledge {
        var assignments: [AssignmentID: Assignments] = [:]
        var fleets: [FleetID: Fleet] = [:]
        /// Published releases, by app and version.
        var listed: [String: ReleaseTarget] = [:]
    }

    /// Says what devices shall have. Of those whose labels are the same it asks once.
    private struct Judge {
        private let rules: AssignmentRules
        private let listed: [String: ReleaseTarget]
        /// Numbers of sets of releases, by architecture and labels as rows have them.
        private var known: [[UInt8]: UInt16] = [:]

        init(_ now: Knowledge) {
            rules = AssignmentRules(fleets: now.fleets.values, assignments: now.assignments.values)
            listed = now.listed
        }

        mutating func set(_ device: DeviceBrief, in edit: inout AssignmentEdit) throws {
            try edit.set(device.idBytes, to: number(device, in: &edit))
        }

        private mutating func number(
            _ device: DeviceBrief, in edit: inout AssignmentEdit
        ) throws -> UInt16 {
            guard device.state == .active else { return try edit.number(of: []) }
            let id = try device.id
            if rules.hasOwn(id) { return try edit.number(of: targets(rules.resolve(id, labels: device.recordLabels))) }
            var key = Array(device.architectureBytes)
            key.append(0)
            key.append(contentsOf: device.labelBytes)
            if let number = known[key] { return number }
            let number = try edit.number(of: targets(rules.resolve(id, labels: device.recordLabels)))
            known[key] = number
            return number
        }

        /// Where fleets contradict each other nothing is said, and so nothing changes on the device.
        private func targets(_ outcomes: [AppID: AssignmentRules.Outcome]) -> [ReleaseTarget] {
            outcomes.compactMap { app, outcome in
                guard case .assigned(let assignment) = outcome,
                    let target = listed["\(app)/\(assignment.version)"], target.digest == assignment.digest
                else { return nil }
                return target
            }
        }
    }

    /// The devices that changes can touch.
    private struct Scope {
        var devices: Set<String> = []
        var targets: Set<Assignments.Target> = []
        /// Of fleets as they were and as they are.
        var selectors: [Selector] = []
    }

    // MARK: Renewal

    /// Signs what is over half of its life; called now and then.
    public func renew() async throws {
        try await inTurn { director in try await director.announce { try director.repository.renew() } }
    }
}
