import Base
import Glibc
import HubCore
import HubProtocol
import HubStore
import WireGuard

/// Enrolment over a store: reads what there is, lets the rules decide, commits the whole decision, answers.
///
/// Nothing is answered before it is durable. Who loses a race reads again and decides again.
public struct EnrolmentService: Sendable {
    /// Races that one call may lose before it gives up as `hub-store.busy`.
    public static let attempts = 100

    private let store: any MetadataStore
    /// The hub's keys; a new token names the newest.
    private let keyring: HubKeyring
    private let identity: HubIdentity
    private let sealing: Sealing
    private let clock: SystemClock

    /// - Parameter identity: what is the same in all tokens; their key and port are the keyring's.
    public init(
        store: any MetadataStore, keyring: HubKeyring, identity: HubIdentity, sealing: Sealing,
        clock: SystemClock = .live
    ) {
        self.store = store
        self.keyring = keyring
        self.identity = identity
        self.sealing = sealing
        self.clock = clock
    }

    /// For a hub that does not change its key.
    ///
    /// - Parameter hubKey: the private key of `identity.publicKey`.
    public init(
        store: any MetadataStore, hubKey: SecretKey, identity: HubIdentity, sealing: Sealing,
        clock: SystemClock = .live
    ) {
        let entry = HubKeyring.Entry(hubKey, publicKey: identity.publicKey, port: identity.port)
        self.init(
            store: store, keyring: HubKeyring(entry), identity: identity, sealing: sealing, clock: clock)
    }

    // MARK: Tokens

    /// A new token, durable before it is returned. Its seed is nowhere but in it.
    public func makeToken(_ options: TokenOptions, by actor: String) async throws -> EnrolmentToken {
        try await makeToken(options, by: actor) { _, _ in [] }.token
    }

    /// The same, with what `also` makes of it written in the same commit.
    public func makeToken(
        _ options: TokenOptions, by actor: String, also: (EnrolmentToken, TokenRecord) throws -> [Commit.Write]
    ) async throws -> (token: EnrolmentToken, record: TokenRecord) {
        var seed = [UInt8](repeating: 0, count: EnrolmentToken.seedBytes)
        guard getentropy(&seed, seed.count) == 0 else {
            throw HubError(.crypto, "token", "the kernel gives no random bytes")
        }
        let now = clock.now()
        var hub = identity
        let end = keyring.current
        (hub.publicKey, hub.port) = (end.publicKey, end.port)
        let (token, record) = try TokenRecord.make(options, seed: seed, hub: hub, sealing: sealing, now: now)
        let event = AuditEvent(
            .tokenMade, at: now, actor: actor, subject: "token:\(record.id)",
            fields: ["uses": String(record.uses), "expires": record.expires.description, "site": String(record.site)])
        let writes = [try Commit.Write.put(record, expecting: .absent)] + (try also(token, record))
        try await store.commit(Commit(writes, events: [event]))
        return (token, record)
    }

    /// Ends a token at once; devices that it enrolled stay. Answers whether it was not ended before.
    @discardableResult
    public func revokeToken(_ id: EnrolmentTokenID, by actor: String) async throws -> Bool {
        try await retrying {
            guard let (record, version) = try await store.record(TokenRecord.self, id.description) else {
                throw EnrolmentRefused(.unknownToken)
            }
            guard !record.isRevoked else { return false }
            var revoked = record
            revoked.isRevoked = true
            let event = AuditEvent(.tokenRevoked, at: clock.now(), actor: actor, subject: "token:\(id)")
            try await store.commit(Commit([.put(revoked, expecting: .version(version))], events: [event]))
            return true
        }
    }

    // MARK: Devices

    /// Answers an enrolment request that came through the temporary peer of the token `peer`.
    ///
    /// - Throws: `hub-protocol.*` for a request that proves nothing (no trace is left of it), ``EnrolmentRefused``
    ///   once the refusal is in the audit log.
    public func redeem(_ request: [UInt8], through peer: EnrolmentTokenID) async throws -> EnrolmentAnswer {
        let (request, hubKey) = try keyring.read { (key) throws(HubProtocolError) in
            try EnrolmentRequest(verifying: request, hubKey: key)
        }
        return try await retrying {
            let reading = try await read(request)
            var situation = reading.situation
            // A request with another token's name in this token's tunnel is a stranger's.
            if request.token != peer { situation.token = nil }
            switch EnrolmentRules.decide(request, situation, now: clock.now()) {
            case .known(let device):
                return try EnrolmentRules.answer(for: device, network: identity.network)
            case .refuse(let refusal, let event):
                try await store.commit(Commit([], events: [event]))
                throw EnrolmentRefused(refusal)
            case .enrol(var change):
                change.device.hubKey = TunnelKey(hubKey)
                let answer = try EnrolmentRules.answer(for: change.device, network: identity.network)
                try await store.commit(commit(change, reading))
                return answer
            }
        }
    }

    private struct Reading {
        var situation: EnrolmentRules.Situation
        var tokenVersion: Int64?
        var siteVersion: Int64?
    }

    private func read(_ request: EnrolmentRequest) async throws -> Reading {
        let (wireGuard, signing) = EnrolmentRules.bindingKeys(request)
        let token = try await store.record(TokenRecord.self, request.token.description)
        let wireGuardBinding = try await store.record(
            KeyBinding.self, KeyBinding.recordID(.wireGuard, wireGuard))?.value
        let signingBinding = try await store.record(KeyBinding.self, KeyBinding.recordID(.signing, signing))?.value
        var device: Device?
        if let bound = wireGuardBinding ?? signingBinding {
            device = try await store.record(Device.self, bound.device.text)?.value
        }
        var site: (value: SiteRecord, version: Int64)?
        if let token { site = try await store.record(SiteRecord.self, SiteRecord.recordID(token.value.site)) }
        return Reading(
            situation: .init(
                token: token?.value, wireGuardBinding: wireGuardBinding, signingBinding: signingBinding, device: device,
                site: site?.value),
            tokenVersion: token?.version, siteVersion: site?.version)
    }

    private func commit(_ change: EnrolmentRules.Change, _ reading: Reading) throws -> Commit {
        func unchanged(_ version: Int64?) -> Commit.Expectation { version.map { .version($0) } ?? .absent }
        var writes: [Commit.Write] = [
            try .put(change.token, expecting: unchanged(reading.tokenVersion)),
            try .put(change.device, expecting: .absent),
            try .put(change.site, expecting: unchanged(reading.siteVersion)),
        ]
        for binding in change.bindings { writes.append(try .put(binding, expecting: .absent)) }
        return Commit(writes, events: [change.event])
    }

    /// Applies a rule of ``DeviceRules`` to a device: approve, reject, revoke, complete a rotation.
    ///
    /// - Parameter precondition: Throws for a version that the caller does not want changed; asked of each version that
    ///   the change is tried on.
    @discardableResult
    public func change(
        _ id: DeviceID, when precondition: @Sendable (Int64) throws -> Void = { _ in },
        _ rule: @Sendable (Device, Timestamp) throws -> DeviceRules.Change?
    ) async throws -> Device {
        try await retrying {
            let (device, version) = try await device(id)
            try precondition(version)
            guard let (changed, event) = try rule(device, clock.now()) else { return device }
            try await store.commit(Commit([.put(changed, expecting: .version(version))], events: [event]))
            return changed
        }
    }

    /// Takes a device's next WireGuard key in, beside the one in use.
    public func stageKey(_ key: WireGuard.PublicKey, for id: DeviceID) async throws -> Device {
        try await retrying {
            let (device, version) = try await device(id)
            let (bound, present) = (
                try await binding(key), try await binding(device.keys[device.slot.other]?.key)
            )
            guard
                let staged = try DeviceRules.stageKey(
                    key, for: device, binding: bound, staged: present, now: clock.now())
            else { return device }
            try await store.commit(
                Commit(
                    [
                        .put(staged.device, expecting: .version(version)), .put(staged.binding, expecting: .absent),
                    ], events: [staged.event]))
            return staged.device
        }
    }

    private func binding(_ key: WireGuard.PublicKey?) async throws -> KeyBinding? {
        guard let key else { return nil }
        return try await store.record(
            KeyBinding.self, KeyBinding.recordID(.wireGuard, Hex.encode(key.bytes)))?.value
    }

    /// Removes a device's record. Its key bindings and its token's use stay: neither is good for anything again.
    ///
    /// - Parameter precondition: As of ``change(_:when:_:)``.
    public func delete(
        _ id: DeviceID, when precondition: @Sendable (Int64) throws -> Void = { _ in }, by actor: String
    ) async throws {
        try await retrying {
            let (device, version) = try await device(id)
            try precondition(version)
            let event = AuditEvent(.deviceDeleted, at: clock.now(), actor: actor, subject: "device:\(id)")
            try await store.commit(Commit([.delete(device.key, expecting: .version(version))], events: [event]))
        }
    }

    private func device(_ id: DeviceID) async throws -> (value: Device, version: Int64) {
        guard let found = try await store.record(Device.self, id.text) else {
            throw HubError(.deviceState, "device \(id)", "is not known to this hub")
        }
        return found
    }

    // MARK: Peers

    /// Every peer that the hub's interface has to have now, from the store alone: what a restart restores, and
    /// what a change of the store is applied by.
    public func peers() async throws -> [TunnelPeer] {
        var peers: [TunnelPeer] = []
        try await eachPeer { _, wanted, _ in peers += wanted }
        return peers
    }

    /// The same by the record that each peer follows from, with the time at which a temporary one goes.
    public func eachPeer(_ body: (RecordKey, [TunnelPeer], Timestamp?) throws -> Void) async throws {
        try await store.eachBrief {
            let peers = $0.peers(in: identity.network)
            if !peers.isEmpty { try body(RecordKey(.device, try $0.id.text), peers, nil) }
        }
        let now = clock.now()
        try await store.each(TokenRecord.self) { record in
            if let peer = try record.peer(in: identity.network, at: now, sealing: sealing) {
                try body(record.key, [peer], record.expires)
            }
        }
    }

    /// The peers that one record of a device or a token asks for.
    public func peers(of record: StoredRecord, at now: Timestamp) throws -> (peers: [TunnelPeer], expires: Timestamp?) {
        switch record.key.kind {
        case .device: return (try Device(decoding: record.body).peers(in: identity.network), nil)
        case .token:
            let token = try TokenRecord(decoding: record.body)
            let peer = try token.peer(in: identity.network, at: now, sealing: sealing)
            return (peer.map { [$0] } ?? [], peer == nil ? nil : token.expires)
        default: return ([], nil)
        }
    }

    private func retrying<Value>(_ body: () async throws -> Value) async throws -> Value {
        for _ in 0..<Self.attempts {
            do {
                return try await body()
            } catch let error as HubStoreError where error.reason == .conflict {
                continue
            }
        }
        throw HubStoreError(.busy, "enrolment", "others changed the same records \(Self.attempts) times")
    }
}
