import Base
import Glibc
import Model
import Synchronization
import Testing

@testable import Trust

/// The writer, seen through the verifier.
@Suite struct RepositoryTests {
    private func verify(
        _ repository: Repository, _ state: TrustState, _ load: @escaping TargetLoader, now: Timestamp = testNow + 60
    ) async throws -> Verified<Release> {
        try await verifier(ClockReading(now: now, isTrusted: true)).verify(
            from: TrustSources(release: DirectoryFetcher(repository.metadataDirectory), isSideload: false), load: load,
            state: state) { _ in }
    }

    @Test func aThresholdIsReachedByCarryingTheFolder() async throws {
        let scratch = try Scratch()
        let roots = try (1...5).map { try signer($0) }
        let targets = try (11...13).map { try signer($0) }
        let online = try signer(20)
        func plan(_ keys: [Ed25519Signer], _ threshold: Int) -> RolePlan {
            RolePlan(keys: keys.map(\.publicKey), threshold: threshold, days: 365)
        }
        let repository = try Repository.initialize(
            path: scratch.sub("repo"),
            plan: RepositoryPlan(
                root: plan(roots, 3), targets: plan(targets, 2), snapshot: plan([online], 1), timestamp: plan([online], 1)),
            signers: [roots[0]], clock: fixedClock())
        #expect(try repository.pending().first { $0.role == "root" }?.have == 1)
        #expect(try repository.publishedVersion("root") == 0)

        var report = try repository.sign([roots[1], targets[0]])
        #expect(report.published.isEmpty)
        report = try repository.sign([roots[2]])
        #expect(report.published.map(\.role) == ["root"])
        #expect(report.pending.map(\.role) == ["targets"])
        report = try repository.sign([targets[0]])
        #expect(report.pending.first?.have == 1)
        // The second targets key holder also has the online key.
        report = try repository.sign([targets[2], online])
        #expect(report.published.map(\.role) == ["targets", "snapshot", "timestamp"])
        #expect(report.pending.isEmpty)

        // A release is signed by two of three, one after the other.
        let (target, bytes) = try releaseFixture()
        report = try repository.add(target, document: bytes, signers: [targets[1]])
        #expect(report.published.isEmpty)
        let state = try TrustState.provision(releaseRoot: repository.rootBytes(), buildTime: testNow)
        let load: TargetLoader = { _, _, _ in bytes }
        #expect(await code { _ = try await verify(repository, state, load) } == "trust.no-match")
        try repository.sign([targets[0], online])
        #expect(try await verify(repository, state, load).value.app == "web")
        #expect(try await repository.lint().filter { $0.severity == .error }.isEmpty)
    }

    @Test func rotationIsFollowedByADeviceThatKnowsTheFirstRoot() async throws {
        let scratch = try Scratch()
        let lab = try LabRepository(scratch)
        try lab.add()
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        let old = try await verify(lab.repository, state, lab.loader()).newState
        var signers = lab.signers
        // Every role in turn gets a new key.
        for (number, role) in ["timestamp", "snapshot", "targets", "root"].enumerated() {
            let fresh = try signer(UInt8(100 + number))
            signers.append(fresh)
            let report = try lab.repository.rotate(
                role, plan: RolePlan(keys: [fresh.publicKey], threshold: 1, days: 30), signers: signers)
            #expect(report.pending.isEmpty, "\(role)")
            #expect(report.published.map(\.role).contains("root"))
        }
        #expect(try lab.repository.publishedVersion("root") == 5)
        let persisted = Persisted()
        let verified = try await verifier().verify(
            from: TrustSources(release: lab.fetcher(), isSideload: false), load: lab.loader(), state: old
        ) { state in await persisted.add(state) }
        #expect(verified.value.app == "web")
        // Each root was kept before the next was fetched.
        let versions = try await persisted.states.map { try RootMetadata(parsing: $0.release.root, limits: .standard).document.version }
        #expect(versions.prefix(4) == [2, 3, 4, 5])
        #expect(try await lab.repository.lint().filter { $0.severity == .error }.isEmpty)
    }

    @Test func aRoleWhoseKeysAStagedRootChangesWaitsForThatRoot() throws {
        let lab = try LabRepository(try Scratch())
        let fresh = try signer(90)
        // The root key holder is not here.
        let report = try lab.repository.rotate(
            "targets", plan: RolePlan(keys: [fresh.publicKey], threshold: 1, days: 30), signers: [fresh])
        #expect(report.pending.map(\.role) == ["root"])
        let (target, bytes) = try releaseFixture()
        let waiting = try lab.repository.add(target, document: bytes, signers: lab.signers.dropFirst() + [fresh])
        #expect(waiting.published.isEmpty)
        let done = try lab.repository.sign(lab.signers + [fresh])
        #expect(done.published.map(\.role).prefix(2) == ["root", "targets"])
        #expect(done.pending.isEmpty)
    }

    @Test func delegatedReleasesAreFoundAndOthersAreNot() async throws {
        let lab = try LabRepository(try Scratch())
        let team = try signer(70)
        try lab.repository.delegate(
            to: "team", plan: RolePlan(keys: [team.publicKey], threshold: 1, days: 30), paths: ["web/*"],
            terminating: true, signers: lab.signers + [team])
        let (web, webBytes) = try releaseFixture("web", "1.0.0")
        let (database, databaseBytes) = try releaseFixture("db", "1.0.0")
        try lab.repository.add(web, document: webBytes, role: "team", signers: lab.signers + [team])
        try lab.repository.add(database, document: databaseBytes, role: "team", signers: lab.signers + [team])
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        let verified = try await verify(lab.repository, state, lab.loader())
        #expect(verified.targetPath == web.path)
        #expect(verified.newState.release.delegated.keys.sorted() == ["team"])
        #expect(try await lab.repository.lint().contains { $0.element == database.path && $0.severity == .error })
    }

    @Test func aDelegatedRoleIsSignedAnewWhenItsKeysChange() async throws {
        let lab = try LabRepository(try Scratch())
        let (old, new) = (try signer(70), try signer(71))
        func delegate(_ key: Ed25519Signer, _ signers: [any Signer]) throws -> SigningReport {
            try lab.repository.delegate(
                to: "team", plan: RolePlan(keys: [key.publicKey], threshold: 1, days: 30), paths: ["web/*"],
                signers: signers)
        }
        _ = try delegate(old, lab.signers + [old])
        let (target, bytes) = try releaseFixture()
        try lab.repository.add(target, document: bytes, role: "team", signers: lab.signers + [old])
        // The new key's holder is away; the old key no longer counts.
        let waiting = try delegate(new, lab.signers + [old])
        #expect(waiting.pending.map(\.role) == ["team"])
        // Until then devices go on with what was signed before.
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        #expect(try await verify(lab.repository, state, lab.loader()).targetPath == target.path)
        #expect(try await lab.repository.lint().filter { $0.severity == .error }.isEmpty)
        let done = try lab.repository.sign(lab.signers + [new])
        #expect(done.published.map(\.role) == ["team", "snapshot", "timestamp"])
        #expect(try await verify(lab.repository, state, lab.loader()).targetPath == target.path)
    }

    @Test func aNewDelegationIsNotSeenByDevicesBeforeTheRoleItNamesIsSigned() async throws {
        let lab = try LabRepository(try Scratch())
        try lab.add("web", "1.0.0", ctr: 1)
        let team = try signer(70)
        let waiting = try lab.repository.delegate(
            to: "team", plan: RolePlan(keys: [team.publicKey], threshold: 1, days: 30), paths: ["shop/*"],
            signers: lab.signers)
        #expect(waiting.published.map(\.role) == ["targets"])
        #expect(waiting.pending.map(\.role) == ["team"])
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        #expect(try await verify(lab.repository, state, lab.loader()).targetPath == "web/1.0.0.release.json")
        // Online roles are renewed meanwhile.
        #expect(try lab.repository.refresh(signers: lab.signers).published.map(\.role) == ["snapshot", "timestamp"])
        #expect(try await verify(lab.repository, state, lab.loader()).targetPath == "web/1.0.0.release.json")
        let done = try lab.repository.sign(lab.signers + [team])
        #expect(done.published.map(\.role) == ["team", "snapshot", "timestamp"])
        #expect(done.pending.isEmpty)
        #expect(try await verify(lab.repository, state, lab.loader()).targetPath == "web/1.0.0.release.json")
    }

    @Test func aNewRootSaysWhichKeysItWaitsFor() throws {
        let lab = try LabRepository(try Scratch())
        let fresh = [try signer(90), try signer(91)]
        let report = try lab.repository.rotate(
            "root", plan: RolePlan(keys: fresh.map(\.publicKey), threshold: 2, days: 30), signers: [fresh[0]])
        #expect(report.pending.map(\.isOfFormerKeys) == [true, false])
        #expect(report.pending.map(\.have) == [0, 1])
        #expect(report.pending.map(\.missing) == [[lab.signers[0].keyID], [fresh[1].keyID]])
    }

    @Test func aNewRepositoryIsNotSaidToExpireSoon() async throws {
        let lab = try LabRepository(try Scratch())
        try lab.add()
        #expect(try await !lab.repository.lint().contains { $0.message.contains("expires") })
        #expect(try await lab.repository.lint(warnDays: 14).contains { $0.element == "timestamp" })
        let late = Repository(path: lab.repository.path, clock: fixedClock(testNow + 6 * 86_400))
        #expect(try await late.lint().contains { $0.element == "timestamp" && $0.message.contains("expires") })
    }

    @Test func aCrashAtAnyWriteLeavesTheOldRepositoryOrTheNew() async throws {
        let (first, _) = try releaseFixture("web", "1.0.0", ctr: 1)
        let (second, bytes) = try releaseFixture("web", "2.0.0", ctr: 2)
        let counter = OperationCounter()
        let lab = try LabRepository(try Scratch())
        try lab.add("web", "1.0.0", ctr: 1)
        let dry = Repository(
            path: lab.repository.path, fileSystem: FileSystem(monitor: counter.monitor(failing: nil)), clock: fixedClock())
        try dry.add(second, document: bytes, signers: lab.signers)
        let total = counter.count
        #expect(total > 10)
        for operation in 0..<total {
            let lab = try LabRepository(try Scratch())
            try lab.add("web", "1.0.0", ctr: 1)
            let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
            let failing = Repository(
                path: lab.repository.path,
                fileSystem: FileSystem(monitor: OperationCounter().monitor(failing: operation)), clock: fixedClock())
            #expect(await code { try failing.add(second, document: bytes, signers: lab.signers) } == "file.io")
            let left = try await verify(lab.repository, state, lab.loader())
            #expect([first.path, second.path].contains(left.targetPath), "operation \(operation)")
            // And the writer goes on from there.
            try lab.repository.add(second, document: bytes, signers: lab.signers)
            #expect(try await verify(lab.repository, state, lab.loader()).targetPath == second.path)
        }
    }

    @Test func resigningKeepsContentAndMovesExpiry() async throws {
        let scratch = try Scratch()
        let lab = try LabRepository(scratch)
        try lab.add()
        let later = testNow + 20 * 86_400
        #expect(
            await code {
                let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
                _ = try await verify(lab.repository, state, lab.loader(), now: later)
            } == "trust.expired")
        let again = Repository(path: lab.repository.path, clock: fixedClock(later))
        #expect(try await again.lint().contains { $0.severity == .error && $0.element == "timestamp" })
        let report = try again.refresh(signers: [lab.signers[2], lab.signers[3]])
        #expect(report.published.map(\.role) == ["snapshot", "timestamp"])
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        #expect(try await verify(again, state, lab.loader(), now: later + 60).freshness == .fresh)
    }

    @Test(arguments: ["../x", "a/b", "root", "", ".x", "a b"]) func oddRoleNamesAreNotMade(_ name: String) async throws {
        let lab = try LabRepository(try Scratch())
        let plan = RolePlan(keys: [lab.signers[0].publicKey], threshold: 1, days: 1)
        #expect(
            await code {
                try lab.repository.delegate(to: name, plan: plan, paths: ["*"], signers: lab.signers)
            } == "trust.role-name")
    }

    /// A folder that somebody carried here may hold links where folders should be.
    @Test(arguments: ["metadata", "staged", "targets"]) func aLinkInTheFoldersPlaceIsRefused(_ name: String) async throws {
        let scratch = try Scratch()
        let lab = try LabRepository(scratch)
        let (target, bytes) = try releaseFixture()
        let folder = Path.join(lab.repository.path, name)
        try FileSystem().rename(folder, to: scratch.sub("elsewhere"), op: "test")
        try #require(symlink(scratch.sub("elsewhere"), folder) == 0)
        let before = try FileSystem().list(scratch.sub("elsewhere"))
        #expect(
            await code { try lab.repository.add(target, document: bytes, signers: lab.signers) }
                == "trust.repository-invalid")
        #expect(try FileSystem().list(scratch.sub("elsewhere")) == before)
    }

    @Test func aDelegatedRoleThatIsAPathIsNotFollowed() async throws {
        let lab = try LabRepository(Scratch())
        var draft = try #require(try lab.repository.published("targets"))
        let key = lab.signers[1].publicKey
        draft.signed["delegations"] = [
            "keys": .object([key.keyID: key.json]),
            "roles": [
                [
                    "name": "../outside", "keyids": [.string(key.keyID)], "threshold": 1, "paths": ["*"],
                    "terminating": false,
                ]
            ],
        ]
        try lab.repository.stage("targets", draft)
        #expect(await code { try lab.repository.sign(lab.signers) } == "trust.role-name")
    }

    /// Regression: one more than the highest number stopped the program.
    @Test func theHighestVersionHasNoNext() async throws {
        let lab = try LabRepository(Scratch())
        let file = Path.join(lab.repository.metadataDirectory, "\(Int64.max).targets.json")
        let bytes = try #require(try lab.repository.publishedBytes("targets"))
        try FileSystem().replace(file, with: bytes, op: "test")
        #expect(
            await code { try lab.repository.refresh(["targets"], signers: lab.signers) } == "trust.repository-invalid")
        var draft = try #require(try lab.repository.published("root"))
        draft.signed["version"] = .integer(.max)
        draft.signatures = []
        _ = try draft.sign("root", by: lab.signers, allowed: [lab.signers[0].keyID])
        var client = try UpdateClient(
            trusted: TrustedMetadata(root: draft.bytes("root")), fetcher: lab.fetcher(), now: testNow) { _, _ in }
        try await client.refresh()
    }

    @Test func lintTellsADamagedDocument() async throws {
        let lab = try LabRepository(try Scratch())
        let target = try lab.add()
        let file = Path.join(lab.repository.path, lab.repository.documentPath(target))
        try FileSystem().replace(file, with: [1], op: "test")
        #expect(try await lab.repository.lint().contains { $0.element == target.path && $0.severity == .error })
    }

    @Test func aSecondRepositoryIsNotMadeOverTheFirst() async throws {
        let scratch = try Scratch()
        _ = try LabRepository(scratch)
        #expect(await code { _ = try LabRepository(scratch) } == "trust.repository-exists")
    }
}

/// Counts durable operations and fails one of them.
final class OperationCounter: Sendable {
    private let seen = Mutex(0)

    var count: Int { seen.withLock { $0 } }

    func monitor(failing place: Int?) -> DurabilityMonitor {
        DurabilityMonitor { _ in
            let number = self.seen.withLock { seen in
                defer { seen += 1 }
                return seen
            }
            // A power cut ends everything after it, too.
            if let place, number >= place { return .fail(errno: EIO) }
            return .perform
        }
    }
}

actor Persisted {
    var states: [TrustState] = []
    func add(_ state: TrustState) { states.append(state) }
}
