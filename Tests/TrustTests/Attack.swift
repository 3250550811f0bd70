import Base
import Glibc
import Model
import Testing

@testable import Trust

/// The clocks of the attack table.
enum ClockState: String, CaseIterable, Sendable {
    case right, y1970 = "1970", ahead = "+20 years", backwards, frozen

    var meaning: String {
        switch self {
        case .right: "vouched for, and right"
        case .y1970: "a device without a battery after a power cut; not vouched for"
        case .ahead: "a clock 20 years ahead; not vouched for"
        case .backwards: "vouched for, but behind the time floor, so not believed"
        case .frozen: "stands at the time floor; not vouched for"
        }
    }

    /// The reading when the true time is `now` and the floor is `floor`.
    func reading(now: Timestamp, floor: Timestamp) -> ClockReading {
        switch self {
        case .right: ClockReading(now: now, isTrusted: true)
        case .y1970: ClockReading(now: Timestamp(seconds: 0), isTrusted: false)
        case .ahead: ClockReading(now: now + 20 * 365 * 86_400, isTrusted: false)
        case .backwards: ClockReading(now: floor + -86_400, isTrusted: true)
        case .frozen: ClockReading(now: floor, isTrusted: false)
        }
    }
}

enum Channel: String, CaseIterable, Sendable { case http = "HTTP", folder }

/// What becomes of an attack.
enum Verdict: Equatable, Sendable, CustomStringConvertible {
    case refused(TrustError.Reason)
    case accepted(Freshness)

    var description: String {
        switch self {
        case .refused(let reason): "refused (`trust.\(reason.rawValue)`)"
        case .accepted(let freshness): "accepted, `\(freshness.rawValue)`"
        }
    }
}

/// One attack of the TUF list: how the repository is changed after the device has refreshed once, and what the
/// device must make of it.
struct Attack: Sendable {
    var name: String
    var what: String
    var why: String
    /// Changes what the device is served.
    var prepare: @Sendable (inout Stage) throws -> Void
    var verdict: @Sendable (Channel, ClockState) -> Verdict
    /// Seconds that have truly passed since the repository's last honest signature.
    var age: Int64 = 3600

    static func always(_ reason: TrustError.Reason) -> @Sendable (Channel, ClockState) -> Verdict {
        { _, _ in .refused(reason) }
    }
}

/// A repository, its attacker's view of it, and a device that has refreshed once.
struct Stage: Sendable {
    let lab: LabRepository
    /// Metadata as served: by name.
    var served: [String: [UInt8]]
    var documents: [String: [UInt8]] = [:]
    var isSlow = false
    /// Over HTTP timestamp metadata has no end; in a folder it is as long as ``served`` has it.
    var isEndless = false

    init(_ lab: LabRepository) throws {
        self.lab = lab
        served = [:]
        try reload()
    }

    mutating func reload() throws {
        served = [:]
        let fileSystem = FileSystem()
        for name in try fileSystem.list(lab.repository.metadataDirectory) {
            served[name] = try fileSystem.read(Path.join(lab.repository.metadataDirectory, name), limit: 1 << 20)
        }
    }

    /// Changes a served document and, when `signers` are given, signs it again by them.
    mutating func forge(
        _ name: String, as newName: String? = nil, signers: [any Signer], change: (inout MetadataDraft) throws -> Void
    ) throws {
        let bytes = try #require(served[name])
        var draft = try MetadataDraft(parsing: bytes, element: name)
        try change(&draft)
        draft.signatures = []
        _ = try draft.sign(name, by: signers, allowed: Set(signers.map(\.keyID)))
        served[newName ?? name] = try draft.bytes(name)
    }

    /// Honestly publishes one more release, so that the device has something to fetch.
    mutating func release(_ version: String, ctr: Int64) throws {
        try lab.add("web", version, ctr: ctr)
        try reload()
    }

    var root: any Signer { lab.signers[0] }
    var targets: any Signer { lab.signers[1] }
    var snapshot: any Signer { lab.signers[2] }
    var timestamp: any Signer { lab.signers[3] }

    /// A whole consistent chain below `targets`, made by whoever holds snapshot's and timestamp's keys.
    mutating func republish(targetsBytes: [UInt8], targetsVersion: Int64, snapshotVersion: Int64, timestampVersion: Int64) throws {
        served["\(targetsVersion).targets.json"] = targetsBytes
        try forge("2.snapshot.json", as: "\(snapshotVersion).snapshot.json", signers: [snapshot]) {
            $0.signed["version"] = .integer(snapshotVersion)
            $0.signed["meta"] = ["targets.json": ["version": .integer(targetsVersion)]]
        }
        try forge("timestamp.json", signers: [timestamp]) {
            $0.signed["version"] = .integer(timestampVersion)
            $0.signed["meta"] = ["snapshot.json": ["version": .integer(snapshotVersion)]]
        }
    }
}

/// A stage in a folder of its own. A stick that dies under the reader cannot be made here: its read fails instead.
struct StageFolder: MetadataFetcher {
    private let scratch: Scratch
    private let folder: DirectoryFetcher
    private let isDying: Bool

    init(_ stage: Stage) throws {
        scratch = try Scratch()
        for (name, bytes) in stage.served {
            try FileSystem().replace(scratch.sub(MetadataName.encoded(name)), with: bytes, op: "test.stage")
        }
        folder = DirectoryFetcher(scratch.path)
        isDying = stage.isSlow
    }

    func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        if isDying, name == "timestamp.json" { throw FileSystemError(operation: "read", path: name, errno: EIO) }
        return try await folder.fetchMetadata(name, maxLength: maxLength)
    }
}

let secondsPerDay: Int64 = 86_400

/// The table. Tests are generated from it, and so is the table in `docs/trust.md`.
let attacks: [Attack] = [
    Attack(
        name: "None", what: "The repository is as it should be.",
        why: "Unexpired by a clock that is vouched for is `fresh`; any other clock leaves freshness unknown.",
        prepare: { _ in },
        verdict: { _, clock in .accepted(clock == .right ? .fresh : .unknown) }),
    Attack(
        name: "Arbitrary software", what: "The release document is replaced by the attacker's.",
        why: "Its hash is not the one that the targets role signed.",
        prepare: { $0.documents["web/2.0.0.release.json"] = [UInt8](repeating: 0x20, count: 400) },
        verdict: Attack.always(.lengthMismatch)),
    Attack(
        name: "Wrong hash", what: "The release document is changed in one byte, its length kept.",
        why: "Its hash is not the one that the targets role signed.",
        prepare: { stage in
            var bytes = try releaseFixture("web", "2.0.0", ctr: 2).1
            bytes[bytes.count / 2] ^= 1
            stage.documents["web/2.0.0.release.json"] = bytes
        }, verdict: Attack.always(.hashMismatch)),
    Attack(
        name: "Forged targets", what: "Targets metadata lists more and is signed by a key of the attacker's.",
        why: "The snapshot names another hash; without one the signature would be short of the threshold.",
        prepare: { stage in
            try stage.release("2.0.1", ctr: 3)
            try stage.forge("4.targets.json", signers: [signer(99)]) { $0.signed["expires"] = "2099-01-01T00:00:00Z" }
        }, verdict: Attack.always(.hashMismatch)),
    Attack(
        name: "Rollback of timestamp", what: "An older timestamp, rightly signed, is served.",
        why: "A version below the trusted one is refused (5.4.3.1).",
        prepare: { stage in
            try stage.forge("timestamp.json", signers: [stage.timestamp]) { $0.signed["version"] = 1 }
        }, verdict: Attack.always(.rollback)),
    Attack(
        name: "Rollback of snapshot", what: "A new timestamp points at an older snapshot.",
        why: "The snapshot version that a timestamp names may not fall (5.4.3.2).",
        prepare: { stage in
            try stage.forge("timestamp.json", signers: [stage.timestamp]) {
                $0.signed["version"] = 9
                $0.signed["meta"] = ["snapshot.json": ["version": 1]]
            }
        }, verdict: Attack.always(.rollback)),
    Attack(
        name: "Rollback of targets", what: "A new snapshot lists older targets metadata.",
        why: "No entry of a snapshot may fall or go missing (5.5.5).",
        prepare: { stage in
            let old = try #require(stage.served["2.targets.json"])
            try stage.republish(targetsBytes: old, targetsVersion: 2, snapshotVersion: 9, timestampVersion: 9)
        }, verdict: Attack.always(.rollback)),
    Attack(
        name: "Indefinite freeze", what: "The same old metadata is served for months; all of it but root and targets has expired.",
        why: """
            By a right clock timestamp is expired: over HTTP refused; carried by hand accepted as `stale`, since a \
            stick is older than the network. A clock that proves nothing cannot tell: the device says `unknown`, \
            and a freshness ticket settles it.
            """,
        prepare: { _ in },
        verdict: { channel, clock in
            guard clock == .right else { return .accepted(.unknown) }
            return channel == .http ? .refused(.expired) : .accepted(.stale)
        }, age: 60 * secondsPerDay),
    Attack(
        name: "Freeze past the floor", what: "As before, and the device has since learnt a later time from signed metadata.",
        why: """
            `expires` at or below the time floor is certainly past, whatever the clock says: over HTTP refused; \
            carried by hand accepted as `stale`.
            """,
        prepare: { stage in
            try stage.forge("timestamp.json", signers: [stage.timestamp]) {
                $0.signed["version"] = 9
                $0.signed["expires"] = .string((testNow + -1).description)
            }
        },
        verdict: { channel, _ in channel == .http ? .refused(.expired) : .accepted(.stale) }),
    Attack(
        name: "Expired root or targets", what: "Targets metadata is certainly expired.",
        why: "What offline keys vouch for ends at its expiry, by whatever way it came: certainly past is refused.",
        prepare: { stage in
            try stage.forge("3.targets.json", as: "4.targets.json", signers: [stage.targets]) {
                $0.signed["version"] = 4
                $0.signed["expires"] = .string((testNow + -1).description)
            }
            let bytes = try #require(stage.served["4.targets.json"])
            try stage.republish(targetsBytes: bytes, targetsVersion: 4, snapshotVersion: 9, timestampVersion: 9)
        }, verdict: Attack.always(.expired)),
    Attack(
        name: "Mix and match", what: "Targets metadata of another moment than the snapshot's.",
        why: "The snapshot names version, length and hash of each targets role (5.6.2, 5.6.4).",
        prepare: { stage in
            try stage.release("2.0.1", ctr: 3)
            stage.served["4.targets.json"] = stage.served["2.targets.json"]
        }, verdict: Attack.always(.lengthMismatch)),
    Attack(
        name: "Endless data", what: "Timestamp metadata never ends.",
        why: "Every file is bounded before it is held in memory.",
        prepare: { stage in
            stage.served["timestamp.json"] = [UInt8](repeating: 0x20, count: 1 << 20)
            stage.isEndless = true
        },
        verdict: Attack.always(.tooLarge)),
    Attack(
        name: "Slow retrieval", what: "The mirror sends a byte now and then. (A folder: a dying stick.)",
        why: "A body must keep a minimum rate within a deadline; the device gives up and keeps what it has.",
        prepare: { $0.isSlow = true },
        verdict: Attack.always(.fetchFailed)),
    Attack(
        name: "Extraneous dependencies", what: "A delegated role lists releases outside the paths delegated to it.",
        why: "A role is searched only for paths that its delegation covers (5.6.7).",
        prepare: { stage in
            let (target, bytes) = try releaseFixture("db", "9.0.0", ctr: 99)
            stage.documents[target.path] = bytes
            try stage.lab.repository.delegate(
                to: "team", plan: RolePlan(keys: [signer(50).publicKey], threshold: 1, days: 365),
                paths: ["web-extra/*"], signers: stage.lab.signers + [signer(50)])
            try stage.lab.repository.add(
                target, document: bytes, role: "team", signers: stage.lab.signers + [signer(50)])
            try stage.reload()
        },
        verdict: { _, clock in .accepted(clock == .right ? .fresh : .unknown) }),
    Attack(
        name: "Timestamp key stolen", what: "A timestamp names a snapshot of the attacker's.",
        why: "The snapshot must be signed by the snapshot role's keys.",
        prepare: { stage in
            try stage.forge("2.snapshot.json", as: "9.snapshot.json", signers: [signer(99)]) { $0.signed["version"] = 9 }
            try stage.forge("timestamp.json", signers: [stage.timestamp]) {
                $0.signed["version"] = 9
                $0.signed["meta"] = ["snapshot.json": ["version": 9]]
            }
        }, verdict: Attack.always(.thresholdNotMet)),
    Attack(
        name: "Online keys stolen", what: "Snapshot and timestamp keys sign targets metadata of the attacker's.",
        why: "Targets metadata must be signed by the offline targets keys: a stolen hub cannot ship code.",
        prepare: { stage in
            try stage.forge("3.targets.json", as: "4.targets.json", signers: [stage.snapshot, stage.timestamp]) {
                $0.signed["version"] = 4
            }
            let bytes = try #require(stage.served["4.targets.json"])
            try stage.republish(targetsBytes: bytes, targetsVersion: 4, snapshotVersion: 9, timestampVersion: 9)
        }, verdict: Attack.always(.thresholdNotMet)),
    Attack(
        name: "Root key of the attacker's", what: "A new root is signed by its own new keys only.",
        why: "A new root needs a threshold of the old root's keys too (5.3.4).",
        prepare: { stage in
            let evil = try signer(99)
            try stage.forge("1.root.json", as: "2.root.json", signers: [evil]) { draft in
                draft.signed["version"] = 2
                draft.signed["keys"] = .object([evil.keyID: evil.publicKey.json])
                draft.signed["roles"] = .object(
                    Dictionary(uniqueKeysWithValues: TopLevel.all.map { ($0, ["keyids": [.string(evil.keyID)], "threshold": 1]) }))
            }
        }, verdict: Attack.always(.thresholdNotMet)),
    Attack(
        name: "Fast forward", what: "A stolen timestamp key raises the version to the highest; the operator rotates the key.",
        why: "When root takes a key from timestamp or snapshot, what those had signed is forgotten (5.3.11).",
        prepare: { stage in
            let fresh = try signer(60)
            try stage.lab.repository.rotate(
                "timestamp", plan: RolePlan(keys: [fresh.publicKey], threshold: 1, days: 7),
                signers: stage.lab.signers + [fresh])
            try stage.reload()
            try stage.forge("timestamp.json", signers: [fresh]) { $0.signed["version"] = 1 }
        },
        verdict: { _, clock in .accepted(clock == .right ? .fresh : .unknown) }),
    Attack(
        name: "Old release offered", what: "Everything is rightly signed, but the only release is below the committed `ctr`.",
        why: "Floors rise with each committed release and never fall.",
        prepare: { stage in
            try stage.lab.repository.remove(path: "web/2.0.0.release.json", signers: stage.lab.signers)
            try stage.reload()
        }, verdict: Attack.always(.counterBelowFloor)),
]
