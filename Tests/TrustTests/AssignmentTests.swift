import Base
import Model
import Testing

@testable import Trust

/// A director's assignments, from the writer to the device.
@Suite struct AssignmentTests {
    private let lab: LabRepository
    private let director: LabRepository

    init() throws {
        lab = try LabRepository(Scratch())
        director = try LabRepository(Scratch(), name: .director, seeds: 40)
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.add("web", "2.0.0", ctr: 2)
        try lab.add("db", "1.0.0", ctr: 1)
    }

    private func target(_ app: String, _ version: String) throws -> ReleaseTarget {
        try #require(try lab.repository.releases().first { $0.path == "\(app)/\(version).release.json" })
    }

    private func assign(_ app: String, _ version: String, _ devices: String...) throws {
        try director.repository.assign(target(app, version), to: devices, signers: director.signers)
    }

    /// What device `id` takes, or the code of why it takes nothing.
    private func outcome(_ id: String, director other: LabRepository? = nil) async throws -> String {
        let served = other ?? director
        let state = try TrustState.provision(
            releaseRoot: lab.repository.rootBytes(), directorRoot: served.repository.rootBytes(), buildTime: testNow)
        let device = DeviceIdentity(id: id, labels: [:], architecture: "amd64")
        let verifier = ReleaseVerifier(
            device: device, policy: TrustPolicy(requiresDirector: true),
            clock: ClockReading(now: testNow + 60, isTrusted: true))
        do {
            return try await verifier.verify(
                from: TrustSources(release: lab.fetcher(), director: served.fetcher(), isSideload: true),
                load: lab.loader(), state: state
            ) { _ in }.targetPath
        } catch {
            return error.code
        }
    }

    private func listed() throws -> [String] {
        try director.repository.assignments().map { "\($0.device) \($0.target.app)/\($0.target.version)" }
    }

    @Test func eachDeviceGetsWhatItIsAssigned() async throws {
        try assign("web", "1.0.0", "edge-7", "edge-8")
        try assign("web", "2.0.0", "edge-9")
        #expect(try await outcome("edge-7") == "web/1.0.0.release.json")
        #expect(try await outcome("edge-8") == "web/1.0.0.release.json")
        #expect(try await outcome("edge-9") == "web/2.0.0.release.json")
        #expect(try await outcome("edge-10") == "trust.no-match")
        #expect(try listed() == ["edge-7 web/1.0.0", "edge-8 web/1.0.0", "edge-9 web/2.0.0"])
    }

    @Test func anotherReleaseOfTheSameApplicationTakesThePlaceOfTheOld() async throws {
        try assign("web", "1.0.0", "edge-7", "edge-8")
        try assign("web", "2.0.0", "edge-7")
        try assign("db", "1.0.0", "edge-9")
        #expect(try listed() == ["edge-7 web/2.0.0", "edge-8 web/1.0.0", "edge-9 db/1.0.0"])
        #expect(try await outcome("edge-7") == "web/2.0.0.release.json")
        try assign("web", "2.0.0", "edge-8")
        #expect(try director.repository.releases().map(\.path) == ["db/1.0.0.release.json", "web/2.0.0.release.json"])
        #expect(try await director.repository.lint().filter { $0.severity == .error }.isEmpty)
    }

    @Test func whatIsTakenAwayIsNoLongerMatched() async throws {
        try assign("web", "1.0.0", "edge-7", "edge-8")
        try director.repository.unassign(["edge-7"], app: "web", signers: director.signers)
        #expect(try await outcome("edge-7") == "trust.no-match")
        #expect(try await outcome("edge-8") == "web/1.0.0.release.json")
        #expect(
            await code { try director.repository.unassign(["edge-7"], signers: director.signers) }
                == "trust.not-assigned")
        try director.repository.unassign(["edge-8"], signers: director.signers)
        #expect(try director.repository.releases().isEmpty)
    }

    @Test func aDirectorThatDisagreesIsRefused() async throws {
        // A release that only the director lists, and one that it lists with another hash.
        let (unknown, _) = try releaseFixture("web", "9.0.0", ctr: 9)
        try director.repository.assign(unknown, to: ["edge-7"], signers: director.signers)
        #expect(try await outcome("edge-7") == "trust.director-disagrees")
        let forged = ReleaseTarget(
            app: "web", version: try target("web", "1.0.0").version, ctr: 1, epoch: 0,
            digest: Digest.sha256([1]), length: 1)
        try director.repository.assign(forged, to: ["edge-8"], signers: director.signers)
        #expect(try await outcome("edge-8") == "trust.director-disagrees")
    }

    @Test func onlyADirectorAssigns() async throws {
        let web = try target("web", "1.0.0")
        #expect(
            await code { try lab.repository.assign(web, to: ["a"], signers: lab.signers) } == "trust.repository-invalid"
        )
        for devices in [[], [""], [String(repeating: "a", count: 257)]] {
            #expect(
                await code { try director.repository.assign(web, to: devices, signers: director.signers) }
                    == "trust.repository-invalid")
        }
    }

    /// Ids that Swift takes for equal are two devices.
    @Test func devicesAreToldApartByTheirBytes() async throws {
        try assign("web", "1.0.0", "caf\u{E9}")
        try assign("web", "2.0.0", "cafe\u{301}")
        #expect(try director.repository.assignments().count == 2)
        #expect(try await outcome("caf\u{E9}") == "web/1.0.0.release.json")
        #expect(try await outcome("cafe\u{301}") == "web/2.0.0.release.json")
    }
}
