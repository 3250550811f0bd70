import Base
import Glibc
import HubCore
import HubProtocol
import HubStore
import Model
import TestSupport
import Testing
import WireGuard

/// What a fleet bears: cut cables, killed hubs, lost answers, strangers and stolen things.
@Suite(.serialized, .enabled(if: FleetLab.isPossible, FleetLab.reason), FleetScope(), .timeLimit(.minutes(5)))
struct FleetTests {
    private let lab: FleetLab

    init() throws { lab = try #require(FleetLab.current) }

    /// A device that has joined and polled.
    private func member() async throws -> (device: FleetDevice, id: String) {
        let device = try await lab.device()
        let result = try await device.enrol(try await lab.token())
        try #require(result.status == 0, "\(result.errorOutput)\n\(device.log)")
        try await device.polled()
        return (device, try #require(try await device.hubStatus()["device"]?.string))
    }

    // MARK: Tokens and keys

    @Test func aTokenIsGoodForOneSetOfKeys() async throws {
        let first = try await lab.device()
        let token = try await lab.token()
        let copy = lab.path("copied-token")
        try FileSystem().replace(copy, with: try FileSystem().read(token, limit: 4_096), mode: 0o600, op: "test")
        #expect(try await first.enrol(token, "--wipe").status == 0)
        #expect(try FileSystem().status(token) == nil, "the file on the stick is gone")
        try await first.polled()
        let id = try #require(try await first.hubStatus()["device"]?.string)
        let known = try await lab.deviceIDs().count

        // A thief with a copy.
        let thief = try await lab.device()
        let alarms = try await lab.refusals("token-used")
        let refused = try await thief.enrol(copy)
        #expect(refused.status != 0 && refused.errorOutput.contains("hub-link.refused"), "\(refused.errorOutput)")
        #expect(try await lab.refusals("token-used") == alarms + 1)
        #expect(try await lab.deviceIDs().count == known)

        // The same keys ask again, as a device does that lost the answer: the same device, and no alarm.
        try await first.stop(SIGKILL)
        try first.forgetAnswer(token: copy)
        try await first.start()
        try await first.polled()
        #expect(try await first.hubStatus()["device"]?.string == id)
        #expect(try await lab.deviceIDs().count == known)
        #expect(try await lab.refusals("token-used") == alarms + 1)

        // Keys that were bound once are never bound again, whatever the token.
        let twin = try await lab.device()
        try await twin.stop()
        try twin.takeKeys(of: first)
        try await twin.start()
        let bound = try await twin.enrol(try await lab.token())
        #expect(bound.status != 0, "\(bound.output)")
        #expect(try await lab.refusals("key-bound") == 1)

        // A deleted device revives neither its token nor its keys.
        try await lab.hub("device", "delete", id)
        try await first.stop(SIGKILL)
        try first.forgetAnswer(token: copy)
        try await first.start()
        try await eventually("the deleted device is refused") {
            try await first.hubStatus()["phase"]?.string == "refused"
        }
        #expect(try await lab.refusals("device-removed") == 1)
        let late = try await lab.device()
        #expect(try await late.enrol(copy).status != 0)
        #expect(try await !lab.deviceIDs().contains(id))
    }

    @Test func anImagedDeviceFindsItsTokenAndWipesIt() async throws {
        let token = try await lab.token("--label", "site=harbour")
        let device = try await lab.device(tokenFile: token)
        try await device.polled()
        try await eventually("the file is wiped") { try FileSystem().status(token) == nil }
        let id = try #require(try await device.hubStatus()["device"]?.string)
        #expect(try await lab.hub("device", "show", id)["labels"]?["site"]?.string == "harbour")
        // Asked for by hand, not at its slot.
        #expect(try await device.run("hub", "poll").status == 0)
        try await device.polled()
        #expect(try await device.run("hub", "leave").status == 0)
        #expect(try await device.hubStatus()["phase"]?.string == "none")
    }

    // MARK: Bad links

    @Test func aDeviceThatWasCutOffCatchesUp() async throws {
        let (device, id) = try await member()
        try await lab.hub("assign", "shop/1.0.0", "--device", id)
        try await eventually("1.0.0") { try await device.target() == "1.0.0" }
        try await lab.cut(device)
        try await lab.hub("assign", "shop/3.0.0", "--device", id)
        try await eventually("the device sees that it is alone") { try await device.hubStatus()["lastError"] != nil }
        #expect(try await device.target() == "1.0.0")
        try await lab.heal(device)
        try await eventually("3.0.0") { try await device.target() == "3.0.0" }
        #expect(try await device.hubStatus()["lastError"] == nil)
    }

    @Test func aDownloadGoesOnAtItsByteAfterTheHubWasKilled() async throws {
        let (device, id) = try await member()
        let before = try await device.received()
        try await lab.hub("assign", "shop/2.0.0", "--device", id)
        try await eventually("a part has come") { try await device.received() > before + FleetLab.releaseBytes / 3 }
        let daemon = try await lab.daemons("hub")
        try await lab.stopHub(SIGKILL)
        #expect(try await device.target() == nil, "the hub was killed too late for this test")
        try await lab.startHub()
        // The interface that the killed hub left is taken over.
        #expect(try await lab.daemons("hub") == daemon)
        try await eventually("2.0.0") { try await device.target() == "2.0.0" }
        let received = try await device.received() - before
        #expect(received > FleetLab.releaseBytes && received < FleetLab.releaseBytes * 5 / 4, "\(received) bytes")
    }

    @Test func aTunnelWhoseDaemonWasKilledComesBackWithAllItsPeers() async throws {
        let (device, id) = try await member()
        let before = try await lab.tunnelPeers()
        let daemons = try await lab.daemons("hub")
        try #require(!daemons.isEmpty)
        for daemon in daemons { kill(try #require(pid_t(daemon)), SIGKILL) }
        // Committed while there is no interface that could be told of it.
        try await lab.hub("assign", "shop/1.0.0", "--device", id)
        try await eventually("1.0.0 by a new tunnel") { try await device.target() == "1.0.0" }
        #expect(try await lab.daemons("hub").isDisjoint(with: daemons))
        #expect(try await lab.tunnelPeers() == before)
    }

    @Test func noReportIsLostAndNoneCountsTwice() async throws {
        let (device, id) = try await member()
        // A quarter of all packets is lost each way, and hub and agent are killed in the middle of what they do.
        try await lab.lose(0.25, at: device)
        for round in 0..<3 {
            try await lab.hub("device", "label", id, "round=\(round)")
            try await device.stop(SIGKILL)
            try await lab.stopHub(SIGKILL)
            try await device.start()
            try await lab.startHub()
            try await lab.hub("assign", round % 2 == 0 ? "shop/1.0.0" : "shop/3.0.0", "--device", id)
            try await Task.sleep(for: .seconds(1))
        }
        try await lab.lose(nil, at: device)
        try await eventually("all is acknowledged") {
            let reports = try await device.hubStatus()["reports"]
            return reports?["unacknowledged"]?.integer == 0 && reports?["waiting"]?.integer == 0
        }
        #expect(try await device.hubStatus()["reports"]?["dropped"]?.integer == 0)
        try await device.stop()
        try await lab.stopHub()
        let (numbers, events) = try await lab.reports(of: id)
        try await lab.startHub()
        #expect(!numbers.isEmpty && events.count > 3)
        for (epoch, sequences) in numbers { #expect(sequences == Array(1...Int64(sequences.count)), "epoch \(epoch)") }
        #expect(Set(events).count == events.count, "an event counts twice")
    }

    /// 1970 and 2046; nobody vouches for either.
    @Test(arguments: [0, 2_400_000_000])
    func aDeviceWithAWrongClockJoinsUpdatesAndReports(wall: Int64) async throws {
        let device = try await lab.device(wall: wall)
        let result = try await device.enrol(try await lab.token())
        try #require(result.status == 0, "\(result.errorOutput)\n\(device.log)")
        try await device.polled()
        let status = try await device.hubStatus()
        let year = Timestamp(seconds: wall).description.prefix(4)
        #expect(status["lastPoll"]?.string?.hasPrefix(year) == true, "the clock is wrong for the agent")
        let id = try #require(status["device"]?.string)
        try await lab.hub("assign", "shop/3.0.0", "--device", id)
        try await eventually("3.0.0") { try await device.target() == "3.0.0" }
        // The hub's ticket for the release repository is believed; the director's part stays as unsure as the clock.
        #expect(!device.log.contains("freshness ticket refused"), "\(device.log)")
        try await eventually("all is acknowledged") {
            let reports = try await device.hubStatus()["reports"]
            return reports?["unacknowledged"]?.integer == 0 && reports?["waiting"]?.integer == 0
        }
        // The clock is set right: a key of 1970 is old, and is changed on the device's own schedule.
        try await device.stop()
        try await device.start()
        try await device.polled()
        try await eventually("the key is as old as it may be") {
            try await device.hubStatus()["tunnel"]?["rotations"]?.integer == (wall == 0 ? 1 : 0)
        }
        #expect(try await device.target() == "3.0.0")
    }

    /// Where no hub is reached and no clock is right.
    @Test func aTicketIsCarriedToADeviceByHand() async throws {
        let device = try await lab.device(wall: 0)
        let provisioned = try await device.run(
            "provision", "--root", lab.path("repo/metadata/1.root.json"), "--device-id", "well-1")
        try #require(provisioned.status == 0, "\(provisioned.errorOutput)")
        let (stick, ticket) = (device.path("stick"), device.path("ticket.json"))
        try await lab.holdfast("bundle", "export", lab.path("repo"), "--release", "shop/1.0.0", "-o", stick)
        #expect(try await device.run("import", stick).status == 0)
        #expect(try await device.freshness() == "unknown")
        let shown = try await device.run("nonce", "--output", "json")
        let nonce = try #require(JSONValue(parsing: Array(shown.output.utf8))["nonce"]?.string)
        // The hub's key is not where the operator is: the operator names one for the occasion.
        try await lab.holdfast("keys", "generate", "courier", "--plain", "--keys", lab.path("keys"))
        try await lab.holdfast(
            "repo", "rotate", lab.path("repo"), "x-holdfast-freshness", "--keys", lab.path("keys"), "--new-key",
            "courier", "--new-key", lab.path("freshness.json"))
        try await lab.holdfast("bundle", "export", lab.path("repo"), "--release", "shop/1.0.0", "-o", stick)
        try await lab.holdfast(
            "ticket", "--repo", lab.path("repo"), "--keys", lab.path("keys"), "--device", "well-1", "--nonce", nonce,
            "-o", ticket)
        #expect(try await device.run("import", stick, "--ticket", ticket).status == 0)
        #expect(try await device.freshness() == "proven")
        let again = try await device.run("import", stick, "--ticket", ticket)
        #expect(again.errorOutput.contains("trust.ticket-invalid"), "\(again.errorOutput)")
    }

    // MARK: Strangers

    @Test func aHubWithAnotherKeyHearsNothing() async throws {
        let (device, _) = try await member()
        let asked = try await device.hubStatus()["lastPoll"]?.string
        // Somebody takes the hub's place on the wire: its address and port, every device's key as a peer, another key.
        let rogue = try await lab.standInForHub(peer: device)
        try await eventually("the device is alone") { try await device.hubStatus()["lastError"] != nil }
        _ = try await device.run("hub", "poll")
        try await Task.sleep(for: .seconds(6))
        #expect(try await device.hubStatus()["lastPoll"]?.string == asked)
        let shown = try await lab.inside("rogue", ["wg", "show", rogue, "latest-handshakes"])
        #expect(shown.split(separator: "\t").last?.trimmingPrefix(" ").hasPrefix("0") == true, "\(shown)")
        try await lab.endStandIn(for: device)
        try await device.polled()
    }

    @Test func nothingIsReadableOnTheWireAndNothingIsTakenTwice() async throws {
        let (device, id) = try await member()
        let capture = try await lab.capture(at: device, seconds: 4)
        for _ in 0..<3 {
            _ = try await device.run("hub", "poll")
            try await Task.sleep(for: .milliseconds(700))
        }
        #expect(try await capture.wait() == 0, "\(capture.errorOutput())")
        let frames = try await lab.frames()
        #expect(frames.count > 20)
        for word in ["/v1/device", "HTTP/1.1", "Bearer", id, "pumps"] {
            #expect(!frames.contains { $0.contains(row: Array(word.utf8)) }, "\(word) is on the wire")
        }
        // All of it again: the tunnel drops what it has seen, and goes on.
        try await lab.replayFrames(at: device)
        try await device.polled()
    }

    @Test func aStolenDatabaseHoldsNoSecretInClear() async throws {
        let (device, _) = try await member()
        let text = String(decoding: try FileSystem().read(try await lab.token(), limit: 4_096), as: UTF8.self)
        let token = try EnrolmentToken(text: text)
        let credential = try token.credential()
        var secrets: [(String, [UInt8])] = [
            ("a token's seed", token.seed),
            ("a token's private key", credential.privateKey.withUnsafeBytes { Array($0) }),
            ("a token's preshared key", credential.presharedKey.withUnsafeBytes { Array($0) }),
        ]
        for (name, bytes) in try device.privateKeys() { secrets.append(("a device's \(name)", bytes)) }
        #expect(secrets.count >= 5)
        // Also while it runs: what is only in the write-ahead log is in a copy too.
        let found = try await lab.search(secrets, besides: ["keys", "tls"])
        #expect(found.isEmpty, "\(found)")
        // And the search finds what is there: the hub's own key, by its file.
        let own = try FileSystem().read(lab.path("hub/keys/sealing.key"), limit: 256).prefix { $0 != 0x0A }
        let key = try #require(Base64.decode(String(decoding: own, as: UTF8.self)))
        #expect(try await !lab.search([("the sealing key", key)], besides: []).isEmpty)
    }

    // MARK: Changing keys

    @Test func aDeviceChangesItsKeyWhenItIsTold() async throws {
        let (device, id) = try await member()
        let before = try await lab.hub("device", "show", id)["wireguard_keys"]
        try await lab.hub("device", "rotate-key", id)
        try await eventually("the key is changed") {
            try await device.hubStatus()["tunnel"]?["rotations"]?.integer == 1
        }
        let after = try await lab.hub("device", "show", id)["wireguard_keys"]
        #expect(after?.array?.count == 1 && after != before)
        #expect(try await device.hubStatus()["lastError"] == nil)
        try await device.polled()
        #expect(try await lab.metrics(at: device) == [1_001])
        // Back to the slot of before: the route in use is not replaced by the one that is tried.
        try await lab.hub("device", "rotate-key", id)
        try await eventually("both slots are up") { try await lab.metrics(at: device) == [1_001, 2_000] }
        try await eventually("the key is changed again") {
            try await device.hubStatus()["tunnel"]?["rotations"]?.integer == 2
        }
        try await device.polled()
        #expect(try await lab.metrics(at: device) == [1_000])
    }

    @Test func aRevokedDeviceIsShutOutAtOnce() async throws {
        let (device, id) = try await member()
        try await lab.hub("device", "revoke", id)
        // The command has returned: from here on nothing of the device is heard.
        let key = try device.publicKeys()
        let peers = (try await lab.hub("peers").array ?? []).compactMap { $0["public_key"]?.string }
        #expect(Set(peers).isDisjoint(with: key))
        let last = try await device.hubStatus()["lastPoll"]?.string
        try await eventually("the device sees it") { try await device.hubStatus()["lastError"] != nil }
        #expect(try await device.hubStatus()["lastPoll"]?.string == last)
    }

    @Test func devicesFollowTheHubToItsNextKey() async throws {
        let (one, _) = try await member()
        let (two, id) = try await member()
        let old = try #require(try await lab.hub("key")["ends"]?.array?.first?["public_key"]?.string)
        try await lab.hub("key", "rotate")
        let shown = try await lab.hub("key")
        #expect(shown["ends"]?.array?.count == 2)
        let new = try #require(shown["ends"]?.array?.first?["public_key"]?.string)
        #expect(new != old)
        for device in [one, two] {
            try await eventually("device \(device.number) follows") {
                // Not one request is lost on the way.
                let status = try await device.hubStatus()
                try #require(status["lastError"]?["code"]?.string != "hub-link.unreachable", "\(status)")
                return status["tunnel"]?["rotations"]?.integer == 1
            }
        }
        let behind = (try await lab.hub("key")["behind"]?.array ?? []).compactMap(\.string)
        #expect(!behind.contains(id))
        try await lab.hub("key", "retire", "--force")
        #expect(try await lab.hub("key")["ends"]?.array?.count == 1)
        for device in [one, two] { try await device.polled() }
        // It survives its own restart, and tokens name the new key.
        try await lab.stopHub(SIGKILL)
        try await lab.startHub()
        for device in [one, two] { try await device.polled() }
        let (three, _) = try await member()
        #expect(try three.hubKey() == new)
        let kinds = try await lab.events().compactMap { $0["kind"]?.string }
        #expect(kinds.contains("hub.key-announced") && kinds.contains("hub.key-retired"))
    }

    @Test func keysAreChangedOnScheduleAndTheDeviceComesAlong() async throws {
        let (device, id) = try await member()
        // Devices of other tests that will never follow would hold the hub's last key up.
        for other in try await lab.deviceIDs() where other != id {
            let state = try await lab.hub("device", "show", other)["state"]?.string
            if state == "active" { try await lab.hub("device", "revoke", other) }
        }
        let (own, hubs) = (try device.publicKeys(), try device.hubKey())
        // The hub is down while its keys and the device's grow old. It changes its own and asks for the device's.
        let later = (FleetLab.keyDays + 1) * 86_400
        try await lab.stopHub()
        try await lab.startHub(ahead: later)
        try await lab.login()
        try await eventually("both keys are changed") {
            try await device.hubStatus()["tunnel"]?["rotations"]?.integer == 1
        }
        try await device.polled()
        #expect(try device.hubKey() != hubs)
        #expect(try Set(device.publicKeys()).isDisjoint(with: own))
        #expect(try await lab.hub("key")["behind"]?.array == [])
        // Two hours later nobody needs the last key any more.
        try await lab.stopHub()
        try await lab.startHub(ahead: later + 7_200)
        try await lab.login()
        try await eventually("the last key is retired") { try await lab.hub("key")["ends"]?.array?.count == 1 }
        try await device.polled()
        let hubsOrders = Set(
            try await lab.events().filter { $0["actor"]?.string == "hub" }.compactMap { $0["kind"]?.string })
        #expect(hubsOrders.isSuperset(of: ["hub.key-announced", "hub.key-retired", "device.rotation-asked"]))
    }
}
