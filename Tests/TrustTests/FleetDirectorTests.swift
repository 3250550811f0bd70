import Base
import Model
import Synchronization
import TestSupport
import Testing

@testable import Trust

/// A director that a hub keeps, from one list for a few devices to bins for very many.
@Suite struct FleetDirectorTests {
    private let lab: LabRepository
    private let lists: LabRepository
    private let web: [ReleaseTarget]
    private let db: ReleaseTarget

    init() throws {
        lab = try LabRepository(Scratch())
        lists = try LabRepository(Scratch(), name: .director, seeds: 40)
        web = [try lab.add("web", "1.0.0", ctr: 1), try lab.add("web", "2.0.0", ctr: 2)]
        db = try lab.add("db", "1.0.0", ctr: 1)
    }

    /// - Parameter size: devices of one list; the fleet is spread when it has twice as many.
    private func director(
        now: Timestamp = testNow, size: Int = 4, fileSystem: FileSystem = FileSystem()
    ) -> FleetDirector {
        FleetDirector(
            path: lists.repository.path, signers: lists.signers, fileSystem: fileSystem, clock: fixedClock(now),
            devicesPerBin: size)
    }

    private func edit(
        _ devices: [String], _ releases: [ReleaseTarget], isWhole: Bool = false
    ) throws -> AssignmentEdit {
        var edit = AssignmentEdit(isWhole: isWhole)
        for device in devices { try edit.set(device, to: releases) }
        return edit
    }

    private func names(_ numbers: Range<Int>) -> [String] { numbers.map { "edge-\($0)" } }

    private func listed() throws -> [String] {
        try lists.repository.assignments().map { "\($0.device) \($0.target.app)/\($0.target.version)" }
    }

    private func provisioned() throws -> TrustState {
        try TrustState.provision(
            releaseRoot: lab.repository.rootBytes(), directorRoot: lists.repository.rootBytes(), buildTime: testNow)
    }

    /// What a device is offered, with what it had to fetch from the director for that.
    private func look(
        _ id: String, _ state: TrustState, now: Timestamp = testNow + 60
    ) async throws -> (paths: [String], fetched: [String], state: TrustState) {
        let fetcher = NotingFetcher(lists.fetcher())
        let verifier = ReleaseVerifier(
            device: DeviceIdentity(id: id, labels: [:], architecture: "amd64"),
            policy: TrustPolicy(requiresDirector: true), clock: ClockReading(now: now, isTrusted: true))
        let offers = try await verifier.offers(
            from: TrustSources(release: lab.fetcher(), director: fetcher, isSideload: false), state: state
        ) { _ in }
        #expect(offers.refused.isEmpty)
        return (offers.chosen.map(\.path).sorted(), fetcher.names, offers.newState)
    }

    @Test func aFleetThatNoListCouldHoldIsAssignedAtOnce() async throws {
        let many = names(0..<ReleaseTarget.deviceLimit + 1_000)
        let hub = director(size: FleetDirector.devicesPerBin)
        try hub.apply(edit(["edge-1", "other"], [db]))
        for release in web {
            try hub.apply(edit(many, [release]))
            for device in ["edge-1", "edge-65536"] {
                #expect(try await look(device, provisioned()).paths == [release.path])
            }
            #expect(try await look("other", provisioned()).paths == [db.path])
        }
    }

    @Test func aFleetThatOutgrowsItsListIsSpreadAndDevicesThatKnewTheListFollow() async throws {
        try director().apply(edit(names(0..<6), [web[0]]))
        #expect(try listed().count == 6)
        let before = try await look("edge-3", provisioned())
        #expect(before.paths == ["web/1.0.0.release.json"])
        #expect(try director().apply(edit(names(0..<6), [web[0]])) == false)

        try director().apply(edit(names(6..<100), [web[0], db]))
        try director().apply(edit(["edge-7"], [web[1]]))
        try director().apply(edit(["edge-8"], []))
        // By what it kept of the one list; and anew.
        for state in [before.state, try provisioned()] {
            #expect(try await look("edge-3", state).paths == ["web/1.0.0.release.json"])
        }
        #expect(try await look("edge-7", provisioned()).paths == ["web/2.0.0.release.json"])
        #expect(try await look("edge-8", provisioned()).paths.isEmpty)
        for device in ["edge-6", "edge-99"] {
            #expect(
                try await look(device, provisioned()).paths == ["db/1.0.0.release.json", "web/1.0.0.release.json"])
        }
        #expect(try listed().count == 6 + 2 * 94 - 1 - 2)
        // Spread once more, the roles that were stay.
        try director().apply(edit(names(100..<400), [web[0]]))
        #expect(try await look("edge-3", before.state).paths == ["web/1.0.0.release.json"])
        #expect(try await look("edge-399", before.state).paths == ["web/1.0.0.release.json"])
    }

    @Test func aDeviceFetchesItsOwnListAndAChangeConcernsThatListAlone() async throws {
        try director().apply(edit(names(0..<100), [web[0]], isWhole: true))
        let bins = try bins()
        let own = bins.bin(of: "edge-0")
        let first = try await look("edge-0", provisioned())
        #expect(first.fetched.filter { $0.contains("devices-") } == ["1.\(own.role).json"])
        let outline = try self.outline()
        let other = try #require(names(1..<100).first { bins.bin(of: $0) != own })
        let mate = try #require(names(1..<100).first { bins.bin(of: $0) == own })
        try director().apply(edit([other], [web[1]]))
        #expect(try self.outline().common == outline.common)
        #expect(try self.outline().version(for: "edge-0") == outline.version(for: "edge-0"))
        #expect(try self.outline().version(for: other) != outline.version(for: other))
        try director().apply(edit([mate], [web[1]]))
        #expect(try self.outline().version(for: "edge-0") != outline.version(for: "edge-0"))
        #expect(try await look("edge-0", first.state).fetched.contains("2.\(own.role).json"))
    }

    private func bins() throws -> DeviceBins {
        let targets = try #require(try lists.repository.published("targets"))
        return try #require(DeviceBins(targets))
    }

    private func outline() throws -> DirectorOutline {
        let snapshot = try #require(try lists.repository.publishedBytes("snapshot"))
        let targets = try #require(try lists.repository.publishedBytes("targets"))
        return try #require(DirectorOutline(snapshot: snapshot, targets: targets))
    }

    @Test func aWholeEditTakesAwayWhatItDoesNotName() async throws {
        for count in [5, 60] {
            try director().apply(edit(names(0..<count), [web[0]], isWhole: true))
            try director().apply(edit(names(0..<2), [web[1]], isWhole: true))
            #expect(try listed() == ["edge-0 web/2.0.0", "edge-1 web/2.0.0"])
            #expect(try await look("edge-4", provisioned()).paths.isEmpty)
        }
    }

    @Test func anyClientThatFollowsTheSpecificationFindsABinsTargets() async throws {
        try director().apply(edit(names(0..<100), [web[0]], isWhole: true))
        let bins = try bins()
        var client = try UpdateClient(
            trusted: TrustedMetadata(root: lists.repository.rootBytes()), fetcher: lists.fetcher(), now: testNow + 60
        ) { _, _ in }
        try await client.refresh()
        let folder = bins.bin(of: "edge-42").folder
        #expect(try await client.find(folder + web[0].path)?.length == web[0].length)
        #expect(try await client.find(web[0].path) == nil)
        #expect(
            await code { try lists.repository.assign(web[0], to: ["a"], signers: lists.signers) }
                == "trust.repository-invalid")
    }

    @Test func whateverACutLeavesIsWholeAndGoneOnWith() async throws {
        let old = try edit(names(0..<6), [web[0]], isWhole: true)
        let new = try edit(names(0..<30), [web[1]], isWhole: true)
        try director().apply(old)
        for operation in 0... {
            let count = Mutex(0)
            let monitor = DurabilityMonitor { _ in
                count.withLock {
                    $0 += 1
                    return $0 > operation ? .fail(errno: 5) : .perform
                }
            }
            let isDone = (try? director(fileSystem: FileSystem(monitor: monitor)).apply(new)) != nil
            let paths = try await look("edge-2", provisioned()).paths
            #expect(paths == ["web/1.0.0.release.json"] || paths == ["web/2.0.0.release.json"], "after \(operation)")
            guard isDone else { continue }
            #expect(operation > 20)
            break
        }
        #expect(try await look("edge-29", provisioned()).paths == ["web/2.0.0.release.json"])
    }

    @Test func rolesAreSignedAnewInTheMiddleOfTheirLivesAndAllLook() async throws {
        try director().apply(edit(names(0..<100), [web[0]], isWhole: true))
        #expect(try director().renew() == false)
        let outline = try self.outline()
        let bin = outline.version(for: "edge-0")
        // A timestamp lives a week, targets a year.
        let week = testNow + 5 * 86_400
        #expect(try director(now: week).renew())
        #expect(try self.outline().common != outline.common)
        #expect(try self.outline().version(for: "edge-0") == bin)
        #expect(try await look("edge-0", provisioned(), now: week + 60).paths == ["web/1.0.0.release.json"])
        let year = testNow + 200 * 86_400
        #expect(try director(now: year).renew())
        #expect(try self.outline().version(for: "edge-0") != bin)
        #expect(try director(now: year).renew() == false)
    }
}

/// Says which files were asked for and there.
private final class NotingFetcher: MetadataFetcher {
    private let source: any MetadataFetcher
    private let found = Mutex<[String]>([])

    init(_ source: any MetadataFetcher) { self.source = source }

    var names: [String] { found.withLock { $0 } }

    func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        let bytes = try await source.fetchMetadata(name, maxLength: maxLength)
        if bytes != nil { found.withLock { $0.append(name) } }
        return bytes
    }
}
