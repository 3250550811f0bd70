import AgentCore
import AgentHub
import AgentTestSupport
import Base
import HubCore
import HubEnrolment
import HubProtocol
import Logging
import Model
import NIOPosix
import OCI
import Synchronization
import TestSupport
import Testing
import TransparencyLog
import Trust
import WireGuard

@Suite struct HubServiceTests {
    let world: HubWorld
    init() throws { world = try HubWorld() }

    @Test func aTokenMakesABlankDeviceAMemberWithTrust() async throws {
        let device = world.device()
        let service = try await device.start()
        try await service.enrol(token: try await world.hub.token(TokenOptions(labels: ["site": "harbour"])))
        try await device.eventually("trust") { try await device.journal.trustState() != nil }
        try await device.eventually("no token left") {
            try FileSystem().status(Path.join(device.lab.layout.hub, "token")) == nil
        }
        let record = try #require(try await device.journal.device())
        #expect(record.id.hasPrefix("d-") && record.labels == ["site": "harbour"] && !record.requiresDirector)
        #expect(try await world.hub.devices().map(\.id.text) == [record.id])
        // The temporary tunnel is gone, the permanent one stands.
        #expect(world.links.names == ["hf0"])
        for name in ["first.key", "signing.key", "standing.json"] {
            let status = try FileSystem().status(Path.join(device.lab.layout.hub, name))
            #expect(status?.mode == 0o600, "\(name)")
        }
        #expect(await world.hub.requests.first == "POST /v1/enrol")
        await device.stop()
    }

    @Test func aTokenFileOfAnImagedDeviceIsTakenAndWiped() async throws {
        let path = world.directory.file("holdfast.token")
        try FileSystem().replace(path, with: Array(try await world.hub.token().utf8), op: "test")
        let device = world.device(tokenFile: path)
        try await device.start()
        try await device.eventually("enrolled") { try await device.status("enrolled")?.bool == true }
        try await device.eventually("wiped") { try FileSystem().status(path) == nil }
        await device.stop()
    }

    @Test func anAnswerThatIsLostIsAskedForWithTheSameBytes() async throws {
        let device = world.device()
        await world.hub.set(.answersLost)
        let service = try await device.start()
        try await service.enrol(token: try await world.hub.token())
        try await device.eventually("asked twice") { await world.hub.requests.count >= 2 }
        // The hub has the device, the device does not know it, and now the agent ends too.
        #expect(try await world.hub.devices().count == 1)
        await device.stop()
        await world.hub.set(.fair)
        try await device.start()
        try await device.eventually("enrolled") { try await device.status("enrolled")?.bool == true }
        #expect(try await world.hub.devices().count == 1)
        await device.stop()
    }

    @Test func aBatchTokenWaitsForAPerson() async throws {
        let device = world.device()
        let service = try await device.start()
        try await service.enrol(token: try await world.hub.token(TokenOptions(uses: 3)))
        try await device.eventually("waiting") { try await device.status("phase")?.string == "waiting" }
        #expect(await service.reasons().map(\.code) == ["hub-link.waiting"])
        let id = try #require(try await world.hub.devices().first?.id)
        _ = try await world.hub.enrolment.change(id) { try DeviceRules.approve($0, by: "operator:test", now: $1) }
        try await device.eventually("enrolled") { try await device.status("enrolled")?.bool == true }
        await device.stop()
    }

    @Test func aUsedTokenIsRefusedForGoodAndLeavesNothingBehind() async throws {
        let text = try await world.hub.token()
        let (first, _) = try await {
            let device = world.device()
            let service = try await device.start()
            try await service.enrol(token: text)
            try await device.eventually("enrolled") { try await device.status("enrolled")?.bool == true }
            return (device, service)
        }()
        await first.stop()
        // A second device, on a disk of its own, replays the token.
        let thief = HubDevice(
            path: world.directory.file("thief"), hub: world.hub, links: world.links, clock: world.clock)
        world.links.drop()
        let service = try await thief.start()
        try await service.enrol(token: text)
        try await thief.eventually("refused") { try await thief.status("phase")?.string == "refused" }
        #expect(try FileSystem().status(Path.join(thief.lab.layout.hub, "token")) == nil)
        #expect(await service.reasons().first?.message.contains("token-used") == true)
        #expect(try await world.hub.devices().count == 1)
        await thief.stop()
    }

    @Test func aReleaseThatIsAssignedArrivesByTheHub() async throws {
        let (device, id) = try await world.enrolled()
        try await world.hub.assign(world.release("1.0.0", ctr: 1), to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        #expect(try await device.lab.converge(try device.present.process))
        try await world.hub.assign(world.release("2.0.0", ctr: 2), to: id)
        try await device.eventually("2.0.0") { try await device.target() == "2.0.0" }
        await device.stop()
    }

    @Test func aBlobThatTheDeviceLostComesFromTheHub() async throws {
        let (device, id) = try await world.enrolled()
        try await world.hub.assign(world.release("1.0.0", ctr: 1), to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        let process = try device.present.process
        #expect(try await device.lab.converge(process))
        let target = try #require(try await device.journal.desired().first?.target)
        let blobs = target.release.contentBlobs
        for blob in blobs { try process.store.remove(blob.digest) }
        let scrubber = Scrubber(
            journal: process.journal, reconciler: process.reconciler, store: process.store, engine: device.lab.engine,
            export: { _, _ in throw HubDevice.NeverHappened(what: "an export") },
            sources: [HubRepair(try device.service)], threads: NIOThreadPool.singleton, clock: .live,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, budget: 0)
        let report = try await scrubber.scrub(mayRestart: false) { _ in }
        #expect(report.findings.filter { $0.kind == .missingBlob }.allSatisfy { $0.repairedFrom == "hub" })
        #expect(try process.store.missing(blobs).isEmpty)
        await device.stop()
        // With no hub there is nothing to be had, and nothing to wait for.
        let alone = HubRepair(device.make(process))
        #expect(try await alone.blobs(for: try #require(blobs.first)) == nil)
    }

    @Test func aDownloadThatBreaksGoesOnWhereItStopped() async throws {
        let (device, id) = try await world.enrolled()
        let release = try world.operatorLab.release("1.0.0", ctr: 1, services: ["web": "web"]) { release in
            release.files["big"] = nil
        }
        try world.operatorLab.publish(release)
        await world.hub.breakNextDownload(after: 100)
        try await world.hub.assign(release, to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        await device.stop()
    }

    @Test func outsideTheDownloadWindowAReleaseIsSeenAndNotFetched() async throws {
        // The virtual day begins at 08:00; closed until 20:00, then open for ten hours.
        let window = try #require(MaintenanceWindow("0 20 * * * 10h"))
        let (device, id) = try await world.enrolled(windows: MaintenanceWindows(download: [window]))
        let release = try world.release("1.0.0", ctr: 1)
        let content = Set(release.contentBlobs.map { "/\($0.digest.hex)" })
        try await world.hub.assign(release, to: id)
        func isHeldBack() async throws -> Bool {
            try await device.service.reasons().contains { $0.code == "agent.window-closed" && $0.isProgress }
        }
        try await device.eventually("held back") { try await isHeldBack() }
        let fetched = await world.hub.requests.filter { request in content.contains { request.hasSuffix($0) } }
        #expect(fetched.isEmpty)
        #expect(try await device.target() == nil)
        // To wait is no failure: the polls keep to the hub's 30 s, and nothing is asked for but whether there is news.
        try await settle(device)
        var waits: Set<Int64> = []
        try await device.eventually("polls go on") {
            #expect(try await device.status("lastError") == nil)
            if let wait = try await device.status("nextPollInSeconds")?.integer { waits.insert(wait) }
            return await world.hub.requests.filter { $0 == "GET /v1/device/state" }.count > 5
        }
        #expect(waits.isSubset(of: [29, 30]), "\(waits)")
        #expect(await world.hub.requests.filter { !Self.isIdle($0) }.isEmpty)
        #expect(try await isHeldBack())
        // The window opens, and the hub has no news.
        world.clock.jump(by: 13 * 3_600)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        #expect(try await !isHeldBack())
        await device.stop()
    }

    @Test func aDeviceWhosePollsAreHeldHearsAtOnceAndKeepsToItsSlotWhereTheyAreNot() async throws {
        // A slot of a day lasts seven real minutes here: what happens in this test happens before it.
        await world.hub.pace(86_400, holdsPolls: true)
        let (device, id) = try await world.enrolled(longPoll: 20)
        try await device.eventually("polls held") { await world.hub.pollsHeld >= 2 }
        let release = try world.release("1.0.0", ctr: 1)
        try await world.hub.assign(release, to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        let held = await world.hub.pollsHeld
        try await device.eventually("held again") { await world.hub.pollsHeld > held }
        // Its hot set is full.
        await world.hub.pace(86_400, holdsPolls: false)
        try await device.eventually("its slot") {
            try await device.status("nextPollInSeconds")?.integer ?? 0 > 80_000
        }
        await device.stop()
    }

    @Test func aPollThatChangesNothingIsOneRequest() async throws {
        let (device, _) = try await world.enrolled()
        try await settle(device)
        await device.stop()
    }

    /// Waits for polls that ask for nothing but whether there is news.
    private func settle(_ device: HubDevice) async throws {
        try await device.eventually("settled") {
            await world.hub.clearRequests()
            // Two polls: whatever the first one brings is asked for before the second.
            for _ in 0..<2_000 {
                let seen = await world.hub.requests
                if seen.filter({ $0 == "GET /v1/device/state" }).count >= 2 { return seen.allSatisfy(Self.isIdle) }
                try await Task.sleep(for: .milliseconds(10))
            }
            return false
        }
    }

    private static func isIdle(_ request: String) -> Bool {
        ["/state", "/token", "/reports"].contains { request.hasSuffix($0) }
    }

    @Test func theDeviceGoesOnWithoutItsHubAndComesBack() async throws {
        let (device, id) = try await world.enrolled()
        try await world.hub.assign(world.release("1.0.0", ctr: 1), to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        #expect(try await device.lab.converge(try device.present.process))
        await world.hub.set(.away)
        try await device.eventually("noticed") { try await device.status("lastError") != nil }
        let reasons = try await device.service.reasons()
        #expect(reasons.filter { !$0.isProgress }.isEmpty)
        // Meanwhile a stick with a newer release; then the agent restarts, still without a hub.
        let newer = try world.release("3.0.0", ctr: 3)
        try await device.present.process.importer.importRelease(from: world.operatorLab.source()) { _ in }
        #expect(try await device.lab.converge(try device.present.process))
        await device.stop()
        try await device.start()
        await world.hub.set(.fair)
        try await device.eventually("a poll") { try await device.status("lastPoll") != nil }
        try await device.eventually("said why") {
            try await device.service.reasons().contains { $0.code == "agent.older-than-target" }
        }
        #expect(try await device.target() == "3.0.0")
        // The hub catches up with what the device runs, and there is nothing left to say.
        try await world.hub.assign(newer, to: id)
        try await device.eventually("agreed") { try await device.service.reasons().isEmpty }
        #expect(try await device.target() == "3.0.0")
        await device.stop()
    }

    @Test func aHubThatIsNotHeardAnyMoreIsLookedUpAgain() async throws {
        let (device, _) = try await world.enrolled()
        let name = try #require(InterfaceName("hf0"))
        func isLost() throws -> Bool { try #require(world.links.plan(name)).isLost }
        #expect(try !isLost())
        await world.hub.set(.away)
        try await device.eventually("looked up") { try isLost() }
        await world.hub.set(.fair)
        try await device.eventually("left alone") { try !isLost() }
        await device.stop()
    }

    /// In the middle of a poll as well as before it: what the verifier lacks is no fault of what the hub says.
    @Test(arguments: ["timestamp.json", "snapshot.json", "targets.json", "1.0.0"])
    func aHubThatGoesAwayInTheMiddleOfAPollIsAway(file: String) async throws {
        let (device, id) = try await world.enrolled()
        let release = try world.release("1.0.0", ctr: 1)
        let document = try Digest.sha256(release.encoded()).hex
        await world.hub.goAway(before: file == "1.0.0" ? document : file)
        try await world.hub.assign(release, to: id)
        try await device.eventually("noticed") { try await device.status("lastError") != nil }
        #expect(try await device.status("lastError", "code")?.string == "hub-link.unreachable")
        #expect(try await device.service.reasons().allSatisfy(\.isProgress))
        await world.hub.goAway(before: nil)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        await device.stop()
    }

    @Test func whatAPersonWentBackFromIsNotBroughtAgain() async throws {
        let (device, id) = try await world.enrolled()
        for (version, ctr) in [("1.0.0", Int64(1)), ("2.0.0", 2)] {
            try await world.hub.assign(world.release(version, ctr: ctr), to: id)
            try await device.eventually(version) { try await device.target() == version }
            #expect(try await device.lab.converge(try device.present.process))
        }
        _ = try await device.journal.rollBack("shop")
        // The floors of 2.0.0 stand; the device is back on 1.0.0 because a person said so.
        await device.stop()
        try await device.start()
        try await device.eventually("held back") {
            try await device.service.reasons().contains { $0.code == "agent.held-back" }
        }
        #expect(try await device.target() == "1.0.0")
        try await world.hub.assign(world.release("3.0.0", ctr: 3), to: id)
        try await device.eventually("3.0.0") { try await device.target() == "3.0.0" }
        await device.stop()
    }

    @Test func reportsArriveOnceThoughAnswersAreLost() async throws {
        let (device, id) = try await world.enrolled()
        // With a token in hand: one whose answer is lost would keep the reports from ever being sent.
        try await device.eventually("a poll") { try await device.status("lastPoll") != nil }
        await world.hub.set(.answersLost)
        try await device.journal.record(app: "shop", code: "test.event", message: "one")
        try await device.eventually("sent") {
            await world.hub.requests.filter { $0.hasSuffix("/reports") }.count >= 3
        }
        await world.hub.set(.fair)
        try await device.journal.record(app: "shop", code: "test.event", message: "two")
        try await device.eventually("all acknowledged") {
            let words = try await world.hub.envelopes(of: id).flatMap(\.content).compactMap { $0["message"]?.string }
            let backlog = try await device.journal.reportBacklog()
            return words.contains("two") && backlog.segments == 0 && backlog.entries == 0
        }
        let envelopes = try await world.hub.envelopes(of: id)
        #expect(envelopes.map(\.sequence) == Array(1...Int64(envelopes.count)))
        let words = envelopes.flatMap(\.content).compactMap { $0["message"]?.string }
        #expect(words.filter { $0 == "one" }.count == 1 && words.filter { $0 == "two" }.count == 1)
        #expect(envelopes.flatMap(\.content).contains { $0["kind"]?.string == "state" })
        await device.stop()
    }

    @Test func theKeyIsChangedWhenTheHubAsksAndTheOldOneGoes() async throws {
        let (device, id) = try await world.enrolled()
        let before = try #require(try await world.hub.devices().first?.keys)
        await world.hub.askForKey(true)
        try await device.eventually("changed") { try await device.status("tunnel", "rotations")?.integer == 1 }
        await world.hub.askForKey(false)
        let after = try #require(try await world.hub.devices().first)
        #expect(after.keys.count == 1 && after.keys != before && after.slot == .odd)
        #expect(world.links.names == ["hf1"])
        #expect(try FileSystem().status(Path.join(device.lab.layout.hub, "first.key")) == nil)
        // It goes on by the new key, after a restart and a reboot too.
        await device.stop()
        world.links.drop()
        try await device.start()
        try await world.hub.assign(world.release("1.0.0", ctr: 1), to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        await device.stop()
    }

    /// A hub forgets no key that it was offered, so a device that cannot use its next one must not make more and more.
    @Test func aChangeOfKeysThatIsGivenUpIsTriedAgainWithTheSameKey() async throws {
        let (device, id) = try await world.enrolled()
        let known = try await world.hub.bindings()
        await world.hub.turnDeaf(to: "hf1")
        await world.hub.askForKey(true)
        func staged() async throws -> TunnelKey? { try await world.hub.devices().first?.keys[.odd] }
        try await device.eventually("given up") {
            try await device.service.reasons().contains { $0.code == "wireguard.rotation" }
        }
        let next = try #require(try await staged())
        #expect(world.links.names == ["hf0"], "the tunnel that does not answer is gone")
        await world.hub.clearRequests()
        try await device.eventually("tried again") {
            await world.hub.requests.contains("POST /v1/device/keys")
        }
        #expect(try await staged() == next)
        #expect(try await world.hub.bindings() == known + 1)
        await world.hub.turnDeaf(to: nil)
        try await device.eventually("changed") { try await device.status("tunnel", "rotations")?.integer == 1 }
        let after = try #require(try await world.hub.devices().first { $0.id.text == id })
        #expect(after.keys == [.odd: next])
        #expect(try await world.hub.bindings() == known + 1)
        await device.stop()
    }

    @Test func aKeyThatTheHubDoesNotTakeKeepsNoDeviceFromPolling() async throws {
        let (device, id) = try await world.enrolled()
        await world.hub.refuseKeys(true)
        await world.hub.askForKey(true)
        try await device.eventually("refused") {
            try await device.service.reasons().contains { $0.message.contains("too-soon") }
        }
        // A change of keys is under way now, and the agent starts again in the middle of it.
        await device.stop()
        try await device.start()
        try await world.hub.assign(world.release("1.0.0", ctr: 1), to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        #expect(try await device.status("tunnel", "rotations")?.integer == 0)
        await world.hub.refuseKeys(false)
        world.clock.jump(by: 700)
        try await device.service.wake()
        try await device.eventually("changed") { try await device.status("tunnel", "rotations")?.integer == 1 }
        await device.stop()
    }

    /// The hub has taken the next key, and its tunnel cannot be made: an agent that starts then works through the other.
    @Test func aTunnelThatCannotBeMadeKeepsNoDeviceFromPolling() async throws {
        let (device, id) = try await world.enrolled()
        world.links.refuse("hf1")
        await world.hub.askForKey(true)
        try await device.eventually("cannot be made") {
            try await device.service.reasons().contains { $0.message.contains("no name server") }
        }
        await device.stop()
        try await device.start()
        try await world.hub.assign(world.release("1.0.0", ctr: 1), to: id)
        try await device.eventually("1.0.0") { try await device.target() == "1.0.0" }
        #expect(try await device.status("tunnel", "rotations")?.integer == 0)
        world.links.refuse(nil)
        world.clock.jump(by: 700)
        try await device.service.wake()
        try await device.eventually("changed") { try await device.status("tunnel", "rotations")?.integer == 1 }
        await device.stop()
    }

    @Test func theKeyIsChangedOnTheDevicesOwnSchedule() async throws {
        let (device, _) = try await world.enrolled(rotationDays: 90)
        world.clock.jump(by: 89 * 86_400)
        try await device.service.wake()
        try await Task.sleep(for: .milliseconds(300))
        #expect(try await device.status("tunnel", "rotations")?.integer == 0)
        world.clock.jump(by: 2 * 86_400)
        try await device.service.wake()
        try await device.eventually("changed") { try await device.status("tunnel", "rotations")?.integer == 1 }
        await device.stop()
    }

    @Test func anotherHistoryOfTheAuditLogIsRefusedAndShown() async throws {
        let (device, _) = try await world.enrolled()
        try await device.eventually("a checkpoint") { try await device.status("audit", "size")?.integer ?? 0 > 0 }
        let signer = try Ed25519Signer(seed: [UInt8](repeating: 11, count: 32))
        let forged = try Checkpoint(origin: "hub.test/audit", size: 1_000, root: .sha256([1])).signed(by: signer)
        await world.hub.lie(with: forged.bytes)
        // Something happens, so that the log grows and the device looks.
        _ = try await world.hub.token()
        await world.hub.relabel(["site": "elsewhere"])
        try await device.eventually("found out") {
            try await device.service.reasons().contains { $0.code == "hub-link.inconsistent-log" && !$0.isProgress }
        }
        #expect(try await device.status("audit", "consistent")?.bool == false)
        await device.stop()
    }

    @Test func aDeviceThatBootsIn1970IsSetForwardToTheFloorBeforeItsTunnel() async throws {
        let (device, _) = try await world.enrolled(setsClock: true)
        await device.stop()
        world.clock.jump(by: -1_700_000_000)
        world.links.drop()
        #expect(device.clockSettings.withLock { $0 }.isEmpty)
        try await device.start()
        try await device.eventually("clock set") { !device.clockSettings.withLock { $0 }.isEmpty }
        let set = try #require(device.clockSettings.withLock { $0 }.first)
        // Not below the last answer of the hub, kept to a minute and exceeded by the margin.
        #expect(set >= Timestamp(seconds: 1_800_000_000))
        await device.stop()
    }

    @Test func leavingForgetsKeysAndTunnelsAndKeepsTrust() async throws {
        let (device, _) = try await world.enrolled()
        try await device.service.leave()
        #expect(world.links.names.isEmpty)
        #expect(try FileSystem().list(device.lab.layout.hub).isEmpty)
        #expect(try await device.journal.trustState() != nil)
        #expect(try await device.status("phase")?.string == "none")
        await #expect { try await device.service.leave() } throws: { ($0 as? HubLinkError)?.reason == .notEnrolled }
        // And it can come back, as a new member.
        try await device.service.enrol(token: try await world.hub.token())
        try await device.eventually("enrolled") { try await device.status("enrolled")?.bool == true }
        #expect(try await world.hub.devices().count == 2)
        await device.stop()
    }

    @Test func aStandingThatCannotBeReadIsSaidAndNotOverwritten() async throws {
        let device = world.device()
        try FileSystem().makeDirectories(device.lab.layout.hub, mode: 0o700, op: "test")
        let path = Path.join(device.lab.layout.hub, "standing.json")
        try FileSystem().replace(path, with: Array("{\"schema\": 1}".utf8), mode: 0o600, op: "test")
        let service = try await device.start()
        try await device.eventually("said") { await service.reasons().contains { $0.code == "hub-link.state" } }
        #expect(try FileSystem().read(path, limit: 100) == Array("{\"schema\": 1}".utf8))
        await device.stop()
    }
}
