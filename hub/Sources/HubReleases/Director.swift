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
    /// Part of a role's life after which it is signed anew.
    static let renewal = 0.5

    private let repository: Repository
    private let releases: Repository
    private let signers: [any Signer]
    private let store: any MetadataStore
    private let clock: SystemClock
    private let published: @Sendable () async throws -> Void
    /// Nil before the first round and after one that failed.
    private var known: Knowledge?
    /// The last round, which the next one waits for.
    private var turn: Task<Void, any Error>?

    /// - Parameter path: the folder whose `director` part this keeps, and whose release part lists the releases.
    public init(
        path: String, signers: [any Signer], store: any MetadataStore, fileSystem: FileSystem = FileSystem(),
        clock: SystemClock = .live, published: @escaping @Sendable () async throws -> Void
    ) {
        repository = Repository(path: path, name: .director, fileSystem: fileSystem, clock: clock)
        releases = Repository(path: path, fileSystem: fileSystem, clock: clock)
        self.signers = signers
        self.store = store
        self.clock = clock
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
        for entry in try repository.assignments() {
            now.said[entry.device, default: [:]][entry.target.app] = entry.target
        }
        let rules = now.rules
        var edit = Edit()
        var unseen = Set(now.said.keys)
        if !now.assignments.isEmpty || !now.said.isEmpty {
            try await store.each(Device.self) { device in
                unseen.remove(device.id.text)
                edit.judge(device.id.text, said: now.said, wanted: now.targets(rules.resolve(device)))
            }
        }
        for device in unseen { edit.judge(device, said: now.said, wanted: [:]) }
        try await write(edit, &now)
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
        var edit = Edit()
        try await judge(scope, now, &edit)
        try await write(edit, &now)
        known = now
    }

    private func judge(_ scope: Scope, _ now: Knowledge, _ edit: inout Edit) async throws {
        var devices = scope.devices
        var selectors = Set(scope.selectors)
        for target in scope.targets {
            switch target {
            case .device(let id): devices.insert(id.text)
            case .fleet(let id): if let fleet = now.fleets[id] { selectors.insert(fleet.selector) }
            }
        }
        let rules = now.rules
        var judged: Set<String> = []
        for selector in selectors {
            try await store.each(Device.self, selector) { device in
                guard judged.insert(device.id.text).inserted else { return }
                edit.judge(device.id.text, said: now.said, wanted: now.targets(rules.resolve(device)))
            }
        }
        let rest = devices.subtracting(judged).sorted()
        for start in stride(from: 0, to: rest.count, by: HubStoreLimits.page) {
            let ids = rest[start..<min(start + HubStoreLimits.page, rest.count)]
            let records = try await store.get(ids.map { RecordKey(.device, $0) })
            for id in ids {
                let device = try records[RecordKey(.device, id)].map { try Device(decoding: $0.body) }
                let wanted = device.map { now.targets(rules.resolve($0)) } ?? [:]
                edit.judge(id, said: now.said, wanted: wanted)
            }
        }
    }

    private func list(_ now: inout Knowledge) throws {
        now.listed = Dictionary(
            try releases.publishedReleases().map { ("\($0.app)/\($0.version)", $0) }, uniquingKeysWith: { $1 })
    }

    private func write(_ edit: Edit, _ now: inout Knowledge) async throws {
        guard !edit.stale.isEmpty || !edit.missing.isEmpty else { return }
        for (app, devices) in edit.stale.sorted(by: { $0.key < $1.key }) {
            try repository.unassign(devices.sorted(), app: app, signers: signers)
            for device in devices { now.said[device]?[app] = nil }
        }
        for (_, entry) in edit.missing.sorted(by: { $0.key < $1.key }) {
            try repository.assign(entry.target, to: entry.devices.sorted(), signers: signers)
            for device in entry.devices { now.said[device, default: [:]][entry.target.app] = entry.target }
        }
        try await published()
    }

    private typealias Assignments = HubCore.Assignment

    /// What the last round left: a change then costs what it touches, however large the fleet.
    private struct Knowledge {
        var assignments: [AssignmentID: Assignments] = [:]
        var fleets: [FleetID: Fleet] = [:]
        /// Published releases, by app and version.
        var listed: [String: ReleaseTarget] = [:]
        /// What the repository says, by device and app.
        var said: [String: [String: ReleaseTarget]] = [:]

        var rules: AssignmentRules { AssignmentRules(fleets: fleets.values, assignments: assignments.values) }

        /// By app. Where fleets contradict each other nothing is said, and so nothing changes on the device.
        func targets(_ outcomes: [AppID: AssignmentRules.Outcome]) -> [String: ReleaseTarget] {
            var targets: [String: ReleaseTarget] = [:]
            for (app, outcome) in outcomes {
                guard case .assigned(let assignment) = outcome,
                    let target = listed["\(app)/\(assignment.version)"], target.digest == assignment.digest
                else { continue }
                targets[app.text] = target
            }
            return targets
        }
    }

    /// The devices that changes can touch.
    private struct Scope {
        var devices: Set<String> = []
        var targets: Set<Assignments.Target> = []
        /// Of fleets as they were and as they are.
        var selectors: [Selector] = []
    }

    /// What the repository has to say otherwise.
    private struct Edit {
        /// Devices by the app that they shall have no more.
        var stale: [String: Set<String>] = [:]
        /// By path.
        var missing: [String: (target: ReleaseTarget, devices: [String])] = [:]

        mutating func judge(
            _ device: String, said: [String: [String: ReleaseTarget]], wanted: [String: ReleaseTarget]
        ) {
            let said = said[device] ?? [:]
            for app in said.keys where wanted[app] == nil { stale[app, default: []].insert(device) }
            for (app, target) in wanted where said[app]?.path != target.path || said[app]?.digest != target.digest {
                missing[target.path, default: (target, [])].devices.append(device)
            }
        }
    }

    // MARK: Renewal

    /// Signs what is over half of its life; called now and then.
    public func renew() async throws {
        let now = clock.now()
        let roles = try repository.status().roles
        let days = RepositoryPlan.defaultDays
        let lives = ["targets": days.targets, "snapshot": days.snapshot, "timestamp": days.timestamp]
        let due = roles.filter { role in
            guard let expires = role.expires, let life = lives[role.name] else { return false }
            return Double(expires - now) < Double(life) * 86_400 * Self.renewal
        }
        guard !due.isEmpty else { return }
        try repository.refresh(due.map(\.name), signers: signers)
        try await published()
    }
}
