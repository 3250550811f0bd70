import Base
import HubProtocol
import Model
import Testing
import Trust
import WireGuard

@testable import HubCore

private let now = Timestamp(seconds: 1_800_000_000)

@Suite struct RecordTests {
    private func device(_ name: String, _ labels: Labels, state: Device.State = .active) throws -> Device {
        var generator = SeededGenerator(seed: UInt64(name.utf8.reduce(0) { $0 &* 31 &+ Int($1) }))
        let model = try ModelDevice(&generator)
        return Device(
            id: try DeviceID(name), state: state, labels: labels, architecture: "arm64", hostName: name,
            signingKey: model.signer.publicKey.value, key: try model.wireGuard.derivePublicKey(), site: 1, index: 1,
            token: try #require(EnrolmentTokenID(bytes: Array(repeating: 1, count: 16))), enrolledAt: now)
    }

    @Test func recordsRoundTripAndStayTheSameBytes() throws {
        let device = try device("d-1", ["site": "berlin"])
        #expect(try Device(decoding: device.encoded()) == device)
        #expect(try device.encoded() == Device(decoding: device.encoded()).encoded())
        let fleet = try Fleet(id: FleetID("edge"), selector: Selector("a in (x,y),!b"))
        #expect(try Fleet(decoding: fleet.encoded()) == fleet)
        let binding = KeyBinding(use: .signing, key: "00", device: device.id, token: device.token, boundAt: now)
        #expect(try KeyBinding(decoding: binding.encoded()) == binding)
        let release = ReleaseRecord(
            app: try AppID("pump"), version: try #require(SemanticVersion("1.2.3")), ctr: 4, epoch: 0,
            digest: .sha256([]), length: 10, architectures: ["arm64"], addedAt: now)
        #expect(try ReleaseRecord(decoding: release.encoded()) == release)
        #expect(release.recordID == "pump/1.2.3")
    }

    @Test func aBriefSaysWhatTheDeviceDoes() throws {
        let network = try #require(TunnelNetwork(bytes: [0xFD, 1, 2, 3, 4, 5]))
        var full = try device("d-2", ["site": "berlin", "a": ""])
        let odd = WireGuard.PublicKey(bytes: Digest.sha256([7]).bytes)
        full.keys[.odd] = TunnelKey(try #require(odd))
        (full.slot, full.rotateKey, full.keySince, full.credentialGeneration) = (.odd, true, now, 9)
        full.hubKey = full.keys[.even]
        for device in [try device("d-1", [:]), full, try device("d-3", ["x": "y"], state: .revoked)] {
            // Of a row, and of the JSON that an earlier hub wrote.
            for stored in [try device.encoded(), try device.encodedJSON()] {
                try stored.withUnsafeBytes { bytes in
                    try DeviceBrief.read(bytes) { brief in
                        let id = try brief.id
                        #expect(id == device.id)
                        #expect(brief.state == device.state && brief.slot == device.slot)
                        #expect(brief.site == device.site && brief.index == device.index)
                        #expect(brief.credentialGeneration == device.credentialGeneration)
                        #expect(brief.rotateKey == (device.rotateKey ?? false))
                        #expect(brief.labels == device.labels && brief.recordLabels == device.recordLabels)
                        #expect(brief.peers(in: network) == device.peers(in: network))
                    }
                }
            }
            let row = try device.encoded()
            for count in row.indices {
                let cut = Array(row.prefix(count))
                #expect(throws: HubError.self) {
                    _ = try cut.withUnsafeBytes { bytes in try DeviceBrief.read(bytes) { $0.state } }
                }
            }
        }
    }

    /// Bytes of a whole device in its stored form: they stay readable in every later version.
    @Test func aDeviceRowHoldsEveryFieldAndIsTheSameInEveryVersion() throws {
        var device = try device("d-1", ["site": "berlin", "a": ""])
        let odd = WireGuard.PublicKey(bytes: Digest.sha256([7]).bytes)
        device.keys[.odd] = TunnelKey(try #require(odd))
        device.slot = .odd
        device.credentialGeneration = 7
        device.keySince = now + 5
        device.rotateKey = true
        #expect(Mirror(reflecting: device).children.count == 16, "a new field has to be in the row")
        let row = try device.encoded()
        #expect(try Device(decoding: row) == device)
        #expect(Digest.sha256(row).hex.prefix(16) == "06eab8ffefa30ede")
        // A field that came later, and is left out where there is none.
        device.hubKey = TunnelKey(try #require(odd))
        #expect(try Device(decoding: device.encoded()) == device)
        for count in row.indices {
            #expect(throws: HubError.self) { try Device(decoding: Array(row.prefix(count))) }
        }
        #expect(throws: HubError.self) { try Device(decoding: row + [0]) }
        #expect(throws: HubError.self) { try Device(decoding: [3] + row.dropFirst()) }
        for place in row.indices {
            var damaged = row
            damaged[place] ^= 0xFF
            _ = try? Device(decoding: damaged)
        }
    }

    @Test func aDeviceThatAnEarlierHubKeptAsJSONIsRead() throws {
        let device = try device("d-1", ["site": "berlin"])
        #expect(try Device(decoding: device.encodedJSON()) == device)
    }

    @Test func aLaterSchemaIsRefusedNotGuessed() throws {
        let text = #"{"record":{},"schema":2}"#
        let error = #expect(throws: HubError.self) { try Fleet(decoding: Array(text.utf8)) }
        #expect(error?.reason == .recordSchema)
        for bytes in [[], Array("{".utf8), Array(#"{"record":{},"schema":1}"#.utf8)] {
            let error = #expect(throws: HubError.self) { try Fleet(decoding: bytes) }
            #expect(error?.reason == .recordMalformed)
        }
    }

    @Test func noLabelHidesStateOrArchitecture() throws {
        let device = try device("d-1", ["state": "active", "arch": "mips"], state: .revoked)
        #expect(device.recordLabels["state"] == "revoked")
        #expect(device.recordLabels["arch"] == "arm64")
    }

    @Test func assignmentsResolveByClosenessThenPriority() throws {
        let device = try device("d-1", ["fleet": "edge", "ring": "canary"])
        let fleets = [
            try Fleet(id: FleetID("edge")), try Fleet(id: FleetID("canary"), selector: Selector("ring=canary")),
            try Fleet(id: FleetID("other")),
        ]
        func assign(_ id: String, _ target: Assignment.Target, _ app: String, _ content: UInt8, priority: Int = 0)
            throws -> Assignment
        {
            Assignment(
                id: try AssignmentID(id), target: target, app: try AppID(app),
                version: try #require(SemanticVersion("1.0.\(content)")), digest: .sha256([content]),
                priority: priority, madeAt: now)
        }
        let edge = try assign("a", .fleet(FleetID("edge")), "pump", 1)
        let canary = try assign("b", .fleet(FleetID("canary")), "pump", 2, priority: 5)
        let other = try assign("c", .fleet(FleetID("other")), "pump", 3, priority: 9)
        let own = try assign("d", .device(device.id), "pump", 4)
        let rival = try assign("e", .fleet(FleetID("edge")), "pump", 5, priority: 5)
        let agreeing = try assign("f", .fleet(FleetID("edge")), "pump", 2, priority: 5)
        let pump = try AppID("pump")
        func resolve(_ assignments: [Assignment]) -> AssignmentRules.Outcome? {
            let forward = AssignmentRules(fleets: fleets, assignments: assignments).resolve(device)[pump]
            #expect(
                forward == AssignmentRules(fleets: fleets, assignments: assignments.reversed()).resolve(device)[pump])
            return forward
        }
        #expect(resolve([other]) == nil)
        #expect(resolve([edge, other]) == .assigned(edge))
        #expect(resolve([edge, canary]) == .assigned(canary))
        #expect(resolve([edge, canary, own]) == .assigned(own))
        #expect(resolve([canary, rival]) == .conflict([canary.id, rival.id]))
        #expect(resolve([canary, agreeing]) == .assigned(canary))
        var revoked = device
        revoked.state = .revoked
        #expect(AssignmentRules(fleets: fleets, assignments: [edge, own]).resolve(revoked).isEmpty)
    }

    @Test func anAuditEventIsCanonicalAndBounded() throws {
        let event = AuditEvent(
            .tokenMade, at: now, actor: "operator:ana", subject: "token:1",
            fields: ["long": String(repeating: "ü", count: 5_000), "a": "b"])
        #expect(try AuditEvent(decoding: event.bytes) == event)
        #expect((event.fields["long"]?.utf8.count ?? 0) <= HubLimits.auditValueLength)
        let short = AuditEvent(.hubCreated, at: now, actor: "hub", subject: "hub")
        #expect(
            String(decoding: short.bytes, as: UTF8.self)
                == #"{"actor":"hub","at":"2027-01-15T08:00:00Z","fields":{},"kind":"hub.created","schema":1,"#
                + #""subject":"hub"}"#)
    }

    @Test func anIdempotencyKeyReplaysItsAnswerOnly() throws {
        let key = try IdempotencyKey("abc")
        let print = IdempotencyRecord.fingerprint(method: "POST", path: "/v1/tokens", body: [1])
        let stored = try IdempotencyRecord(
            caller: "ana", key: key, fingerprint: print, status: 201, answer: [7], now: now)
        #expect(IdempotencyRecord.judge(nil, fingerprint: print, now: now) == .perform)
        #expect(
            IdempotencyRecord.judge(stored, fingerprint: print, now: now + 1) == .replay(status: 201, answer: [7]))
        let other = IdempotencyRecord.fingerprint(method: "POST", path: "/v1/tokens", body: [2])
        #expect(IdempotencyRecord.judge(stored, fingerprint: other, now: now) == .mismatch)
        #expect(IdempotencyRecord.judge(stored, fingerprint: other, now: now + 86_400) == .perform)
        #expect(
            IdempotencyRecord.recordID(caller: "ana", key: key) != IdempotencyRecord.recordID(caller: "bob", key: key))
        for text in ["", "a b", "ü", String(repeating: "k", count: 129)] {
            #expect(throws: HubError.self) { try IdempotencyKey(text) }
        }
    }

    @Test func aSealOpensOnlyWithItsKeyContextAndBytes() throws {
        let sealing = Sealing(key: try SecretKey.generatePreshared())
        let secret = Array("preshared".utf8)
        let sealed = try sealing.seal(secret, context: "token 1")
        #expect(try sealing.open(sealed, context: "token 1") == secret)
        #expect(throws: HubError.self) { try sealing.open(sealed, context: "token 2") }
        for index in sealed.indices {
            var changed = sealed
            changed[index] ^= 0x80
            #expect(throws: HubError.self) { try sealing.open(changed, context: "token 1") }
        }
        #expect(throws: HubError.self) { try sealing.open(Array(sealed.prefix(27)), context: "token 1") }
        #expect(try sealing.seal(secret, context: "token 1") != sealed)
    }

    @Test(arguments: ["", "-a", "a-", "A", "a b", "a/b", "..", "ä", String(repeating: "a", count: 64)])
    func badNamesAreRefused(_ name: String) { #expect(throws: HubError.self) { try FleetID(name) } }
}
