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

    /// A listener of the change feed.
    public func follow(_ changes: [RecordChange]?) async throws {
        let kinds: Set<RecordKind> = [.assignment, .fleet, .device, .release]
        guard changes?.contains(where: { kinds.contains($0.key.kind) }) ?? true else { return }
        try await apply()
    }

    /// Makes the repository say what the store says. Signs only when something differs.
    public func apply() async throws {
        let wanted = try await wanted()
        let said = try repository.assignments()
        var stale: [String: Set<String>] = [:]
        for entry in said where wanted[entry.device]?[entry.target.app] == nil {
            stale[entry.target.app, default: []].insert(entry.device)
        }
        var missing: [String: (target: ReleaseTarget, devices: [String])] = [:]
        let current = Set(said.map { "\($0.device) \($0.target.path) \($0.target.digest)" })
        for (device, targets) in wanted {
            for target in targets.values where !current.contains("\(device) \(target.path) \(target.digest)") {
                missing[target.path, default: (target, [])].devices.append(device)
            }
        }
        guard !stale.isEmpty || !missing.isEmpty else { return }
        for (app, devices) in stale.sorted(by: { $0.key < $1.key }) {
            try repository.unassign(devices.sorted(), app: app, signers: signers)
        }
        for (_, entry) in missing.sorted(by: { $0.key < $1.key }) {
            try repository.assign(entry.target, to: entry.devices.sorted(), signers: signers)
        }
        try await published()
    }

    /// By device and app. Where fleets contradict each other nothing is said, and so nothing changes on the device.
    private func wanted() async throws -> [String: [String: ReleaseTarget]] {
        let assignments = try await all(Assignments.self)
        guard !assignments.isEmpty else { return [:] }
        let fleets = try await all(Fleet.self)
        let listed = Dictionary(
            try releases.publishedReleases().map { ("\($0.app)/\($0.version)", $0) }, uniquingKeysWith: { $1 })
        var wanted: [String: [String: ReleaseTarget]] = [:]
        for device in try await all(Device.self) where device.state == .active {
            let outcomes = AssignmentRules.resolve(device, fleets: fleets, assignments: assignments)
            for (app, outcome) in outcomes {
                guard case .assigned(let assignment) = outcome,
                    let target = listed["\(app)/\(assignment.version)"], target.digest == assignment.digest
                else { continue }
                wanted[device.id.text, default: [:]][app.text] = target
            }
        }
        return wanted
    }

    private typealias Assignments = HubCore.Assignment

    private func all<Record: HubRecord>(_ type: Record.Type) async throws -> [Record] {
        var found: [Record] = []
        var cursor: String?
        repeat {
            let page = try await store.list(
                Record.kind, selector: .everything, after: cursor, limit: HubStoreLimits.page)
            for record in page.records { found.append(try Record(decoding: record.body)) }
            cursor = page.next
        } while cursor != nil
        return found
    }

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
