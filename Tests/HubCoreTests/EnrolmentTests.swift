import Base
import HubCore
import HubProtocol
import Testing
import Trust
import WireGuard

/// One device's keys, and the request it makes of them with a token.
struct ModelDevice {
    let wireGuard: SecretKey
    let signer: Ed25519Signer

    init(_ generator: inout SeededGenerator) throws {
        func bytes() -> [UInt8] { (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) } }
        wireGuard = try #require(SecretKey(bytes: bytes()))
        signer = try Ed25519Signer(seed: bytes())
    }

    init(wireGuard: SecretKey, signer: Ed25519Signer) {
        self.wireGuard = wireGuard
        self.signer = signer
    }

    func request(_ token: EnrolmentToken) throws -> EnrolmentRequest {
        try EnrolmentRequest(
            token: token, privateKey: wireGuard, signingKey: signer.publicKey, architecture: "amd64", hostName: "box")
    }
}

/// A store as small as the rules need: what a commit would hold.
struct ModelHub {
    let sealing: Sealing
    let identity: HubIdentity
    var tokens: [EnrolmentTokenID: TokenRecord] = [:]
    var bindings: [String: KeyBinding] = [:]
    var devices: [DeviceID: Device] = [:]
    var sites: [UInt16: SiteRecord] = [:]
    var events: [AuditEvent] = []

    init() throws {
        let key = try #require(SecretKey(bytes: Array(repeating: 3, count: 32)))
        sealing = Sealing(key: try #require(SecretKey(bytes: Array(repeating: 4, count: 32))))
        identity = HubIdentity(
            publicKey: try key.derivePublicKey(), host: "hub.example.org", port: 51820, rootDigest: .sha256([]),
            network: try #require(TunnelNetwork(bytes: [0xFD, 0, 0, 0, 0, 1])))
    }

    mutating func makeToken(_ options: TokenOptions = TokenOptions(), seed: UInt8, now: Timestamp) throws
        -> EnrolmentToken
    {
        let made = try TokenRecord.make(
            options, seed: Array(repeating: seed, count: 32), hub: identity, sealing: sealing, now: now)
        tokens[made.record.id] = made.record
        return made.token
    }

    func decide(_ request: EnrolmentRequest, now: Timestamp) -> EnrolmentRules.Decision {
        let (wireGuard, signing) = EnrolmentRules.bindingKeys(request)
        let token = tokens[request.token]
        let wireGuardBinding = bindings[KeyBinding.recordID(.wireGuard, wireGuard)]
        let signingBinding = bindings[KeyBinding.recordID(.signing, signing)]
        let id = (wireGuardBinding ?? signingBinding)?.device
        return EnrolmentRules.decide(
            request,
            .init(
                token: token, wireGuardBinding: wireGuardBinding, signingBinding: signingBinding,
                device: id.flatMap { devices[$0] }, site: token.flatMap { sites[$0.site] }), now: now)
    }

    /// The commit; false when an expected version does not hold, as a real store would answer.
    mutating func commit(_ change: EnrolmentRules.Change, readAt token: TokenRecord?) -> Bool {
        guard tokens[change.token.id] == token, change.bindings.allSatisfy({ bindings[$0.recordID] == nil }),
            (sites[change.site.site]?.nextIndex ?? 1) + 1 == change.site.nextIndex
        else { return false }
        tokens[change.token.id] = change.token
        for binding in change.bindings { bindings[binding.recordID] = binding }
        devices[change.device.id] = change.device
        sites[change.site.site] = change.site
        events.append(change.event)
        return true
    }

    mutating func enrol(_ request: EnrolmentRequest, now: Timestamp) -> EnrolmentRules.Decision {
        let decision = decide(request, now: now)
        if case .enrol(let change) = decision {
            let token = tokens[request.token]
            #expect(commit(change, readAt: token))
        }
        return decision
    }
}

private let start = Timestamp(seconds: 1_800_000_000)

@Suite struct EnrolmentTests {
    var generator = SeededGenerator(seed: 42)

    private func refusal(_ decision: EnrolmentRules.Decision) -> EnrolmentRules.Refusal? {
        if case .refuse(let refusal, let event) = decision {
            #expect(event.kind.isAlarm)
            return refusal
        }
        return nil
    }

    @Test mutating func oneTokenEnrolsOneDeviceAndAnswersItAgain() throws {
        var hub = try ModelHub()
        let token = try hub.makeToken(
            TokenOptions(fleet: try FleetID("edge"), labels: ["site": "berlin"]), seed: 1, now: start)
        let device = try ModelDevice(&generator)
        guard case .enrol(let change) = hub.enrol(try device.request(token), now: start) else {
            Issue.record("not enrolled")
            return
        }
        #expect(change.device.state == .active)
        #expect(change.device.labels == ["site": "berlin", "fleet": "edge"])
        #expect(hub.enrol(try device.request(token), now: start) == .known(change.device))
        // The answer was lost and the token has run out meanwhile: still the same answer.
        #expect(hub.enrol(try device.request(token), now: start + 100_000) == .known(change.device))
        let answer = try EnrolmentRules.answer(for: change.device, network: hub.identity.network)
        let address = try #require(IPAddress("fd00:0:1:1::2"))
        #expect(answer == .enrolled(device: change.device.id.text, address: address, hub: hub.identity.network.hub))
        #expect(hub.events.map(\.kind) == [.deviceEnrolled])
    }

    @Test mutating func otherKeysWithAUsedTokenAreRefusedAndAlarmed() throws {
        var hub = try ModelHub()
        let token = try hub.makeToken(seed: 1, now: start)
        let first = try ModelDevice(&generator)
        let second = try ModelDevice(&generator)
        _ = hub.enrol(try first.request(token), now: start)
        #expect(refusal(hub.enrol(try second.request(token), now: start)) == .tokenUsed)
        // One key of the first and one of the thief's.
        let mixed = ModelDevice(wireGuard: first.wireGuard, signer: second.signer)
        #expect(refusal(hub.enrol(try mixed.request(token), now: start)) == .keyBound)
        let mixedOther = ModelDevice(wireGuard: second.wireGuard, signer: first.signer)
        #expect(refusal(hub.enrol(try mixedOther.request(token), now: start)) == .keyBound)
    }

    @Test mutating func aBoundKeyIsNeverBoundAgain() throws {
        var hub = try ModelHub()
        let device = try ModelDevice(&generator)
        _ = hub.enrol(try device.request(try hub.makeToken(seed: 1, now: start)), now: start)
        let fresh = try hub.makeToken(seed: 2, now: start)
        #expect(refusal(hub.enrol(try device.request(fresh), now: start)) == .keyBound)
        #expect(hub.tokens[try fresh.credential().id]?.used == 0)
    }

    @Test mutating func deletingADeviceRevivesNothing() throws {
        var hub = try ModelHub()
        let token = try hub.makeToken(seed: 1, now: start)
        let device = try ModelDevice(&generator)
        _ = hub.enrol(try device.request(token), now: start)
        hub.devices.removeAll()
        #expect(refusal(hub.enrol(try device.request(token), now: start)) == .deviceRemoved)
        let other = try ModelDevice(&generator)
        #expect(refusal(hub.enrol(try other.request(token), now: start)) == .tokenUsed)
        let fresh = try hub.makeToken(seed: 2, now: start)
        #expect(refusal(hub.enrol(try device.request(fresh), now: start)) == .keyBound)
    }

    @Test mutating func unknownExpiredAndRevokedTokensAreRefused() throws {
        var hub = try ModelHub()
        let device = try ModelDevice(&generator)
        let token = try hub.makeToken(seed: 1, now: start)
        #expect(refusal(hub.enrol(try device.request(token), now: start + 3_600)) == .tokenExpired)
        let id = try token.credential().id
        hub.tokens[id]?.isRevoked = true
        #expect(refusal(hub.enrol(try device.request(token), now: start)) == .tokenRevoked)
        hub.tokens[id] = nil
        #expect(refusal(hub.enrol(try device.request(token), now: start)) == .unknownToken)
    }

    @Test mutating func aBatchWaitsForApprovalOneByOne() throws {
        var hub = try ModelHub()
        let token = try hub.makeToken(TokenOptions(uses: 2), seed: 1, now: start)
        let devices = try (0..<3).map { _ in try ModelDevice(&generator) }
        guard case .enrol(let change) = hub.enrol(try devices[0].request(token), now: start) else {
            Issue.record("not enrolled")
            return
        }
        let network = hub.identity.network
        #expect(change.device.state == .waiting)
        #expect(change.device.peers(in: network).isEmpty)
        #expect(
            try EnrolmentRules.answer(for: change.device, network: network)
                == .waiting(device: change.device.id.text, retryAfter: 30))
        let approved = try DeviceRules.approve(change.device, by: "operator:ana", now: start)
        hub.devices[approved.device.id] = approved.device
        #expect(hub.enrol(try devices[0].request(token), now: start) == .known(approved.device))
        #expect(approved.device.peers(in: network).count == 1)

        guard case .enrol(let second) = hub.enrol(try devices[1].request(token), now: start) else {
            Issue.record("not enrolled")
            return
        }
        hub.devices[second.device.id] = try DeviceRules.reject(second.device, by: "operator:ana", now: start).device
        #expect(refusal(hub.enrol(try devices[1].request(token), now: start)) == .deviceRemoved)
        // A rejection gives no use back.
        #expect(refusal(hub.enrol(try devices[2].request(token), now: start)) == .tokenUsed)
    }

    /// Random order of requests, repeats, lost answers, racing reads, deletions and time, over many tokens.
    @Test(arguments: 1...12) func underAnyScheduleTheRulesHold(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var hub = try ModelHub()
        var now = start
        let tokens = try (0..<4).map { index in
            try hub.makeToken(TokenOptions(uses: index == 3 ? 3 : 1), seed: UInt8(index + 1), now: now)
        }
        var devices = try (0..<6).map { _ in try ModelDevice(&generator) }
        devices.append(ModelDevice(wireGuard: devices[0].wireGuard, signer: devices[1].signer))
        var everBound: [String: DeviceID] = [:]
        var answered: [String: DeviceID] = [:]
        for _ in 0..<150 {
            let requests = try (0..<2).map { _ in
                try devices[Int.random(in: 0..<devices.count, using: &generator)]
                    .request(tokens[Int.random(in: 0..<tokens.count, using: &generator)])
            }
            // Both read before either commits: the second commit must notice.
            let read = requests.map { (hub.decide($0, now: now), hub.tokens[$0.token]) }
            for (request, (decision, token)) in zip(requests, read) {
                let name = "\(request.token) \(request.wireGuardKey.base64) \(request.signingKey.value)"
                switch decision {
                case .enrol(let change):
                    // A crash before the commit leaves nothing behind, one after it leaves all.
                    guard Int.random(in: 0..<4, using: &generator) > 0, hub.commit(change, readAt: token) else {
                        continue
                    }
                    for binding in change.bindings {
                        #expect(everBound.updateValue(binding.device, forKey: binding.recordID) == nil)
                    }
                    answered[name] = change.device.id
                case .known(let device): #expect(answered[name] == device.id)
                case .refuse(_, let event): #expect(event.kind == .enrolmentRefused)
                }
            }
            if Int.random(in: 0..<10, using: &generator) == 0, let victim = hub.devices.keys.sorted().first {
                hub.devices[victim] = nil
            }
            if Int.random(in: 0..<20, using: &generator) == 0 { now = now + 600 }
            for token in hub.tokens.values { #expect(token.used <= token.uses) }
        }
        #expect(!answered.isEmpty)
        #expect(Set(answered.values).count == answered.count, "two devices share an id")
        let addresses = hub.devices.values.map { "\($0.site)/\($0.index)" }
        #expect(Set(addresses).count == addresses.count)
    }

    @Test mutating func keysRotateMakeBeforeBreak() throws {
        var hub = try ModelHub()
        let network = hub.identity.network
        let token = try hub.makeToken(seed: 1, now: start)
        let model = try ModelDevice(&generator)
        guard case .enrol(let change) = hub.enrol(try model.request(token), now: start) else {
            Issue.record("not enrolled")
            return
        }
        let next = try ModelDevice(&generator).wireGuard.derivePublicKey()
        let staged = try #require(try DeviceRules.stageKey(next, for: change.device, binding: nil, now: start))
        #expect(staged.device.peers(in: network).map(\.address.description) == ["fd00:0:1:1::2", "fd00:0:1:1::3"])
        // The same again is nothing new; under another device's binding it is refused.
        #expect(try DeviceRules.stageKey(next, for: staged.device, binding: staged.binding, now: start) == nil)
        let taken = try #require(hub.bindings.values.first)
        #expect(throws: HubError.self) {
            try DeviceRules.stageKey(next, for: change.device, binding: taken, now: start)
        }
        #expect(DeviceRules.completeRotation(staged.device, heardAt: .even, now: start) == nil)
        let done = try #require(DeviceRules.completeRotation(staged.device, heardAt: .odd, now: start))
        #expect(done.device.peers(in: network).map(\.publicKey) == [next])
        #expect(done.device.credentialGeneration == 2)
    }

    @Test mutating func revokingEndsPeersAndTokens() throws {
        var hub = try ModelHub()
        let token = try hub.makeToken(seed: 1, now: start)
        guard case .enrol(let change) = hub.enrol(try ModelDevice(&generator).request(token), now: start) else {
            Issue.record("not enrolled")
            return
        }
        let revoked = try DeviceRules.revoke(change.device, reason: "stolen", by: "operator:ana", now: start)
        #expect(revoked.device.peers(in: hub.identity.network).isEmpty)
        #expect(revoked.device.credentialGeneration > change.device.credentialGeneration)
        #expect(throws: HubError.self) { try DeviceRules.approve(revoked.device, by: "x", now: start) }
    }

    @Test func aStoredTokenHoldsNothingToUse() throws {
        var hub = try ModelHub()
        let token = try hub.makeToken(seed: 1, now: start)
        let credential = try token.credential()
        let record = try #require(hub.tokens[credential.id])
        let stored = Hex.encode(try record.encoded())
        let psk = credential.presharedKey.withUnsafeBytes { Array($0) }
        #expect(!stored.contains(Hex.encode(psk)) && !record.sealedPresharedKey.starts(with: psk))
        #expect(!stored.contains(Hex.encode(token.seed)))
        let peer = try #require(try record.peer(in: hub.identity.network, at: start, sealing: hub.sealing))
        #expect(peer.presharedKey == credential.presharedKey)
        #expect(peer.publicKey == credential.publicKey)
        #expect(try record.peer(in: hub.identity.network, at: start + 3_600, sealing: hub.sealing) == nil)
        let other = Sealing(key: try #require(SecretKey(bytes: Array(repeating: 5, count: 32))))
        let error = #expect(throws: HubError.self) {
            try record.peer(in: hub.identity.network, at: start, sealing: other)
        }
        #expect(error?.reason == .sealBroken)
    }

    @Test(arguments: [
        TokenOptions(lifetime: 59), TokenOptions(lifetime: 31 * 86_400), TokenOptions(uses: 0),
        TokenOptions(uses: 10_001), TokenOptions(uses: 2, needsApproval: false), TokenOptions(site: 0),
        TokenOptions(site: 0xFFFF),
    ])
    func impossibleTokensAreRefused(_ options: TokenOptions) throws {
        var hub = try ModelHub()
        let error = #expect(throws: HubError.self) { try hub.makeToken(options, seed: 1, now: start) }
        #expect(error?.reason == .tokenOptions)
    }
}
