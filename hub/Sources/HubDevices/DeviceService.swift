import Base
import HubAudit
import HubCore
import HubEnrolment
import HubProtocol
import HubReports
import HubStore
import HubTokens
import TransparencyLog
import Trust
import WireGuard

/// What devices ask for that memory alone does not answer.
public struct DeviceService: Sendable {
    /// Seconds that an access token lives.
    public static let tokenLifetime: Int64 = 900

    let store: any MetadataStore
    let enrolment: EnrolmentService
    let reports: ReportReceiver
    private let reporters = KnownReporters()
    let audit: AuditLog
    let tokens: AccessTokens
    let tokenSigner: any Signer
    /// Signs freshness tickets; nil where the release repository lets this hub sign none.
    let freshnessSigner: (any Signer)?
    private let keyring: HubKeyring
    let network: TunnelNetwork
    let clock: SystemClock

    public init(
        store: any MetadataStore, enrolment: EnrolmentService, audit: AuditLog, tokens: AccessTokens,
        tokenSigner: any Signer, freshnessSigner: (any Signer)?, keyring: HubKeyring, network: TunnelNetwork,
        clock: SystemClock = .live
    ) {
        self.store = store
        self.enrolment = enrolment
        reports = ReportReceiver(store: store, clock: clock)
        self.audit = audit
        self.tokens = tokens
        self.tokenSigner = tokenSigner
        self.freshnessSigner = freshnessSigner
        self.keyring = keyring
        self.network = network
        self.clock = clock
    }

    /// For a hub that does not change its key.
    public init(
        store: any MetadataStore, enrolment: EnrolmentService, audit: AuditLog, tokens: AccessTokens,
        tokenSigner: any Signer, freshnessSigner: (any Signer)?, hubKey: SecretKey, network: TunnelNetwork,
        clock: SystemClock = .live
    ) throws {
        self.init(
            store: store, enrolment: enrolment, audit: audit, tokens: tokens, tokenSigner: tokenSigner,
            freshnessSigner: freshnessSigner, keyring: HubKeyring(try HubKeyring.Entry(hubKey, port: 0)),
            network: network,
            clock: clock)
    }

    func enrol(_ body: [UInt8], through token: EnrolmentTokenID) async throws -> EnrolmentAnswer {
        try await enrolment.redeem(body, through: token)
    }

    /// Gives a device its access token. One that asks from its staged key's address has changed over to that key.
    func issueToken(_ body: [UInt8], to row: DeviceDirectory.Row, slot: TunnelNetwork.KeySlot) async throws
        -> DeviceTokenAnswer
    {
        var device = try await device(row.id)
        guard let signingKey = device.reportKey else {
            throw HubError(.recordMalformed, "device \(device.id)", "has no signing key")
        }
        let request = try DeviceTokenRequest(verifying: body, by: signingKey)
        guard request.device == device.id.text, keyring.has(request.hubKey) else {
            throw HubProtocolError(.proofInvalid, "token request", "is for another device or another hub")
        }
        if slot != device.slot {
            device = try await enrolment.change(device.id) {
                DeviceRules.completeRotation($0, heardAt: slot, hubKey: request.hubKey, now: $1)
            }
        }
        guard device.state == .active, slot == device.slot, let key = device.keys[slot] else {
            throw HubError(.deviceState, "device \(device.id)", "may not ask from this address")
        }
        let now = clock.now()
        let claims = AccessClaims(
            device: device.id, scopes: Set(AccessClaims.Scope.allCases), generation: device.credentialGeneration,
            tunnelKey: key.key, issued: now, expires: now + Self.tokenLifetime)
        return DeviceTokenAnswer(
            accessToken: try tokens.issue(claims, signer: tokenSigner), expiresIn: Self.tokenLifetime)
    }

    func ticket(for device: DeviceID, nonce: [UInt8], snapshot: Int64) throws -> [UInt8]? {
        guard let freshnessSigner, snapshot > 0 else { return nil }
        return try FreshnessTicket(
            device: device.text, nonce: nonce, snapshotVersion: snapshot, issued: clock.now()
        ).signed(by: [freshnessSigner]).bytes
    }

    func takeReports(_ body: [UInt8], from row: DeviceDirectory.Row) async throws -> ReportAnswer {
        let envelopes = try ReportBatch.envelopes(in: body)
        if let known = reporters.find(row) { return try await reports.receive(envelopes, from: known) }
        let reporter = try ReportingDevice(await device(row.id))
        reporters.keep(reporter, for: row)
        return try await reports.receive(envelopes, from: reporter)
    }

    func stageKey(_ body: [UInt8], for row: DeviceDirectory.Row) async throws -> KeyChangeAnswer {
        let device = try await device(row.id)
        guard let signingKey = device.reportKey else {
            throw HubError(.recordMalformed, "device \(device.id)", "has no signing key")
        }
        let (request, _) = try keyring.read { (key) throws(HubProtocolError) in
            try KeyChangeRequest(verifying: body, by: signingKey, hubKey: key)
        }
        guard request.device == device.id.text else {
            throw HubProtocolError(.proofInvalid, "key change", "is of another device")
        }
        let staged = try await enrolment.stageKey(request.wireGuardKey, for: device.id)
        guard let slot = staged.keys.first(where: { $0.value.key == request.wireGuardKey })?.key,
            let address = network.device(site: staged.site, index: staged.index, slot: slot)
        else { throw HubError(.addressSpace, "device \(device.id)", "has no address in \(network)") }
        return KeyChangeAnswer(address: address, hub: network.hub)
    }

    func checkpoint() async throws -> [UInt8]? { try await audit.latest()?.note }

    func consistency(from: Int64, to: Int64) async throws -> ConsistencyAnswer {
        ConsistencyAnswer(from: from, to: to, proof: try await audit.consistencyProof(from: from, to: to))
    }

    private func device(_ id: DeviceID) async throws -> Device {
        guard let device = try await store.record(Device.self, id.text)?.value else {
            throw HubError(.deviceState, "device \(id)", "is not known to this hub")
        }
        return device
    }
}
