import Base
import Model
import SQLite
import Testing

@testable import Trust

/// Selectors, the director's agreement, floors, tickets, and what is kept.
@Suite struct AgreementTests {
    private func provision(_ lab: LabRepository, director: LabRepository? = nil) throws -> TrustState {
        try TrustState.provision(
            releaseRoot: lab.repository.rootBytes(), directorRoot: director?.repository.rootBytes(), buildTime: testNow)
    }

    private func sources(_ lab: LabRepository, director: LabRepository? = nil, ticket: [UInt8]? = nil) -> TrustSources {
        TrustSources(release: lab.fetcher(), director: director?.fetcher(), isSideload: true, ticket: ticket)
    }

    // MARK: Selectors

    @Test func theHighestCounterThatFitsIsChosen() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.add("web", "2.0.0", ctr: 5, selector: ["fleet": "harbour"])
        try lab.add("web", "3.0.0", ctr: 9, selector: ["fleet": "mountain"])
        try lab.add("web", "4.0.0", ctr: 10, architectures: ["arm64"])
        let state = try provision(lab)
        let verified = try await verifier().verify(from: sources(lab), load: lab.loader(), state: state) { _ in }
        #expect(verified.value.version.description == "2.0.0")
        let reasons = Dictionary(uniqueKeysWithValues: verified.selection.verdicts.map { ($0.path, $0.reason) })
        #expect(reasons["web/2.0.0.release.json"] == .some(nil))
        #expect(reasons["web/1.0.0.release.json"]??.contains("older") == true)
        #expect(reasons["web/3.0.0.release.json"]??.contains("fleet=mountain") == true)
        #expect(reasons["web/4.0.0.release.json"]??.contains("arm64") == true)
    }

    @Test func aNamedVersionIsTakenInsteadOfTheNewest() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.add("web", "2.0.0", ctr: 2)
        let candidate = Candidate(app: "web", version: SemanticVersion("1.0.0"))
        let verified = try await verifier().verify(
            candidate, from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
        #expect(verified.targetPath == "web/1.0.0.release.json")
        let missing = Candidate(app: "web", version: SemanticVersion("7.0.0"))
        #expect(
            await code {
                _ = try await verifier().verify(missing, from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
            } == "trust.no-match")
    }

    @Test func noneAndManyAreExplained() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add("web", "1.0.0", ctr: 1, selector: ["site": "north"])
        do {
            _ = try await verifier().verify(from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
            Issue.record("a release for another site was taken")
        } catch let error as TrustError {
            #expect(error.code == "trust.no-match")
            #expect(error.message.contains("web/1.0.0.release.json"))
            #expect(error.message.contains("site=north"))
        }
        try lab.add("web", "2.0.0", ctr: 2)
        try lab.add("db", "1.0.0", ctr: 1)
        #expect(
            await code {
                _ = try await verifier().verify(from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
            } == "trust.many-match")
        let named = try await verifier().verify(
            Candidate(app: "db"), from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
        #expect(named.value.app == "db")
        try lab.add("web", "2.0.1", ctr: 2)
        do {
            _ = try await verifier().verify(
                Candidate(app: "web"), from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
            Issue.record("one of two equals was taken")
        } catch let error as TrustError {
            #expect(error.code == "trust.many-match")
            #expect(error.message.contains("2.0.0") && error.message.contains("2.0.1"))
        }
    }

    @Test func aLabelCannotHideWhatADeviceIs() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add("web", "1.0.0", selector: ["device": "edge-8"])
        let impostor = verifier(labels: ["device": "edge-8"])
        #expect(
            await code {
                _ = try await impostor.verify(from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
            } == "trust.no-match")
    }

    // MARK: Director

    @Test func bothRepositoriesMustAgree() async throws {
        let lab = try LabRepository(Scratch())
        let director = try LabRepository(Scratch(), name: .director, seeds: 40)
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.add("web", "2.0.0", ctr: 2)
        try director.add("web", "1.0.0", ctr: 1, selector: ["device": "edge-7"])
        let state = try provision(lab, director: director)
        let verified = try await verifier(director: true).verify(
            from: sources(lab, director: director), load: lab.loader(), state: state) { _ in }
        #expect(verified.targetPath == "web/1.0.0.release.json", "the director says which")
        #expect(verified.newState.director?.roles.contains("targets") == true)

        #expect(
            await code {
                _ = try await verifier(director: true).verify(from: sources(lab), load: lab.loader(), state: state) { _ in }
            } == "trust.director-missing")
        #expect(
            await code {
                _ = try await verifier(director: true).verify(
                    from: sources(lab, director: director), load: lab.loader(), state: provision(lab)) { _ in }
            } == "trust.not-provisioned")

        // What only the director lists, and what it lists otherwise.
        try director.add("web", "9.0.0", ctr: 9, selector: ["device": "edge-7"])
        #expect(
            await code {
                _ = try await verifier(director: true).verify(
                    from: sources(lab, director: director), load: lab.loader(), state: state) { _ in }
            } == "trust.director-disagrees")
        let (_, other) = try releaseFixture("web", "9.0.0", ctr: 1)
        let version = try #require(SemanticVersion("9.0.0"))
        let listing = ReleaseTarget(
            app: "web", version: version, ctr: 9, epoch: 0, digest: Digest.sha256(other), length: Int64(other.count))
        try lab.repository.add(listing, document: other, signers: lab.signers)
        #expect(
            await code {
                _ = try await verifier(director: true).verify(
                    from: sources(lab, director: director), load: lab.loader(), state: state) { _ in }
            } == "trust.director-disagrees")
    }

    @Test func aDirectorCannotSendAReleaseThatIsNotForTheDevice() async throws {
        let lab = try LabRepository(Scratch())
        let director = try LabRepository(Scratch(), name: .director, seeds: 40)
        try lab.add("web", "1.0.0", selector: ["fleet": "mountain"])
        try director.add("web", "1.0.0")
        #expect(
            await code {
                _ = try await verifier(director: true).verify(
                    from: sources(lab, director: director), load: lab.loader(),
                    state: provision(lab, director: director)) { _ in }
            } == "trust.no-match")
    }

    // MARK: Floors

    @Test func floorsRiseByCommitOnlyAndHold() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add("web", "1.0.0", ctr: 1, epoch: 0)
        let first = try await verifier().verify(from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
        try lab.add("web", "2.0.0", ctr: 2, epoch: 1)
        let second = try await verifier().verify(
            from: sources(lab), load: lab.loader(), state: first.newState) { _ in }
        #expect(second.newState.floors.isEmpty, "seeing a release raises nothing")
        var state = second.newState
        state.raiseFloors(app: "web", ctr: 2, epoch: 1)
        let old = Candidate(app: "web", version: SemanticVersion("1.0.0"))
        #expect(
            await code {
                _ = try await verifier().verify(old, from: sources(lab), load: lab.loader(), state: state) { _ in }
            } == "trust.epoch-below-floor")
        try lab.add("web", "1.5.0", ctr: 1, epoch: 1)
        let lower = Candidate(app: "web", version: SemanticVersion("1.5.0"))
        #expect(
            await code {
                _ = try await verifier().verify(lower, from: sources(lab), load: lab.loader(), state: state) { _ in }
            } == "trust.ctr-below-floor")
        state.raiseFloors(app: "web", ctr: 1, epoch: 0)
        #expect(state.floors["web"] == TrustState.Floor(ctr: 2, epoch: 1), "floors never fall")
    }

    // MARK: Time floor and tickets

    @Test func aStolenOnlineKeyCannotPushTheFloorPastTheOfflineKeys() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add()
        var stage = try Stage(lab)
        try stage.forge("timestamp.json", signers: [stage.timestamp]) {
            $0.signed["version"] = 9
            $0.signed["expires"] = "2199-01-01T00:00:00Z"
            $0.signed["x-holdfast-issued"] = "2198-01-01T00:00:00Z"
        }
        let forged = TrustSources(release: StageFetcher(served: stage.served), isSideload: false)
        let verified = try await verifier().verify(from: forged, load: lab.loader(), state: provision(lab)) { _ in }
        #expect(verified.newState.timeFloor < testNow + 3600)
    }

    /// The hub signs the director's metadata by its own clock; devices that believed one that is ahead would call the
    /// release repository expired from then on.
    @Test(arguments: [2 as Int64, 60]) func aHubWhoseClockIsAheadMakesNoReleaseExpire(days: Int64) async throws {
        let lab = try LabRepository(Scratch())
        try lab.add()
        let ahead = testNow + days * 86_400
        let director = try LabRepository(Scratch(), name: .director, now: ahead, seeds: 40)
        try director.add()
        let blind = ClockReading(now: Timestamp(seconds: 0), isTrusted: false)
        var state = try provision(lab, director: director)
        let sources = TrustSources(release: lab.fetcher(), director: director.fetcher(), isSideload: false)
        for _ in 0..<2 {
            let verified = try await verifier(blind, director: true).verify(
                from: sources, load: lab.loader(), state: state) { _ in }
            state = verified.newState
        }
        // Two days are within what the release repository's own timestamp vouches for.
        #expect(state.timeFloor == (days == 2 ? ahead : testNow))
    }

    @Test func aTicketProvesFreshnessOnce() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add()
        let blind = ClockReading(now: Timestamp(seconds: 0), isTrusted: false)
        var state = try provision(lab)
        var generator = SplitMix(state: 1)
        let nonce = state.makeNonce(using: &generator)
        let version = try lab.repository.publishedVersion("snapshot")
        func ticket(_ change: (inout FreshnessTicket) -> Void = { _ in }, by signer: any Signer) throws -> [UInt8] {
            var ticket = FreshnessTicket(
                device: "edge-7", nonce: nonce, snapshotVersion: version, issued: testNow + 3600)
            change(&ticket)
            return try ticket.signed(by: [signer]).bytes
        }
        let without = try await verifier(blind).verify(from: sources(lab), load: lab.loader(), state: state) { _ in }
        #expect(without.freshness == .unknown)
        let good = try ticket(by: lab.signers[3])
        let proven = try await verifier(blind).verify(
            from: sources(lab, ticket: good), load: lab.loader(), state: state) { _ in }
        #expect(proven.freshness == .proven)
        #expect(proven.newState.timeFloor == testNow + 3600)
        let used = proven.newState
        let bad: [(String, [UInt8], TrustState)] = [
            ("trust.ticket-invalid", good, used),
            ("trust.ticket-invalid", try ticket({ $0.device = "edge-8" }, by: lab.signers[3]), state),
            ("trust.ticket-invalid", try ticket({ $0.nonce = [1] }, by: lab.signers[3]), state),
            ("trust.ticket-invalid", try ticket({ $0.snapshotVersion += 1 }, by: lab.signers[3]), state),
            ("trust.threshold-not-met", try ticket(by: lab.signers[2]), state),
            ("trust.metadata-malformed", [0x7B], state),
        ]
        for (expected, bytes, state) in bad {
            #expect(
                await code {
                    _ = try await verifier(blind).verify(
                        from: sources(lab, ticket: bytes), load: lab.loader(), state: state) { _ in }
                } == expected)
        }
    }

    @Test func whoMaySignTicketsIsWhatTheRootSays() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add()
        let hub = try signer(90)
        try lab.repository.rotate(
            FreshnessTicket.role, plan: RolePlan(keys: [hub.publicKey], threshold: 1, days: 30), signers: lab.signers)
        #expect(try lab.repository.ticketSigners().keyIDs == [hub.keyID])
        // A later change of another role's keys keeps this one's.
        let online = try signer(91)
        try lab.repository.rotate(
            "timestamp", plan: RolePlan(keys: [online.publicKey], threshold: 1, days: 30),
            signers: lab.signers + [online])
        #expect(try lab.repository.ticketSigners().keyIDs == [hub.keyID])
        var state = try provision(lab)
        var generator = SplitMix(state: 1)
        let ticket = FreshnessTicket(
            device: "edge-7", nonce: state.makeNonce(using: &generator),
            snapshotVersion: try lab.repository.publishedVersion("snapshot"), issued: testNow)
        let blind = ClockReading(now: Timestamp(seconds: 0), isTrusted: false)
        for (signer, expected) in [(hub, Freshness.proven), (online, nil)] {
            let sources = try sources(lab, ticket: ticket.signed(by: [signer]).bytes)
            let verified = try? await verifier(blind).verify(from: sources, load: lab.loader(), state: state) { _ in }
            #expect(verified?.freshness == expected)
        }
    }

    // MARK: Documents

    @Test func aDocumentMustSayWhatItsListingSays() async throws {
        let lab = try LabRepository(Scratch())
        let (target, bytes) = try releaseFixture("web", "1.0.0", ctr: 1)
        let lie = ReleaseTarget(
            app: "web", version: target.version, ctr: 50, epoch: 0, digest: target.digest, length: target.length)
        try lab.repository.add(lie, document: bytes, signers: lab.signers)
        #expect(
            await code {
                _ = try await verifier().verify(from: sources(lab), load: lab.loader(), state: provision(lab)) { _ in }
            } == "trust.release-mismatch")
    }

    // MARK: State

    @Test func aStateComesBackAsItWasSaved() async throws {
        let lab = try LabRepository(Scratch())
        let director = try LabRepository(Scratch(), name: .director, seeds: 40)
        try lab.add()
        try director.add()
        let database = try Connection(path: ":memory:")
        try database.migrate([TrustStateStore.migration])
        let store = TrustStateStore()
        #expect(try store.load(database) == nil)
        var state = try await verifier(director: true).verify(
            from: sources(lab, director: director), load: lab.loader(), state: provision(lab, director: director)
        ) { _ in }.newState
        state.raiseFloors(app: "web", ctr: 3, epoch: 1)
        var generator = SplitMix(state: 2)
        _ = state.makeNonce(using: &generator)
        try database.transaction("test") { try store.save(state, in: database) }
        #expect(try store.load(database) == state)
        // A role that is forgotten goes; floors stay up whatever is saved.
        var less = state
        less.release.set("timestamp", nil)
        less.floors["web"] = TrustState.Floor(ctr: 1, epoch: 0)
        less.timeFloor = Timestamp(seconds: 0)
        try database.transaction("test") { try store.save(less, in: database) }
        let loaded = try #require(try store.load(database))
        #expect(loaded.release.timestamp == nil)
        #expect(loaded.floors["web"] == TrustState.Floor(ctr: 3, epoch: 1))
        #expect(loaded.timeFloor == state.timeFloor)
        // A transaction that fails leaves the old trust.
        #expect(
            await code {
                try database.transaction("test") {
                    try store.save(state, in: database)
                    throw TrustError(.persistFailed, "test", "power cut")
                }
            } == "trust.persist-failed")
        #expect(try store.load(database) == loaded)
    }

    @Test func aRootThatIsNotTheExpectedOneIsNotTrusted() async throws {
        let lab = try LabRepository(Scratch())
        let root = try lab.repository.rootBytes()
        _ = try TrustState.provision(releaseRoot: root, expected: Digest.sha256(root), buildTime: testNow)
        #expect(
            await code {
                _ = try TrustState.provision(releaseRoot: root, expected: Digest.sha256([]), buildTime: testNow)
            } == "trust.hash-mismatch")
        var other = try #require(try lab.repository.published("root"))
        other.signed["version"] = 7
        #expect(
            await code {
                _ = try TrustState.provision(releaseRoot: other.bytes("root"), buildTime: testNow)
            } == "trust.threshold-not-met")
    }

    @Test func aRootChainIsFollowedForSoManySteps() async throws {
        let lab = try LabRepository(Scratch())
        try lab.add()
        var stage = try Stage(lab)
        for version in 2...300 {
            try stage.forge("1.root.json", as: "\(version).root.json", signers: [stage.root]) {
                $0.signed["version"] = .integer(Int64(version))
            }
        }
        let served = stage.served
        let persisted = Persisted()
        #expect(
            await code {
                _ = try await verifier().verify(
                    from: TrustSources(release: StageFetcher(served: served), isSideload: true),
                    load: lab.loader(), state: provision(lab)) { await persisted.add($0) }
            } == "trust.root-chain-too-long")
        #expect(await persisted.states.count == 256)
        // The next attempt goes on from where the last one stood.
        let last = try #require(await persisted.states.last)
        let verified = try await verifier().verify(
            from: TrustSources(release: StageFetcher(served: served), isSideload: true),
            load: lab.loader(), state: last) { _ in }
        #expect(verified.value.app == "web")
    }
}
