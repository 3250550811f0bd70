import Base
import HubCore
import HubReleases
import HubStore
import Model
import NIOConcurrencyHelpers
import Trust

/// One release assigned to every device of a database: signing, and what a device then fetches.
enum Assigning {
    static func run(_ path: String, _ folder: String) async throws {
        let fixture = try Fixture()
        let store = try SQLiteMetadataStore(path: path)
        let signers = [try Ed25519Signer(seed: Array(repeating: 5, count: 32))]
        let key = signers[0].publicKey
        let plan = RepositoryPlan.lab(root: key, targets: key, snapshot: key, timestamp: key)
        let releases = try Trust.Repository.initialize(path: folder, plan: plan, signers: signers)
        let lists = try Trust.Repository.initialize(path: folder, name: .director, plan: plan, signers: signers)
        for number in 1...2 {
            let document = Array("document \(number)".utf8)
            guard let version = SemanticVersion("\(number).0.0") else { throw Fixture.Impossible() }
            try releases.add(
                ReleaseTarget(
                    app: "shop", version: version, ctr: Int64(number), epoch: 0, digest: .sha256(document),
                    length: Int64(document.count)), document: document, signers: signers)
        }
        let fleet = try Fleet(id: FleetID("all"), selector: Selector("ring=stable"))
        try await store.commit(Commit([.put(fleet, expecting: .any)]))
        let director = Director(path: folder, signers: signers, store: store) {}
        try await director.apply()
        try await change("assigned to all", store, director, try assignment("all", .fleet(fleet.id), 1))
        let first = try await look(fixture, releases, lists, nil)
        print("a device's first look: \(first.bytes) bytes of the director, \(first.files) files")
        try await change("another release to all", store, director, try assignment("all", .fleet(fleet.id), 2))
        let second = try await look(fixture, releases, lists, first.state)
        print("after a change of its own: \(second.bytes) bytes, \(second.files) files")
        let one = try fixture.device(1)
        try await change("one device of its own", store, director, try assignment("one", .device(one.id), 1))
        let (wall, cpu) = (HubBench.now(), HubBench.cpu())
        try await director.apply()
        print("read anew, nothing to say: \(figures(wall, cpu))")
        for record in ["all", "one"] {
            try await store.commit(Commit([.delete(RecordKey(.assignment, record), expecting: .any)]))
        }
    }

    private static func assignment(_ id: String, _ target: Assignment.Target, _ number: Int) throws -> Assignment {
        guard let version = SemanticVersion("\(number).0.0") else { throw Fixture.Impossible() }
        return Assignment(
            id: try AssignmentID(id), target: target, app: try AppID("shop"), version: version,
            digest: .sha256(Array("document \(number)".utf8)), madeAt: Timestamp(seconds: 0))
    }

    private static func change(
        _ name: String, _ store: SQLiteMetadataStore, _ director: Director, _ assignment: Assignment
    ) async throws {
        let before = try await store.commit(Commit([])).sequence
        try await store.commit(Commit([.put(assignment, expecting: .any)]))
        let (wall, cpu) = (HubBench.now(), HubBench.cpu())
        try await director.follow(store.changes(after: before, limit: 100))
        print("\(name): \(figures(wall, cpu))")
    }

    private static func figures(_ wall: Double, _ cpu: Double) -> String {
        let peak = (try? HubBench.memory("VmHWM:")) ?? 0
        return "seconds \(HubBench.now() - wall) cpu_s \(HubBench.cpu() - cpu) peak_mib \(peak)"
    }

    /// What device 1 fetches of the director, by the verifier that devices run.
    private static func look(
        _ fixture: Fixture, _ releases: Trust.Repository, _ lists: Trust.Repository, _ state: TrustState?
    ) async throws -> (bytes: Int, files: Int, state: TrustState) {
        let counter = CountingFetcher(lists.metadataDirectory)
        let device = try fixture.device(1)
        let verifier = ReleaseVerifier(
            device: DeviceIdentity(id: device.id.text, labels: [:], architecture: "arm64"),
            policy: TrustPolicy(requiresDirector: true),
            clock: ClockReading(now: SystemClock.live.now(), isTrusted: true))
        let known =
            try state
            ?? TrustState.provision(
                releaseRoot: releases.rootBytes(), directorRoot: lists.rootBytes(), buildTime: Timestamp(seconds: 0))
        let offers = try await verifier.offers(
            from: TrustSources(
                release: DirectoryFetcher(releases.metadataDirectory), director: counter, isSideload: false),
            state: known
        ) { _ in }
        guard offers.chosen.count == 1 else { throw Fixture.Impossible() }
        let (bytes, files) = counter.counts
        return (bytes, files, offers.newState)
    }
}

private final class CountingFetcher: MetadataFetcher {
    private let source: DirectoryFetcher
    private let count = NIOLockedValueBox((bytes: 0, files: 0))

    init(_ path: String) { source = DirectoryFetcher(path) }

    var counts: (bytes: Int, files: Int) { count.withLockedValue { $0 } }

    func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        let bytes = try await source.fetchMetadata(name, maxLength: maxLength)
        if let bytes {
            count.withLockedValue {
                $0.bytes += bytes.count
                $0.files += 1
            }
        }
        return bytes
    }
}
