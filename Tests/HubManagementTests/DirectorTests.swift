import Base
import HubCore
import HubProtocol
import HubReleases
import HubStore
import Model
import NIOConcurrencyHelpers
import TestSupport
import Testing
import Trust
import WireGuard

/// The director follows the store by what changed; reading all of it anew has to say the same.
@Suite struct DirectorTests {
    let folder: TemporaryDirectory
    let store: CountingStore
    let director: Director
    let repository: Trust.Repository
    let signers: [Ed25519Signer]

    init() async throws {
        folder = try TemporaryDirectory()
        store = CountingStore(try SQLiteMetadataStore(path: folder.path + "/hub.db"))
        signers = [try Ed25519Signer(seed: Array(repeating: 5, count: 32))]
        let key = signers[0].publicKey
        let plan = RepositoryPlan.lab(root: key, targets: key, snapshot: key, timestamp: key)
        let releases = try Trust.Repository.initialize(path: folder.path + "/repository", plan: plan, signers: signers)
        for version in ["1.0.0", "2.0.0"] {
            let document = Array("document \(version)".utf8)
            try releases.add(
                ReleaseTarget(
                    app: "shop", version: try #require(SemanticVersion(version)), ctr: version == "1.0.0" ? 1 : 2,
                    epoch: 0, digest: .sha256(document), length: Int64(document.count)), document: document,
                signers: signers)
        }
        repository = try Trust.Repository.initialize(
            path: folder.path + "/repository", name: .director, plan: plan, signers: signers)
        director = Director(path: folder.path + "/repository", signers: signers, store: store) {}
        try await director.apply()
    }

    // MARK: Changes

    private func device(_ number: Int, _ labels: Labels, state: Device.State = .active) throws -> Device {
        let key = WireGuard.PublicKey(bytes: Digest.sha256([9, UInt8(number)]).bytes)
        return Device(
            id: try DeviceID("d-\(number)"), state: state, labels: labels, architecture: "arm64", hostName: "pump",
            signingKey: Digest.sha256([UInt8(number)]).hex,
            key: try #require(key), site: 1,
            index: UInt64(number), token: try #require(EnrolmentTokenID(bytes: Array(repeating: 1, count: 16))),
            enrolledAt: Timestamp(seconds: 0))
    }

    private func assignment(_ id: String, _ target: Assignment.Target, _ version: String) throws -> Assignment {
        Assignment(
            id: try AssignmentID(id), target: target, app: try AppID("shop"),
            version: try #require(SemanticVersion(version)), digest: .sha256(Array("document \(version)".utf8)),
            madeAt: Timestamp(seconds: 0))
    }

    /// Commits and lets the director follow, as the change feed does.
    private func commit(_ writes: Commit.Write...) async throws {
        let before = try await store.commit(Commit([])).sequence
        _ = try await store.commit(Commit(writes))
        try await director.follow(store.changes(after: before, limit: 100))
    }

    private func said() throws -> [String] {
        try repository.assignments().map { "\($0.device) \($0.target.version)" }
    }

    // MARK: Tests

    @Test func aChangeOfOneDeviceReadsThatDeviceAlone() async throws {
        for number in 1...3 { try await commit(.put(device(number, ["fleet": "edge"]), expecting: .absent)) }
        try await commit(.put(Fleet(id: FleetID("edge")), expecting: .absent))
        try await commit(.put(assignment("a", .fleet(FleetID("edge")), "1.0.0"), expecting: .absent))
        #expect(try said() == ["d-1 1.0.0", "d-2 1.0.0", "d-3 1.0.0"])
        let lists = store.lists
        try await commit(.put(device(2, ["fleet": "yard"]), expecting: .any))
        #expect(try said() == ["d-1 1.0.0", "d-3 1.0.0"])
        try await commit(.put(device(4, ["fleet": "edge"]), expecting: .any))
        #expect(try said() == ["d-1 1.0.0", "d-3 1.0.0", "d-4 1.0.0"])
        try await commit(.put(assignment("b", .device(DeviceID("d-1")), "2.0.0"), expecting: .absent))
        #expect(try said() == ["d-1 2.0.0", "d-3 1.0.0", "d-4 1.0.0"])
        #expect(store.lists == lists, "something was listed")
    }

    /// Else devices would hear of it with the next change, whenever that is.
    @Test func whatCouldNotBeToldWhenItWasSignedIsToldLater() async throws {
        let told = NIOLockedValueBox((count: 0, fails: false))
        let director = Director(path: folder.path + "/repository", signers: signers, store: store) {
            try told.withLockedValue {
                if $0.fails { throw FileSystemError(operation: "read", path: "timestamp.json", errno: 24) }
                $0.count += 1
            }
        }
        try await commit(.put(device(1, [:]), expecting: .absent))
        try await director.apply()
        #expect(told.withLockedValue { $0.count } == 0)
        told.withLockedValue { $0.fails = true }
        _ = try await store.commit(
            Commit([.put(assignment("a", .device(DeviceID("d-1")), "1.0.0"), expecting: .absent)]))
        await #expect(throws: FileSystemError.self) { try await director.apply() }
        #expect(try said() == ["d-1 1.0.0"])
        told.withLockedValue { $0.fails = false }
        try await director.apply()
        #expect(told.withLockedValue { $0.count } == 1)
        try await director.apply()
        #expect(told.withLockedValue { $0.count } == 1)
    }

    @Test func whatFollowingSaysIsWhatReadingAllSays() async throws {
        var generator = SplitMix64(seed: 11)
        let rings = ["canary", "stable", "none"]
        for step in 0..<60 {
            let number = Int.random(in: 1...6, using: &generator)
            let ring = rings[Int.random(in: 0..<3, using: &generator)]
            let version = Bool.random(using: &generator) ? "1.0.0" : "2.0.0"
            let fleet = try FleetID(Bool.random(using: &generator) ? "canary" : "stable")
            switch Int.random(in: 0..<7, using: &generator) {
            case 0, 1: try await commit(.put(device(number, ["ring": ring]), expecting: .any))
            case 2: try await commit(.put(device(number, ["ring": ring], state: .revoked), expecting: .any))
            case 3: try await commit(.delete(RecordKey(.device, "d-\(number)"), expecting: .any))
            case 4: try await commit(.put(Fleet(id: fleet, selector: Selector("ring=\(ring)")), expecting: .any))
            case 5: try await commit(.put(assignment("f-\(fleet)", .fleet(fleet), version), expecting: .any))
            default:
                try await commit(
                    .put(assignment("d-\(number)", .device(DeviceID("d-\(number)")), version), expecting: .any))
            }
            guard step % 10 == 9 else { continue }
            let followed = try said()
            try await director.apply()
            #expect(try said() == followed, "after step \(step)")
        }
        #expect(try !said().isEmpty)
        for id in ["f-canary", "f-stable"] + (1...6).map({ "d-\($0)" }) {
            try await commit(.delete(RecordKey(.assignment, id), expecting: .any))
        }
        #expect(try said().isEmpty)
    }
}

/// A store that counts how often records are listed.
final class CountingStore: MetadataStore {
    private let store: SQLiteMetadataStore
    private let count = NIOLockedValueBox(0)

    init(_ store: SQLiteMetadataStore) { self.store = store }

    var lists: Int { count.withLockedValue { $0 } }

    func list(_ kind: RecordKind, selector: Selector, after cursor: String?, limit: Int) async throws -> RecordPage {
        count.withLockedValue { $0 += 1 }
        return try await store.list(kind, selector: selector, after: cursor, limit: limit)
    }
    func get(_ keys: [RecordKey]) async throws -> [RecordKey: StoredRecord] { try await store.get(keys) }
    func commit(_ commit: Commit) async throws -> CommitReceipt { try await store.commit(commit) }
    func changes(after sequence: Int64, limit: Int) async throws -> [RecordChange] {
        try await store.changes(after: sequence, limit: limit)
    }
    func events(from index: Int64, limit: Int) async throws -> [StoredEvent] {
        try await store.events(from: index, limit: limit)
    }
    func ingest(_ segments: [ReportSegment]) async throws -> [IngestOutcome] { try await store.ingest(segments) }
    func segments(after position: Int64, limit: Int) async throws -> [StoredSegment] {
        try await store.segments(after: position, limit: limit)
    }
    func acquire(_ name: String, holder: String, seconds: Int64, now: Timestamp) async throws -> LeaseOutcome {
        try await store.acquire(name, holder: holder, seconds: seconds, now: now)
    }
    func release(_ lease: Lease) async throws { try await store.release(lease) }
}
