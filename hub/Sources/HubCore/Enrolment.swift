import Base
import HubProtocol
import Trust
import WireGuard

/// The rules by which a device becomes part of the fleet. Pure: what the store holds comes in, what it shall
/// hold goes out, and one commit with expected versions makes it so.
///
/// The hub writes first and answers then, so a request that is repeated, before or after any crash, finds
/// what it did and gets the same answer.
public enum EnrolmentRules {
    /// What the store says of a request, read before a decision.
    public struct Situation: Sendable {
        public var token: TokenRecord?
        public var wireGuardBinding: KeyBinding?
        public var signingBinding: KeyBinding?
        /// The device that a binding names.
        public var device: Device?
        /// The token's site.
        public var site: SiteRecord?

        public init(
            token: TokenRecord? = nil, wireGuardBinding: KeyBinding? = nil, signingBinding: KeyBinding? = nil,
            device: Device? = nil, site: SiteRecord? = nil
        ) {
            self.token = token
            self.wireGuardBinding = wireGuardBinding
            self.signingBinding = signingBinding
            self.device = device
            self.site = site
        }
    }

    public enum Refusal: String, Sendable, CaseIterable {
        case unknownToken = "unknown-token"
        case tokenRevoked = "token-revoked"
        case tokenExpired = "token-expired"
        /// The token is used up and these are other keys: someone has a copy of it.
        case tokenUsed = "token-used"
        /// A key belongs to another device or came with another token.
        case keyBound = "key-bound"
        /// The device was deleted, revoked or rejected; its keys and its token are spent.
        case deviceRemoved = "device-removed"
        case siteFull = "site-full"
    }

    /// All that one enrolment changes, in one commit.
    public struct Change: Sendable, Equatable {
        public var token: TokenRecord
        public var device: Device
        public var bindings: [KeyBinding]
        public var site: SiteRecord
        public var event: AuditEvent
    }

    public enum Decision: Sendable, Equatable {
        /// Commit, each record expected as it was read, the bindings absent; then answer with the device.
        case enrol(Change)
        /// Done before: answer with the device, change nothing.
        case known(Device)
        /// Say no. The event is an alarm where the request cannot be an honest mistake.
        case refuse(Refusal, event: AuditEvent)
    }

    /// Decides one verified request.
    public static func decide(_ request: EnrolmentRequest, _ situation: Situation, now: Timestamp) -> Decision {
        func refuse(_ refusal: Refusal) -> Decision {
            .refuse(refusal, event: refusalEvent(request, refusal, now: now))
        }
        guard let token = situation.token, token.id == request.token else { return refuse(.unknownToken) }
        if let wireGuard = situation.wireGuardBinding, let signing = situation.signingBinding,
            wireGuard.device == signing.device, wireGuard.token == token.id, signing.token == token.id
        {
            // The same device with the same token: also after the token's end, for the answer may be late.
            guard let device = situation.device, device.id == wireGuard.device,
                device.state == .active || device.state == .waiting
            else { return refuse(.deviceRemoved) }
            return .known(device)
        }
        guard situation.wireGuardBinding == nil, situation.signingBinding == nil else { return refuse(.keyBound) }
        switch token.state(at: now) {
        case .revoked: return refuse(.tokenRevoked)
        case .expired: return refuse(.tokenExpired)
        case .used: return refuse(.tokenUsed)
        case .open: break
        }
        guard let change = admit(request, token, situation.site ?? SiteRecord(site: token.site), now: now) else {
            return refuse(.siteFull)
        }
        return .enrol(change)
    }

    private static func admit(
        _ request: EnrolmentRequest, _ token: TokenRecord, _ site: SiteRecord, now: Timestamp
    ) -> Change? {
        guard site.nextIndex < TunnelNetwork.devicesPerSite, let id = deviceID(signingKey: request.signingKey) else {
            return nil
        }
        let device = Device(
            id: id, state: token.needsApproval ? .waiting : .active, labels: token.labels,
            architecture: request.architecture, hostName: request.hostName, signingKey: request.signingKey.value,
            key: request.wireGuardKey, site: token.site, index: site.nextIndex, token: token.id, enrolledAt: now)
        func binding(_ use: KeyBinding.Use, _ key: String) -> KeyBinding {
            KeyBinding(use: use, key: key, device: id, token: token.id, boundAt: now)
        }
        var token = token
        token.used += 1
        let (wireGuard, signing) = bindingKeys(request)
        return Change(
            token: token, device: device,
            bindings: [binding(.wireGuard, wireGuard), binding(.signing, signing)],
            site: SiteRecord(site: site.site, nextIndex: site.nextIndex + 1),
            event: AuditEvent(
                device.state == .waiting ? .deviceWaiting : .deviceEnrolled, at: now, actor: "token:\(token.id)",
                subject: "device:\(id)",
                fields: ["wireguard": request.wireGuardKey.base64, "hostname": request.hostName]))
    }

    /// Where the bindings of a request's keys stand: WireGuard's and the signing key's, both in hex.
    public static func bindingKeys(_ request: EnrolmentRequest) -> (wireGuard: String, signing: String) {
        (Hex.encode(request.wireGuardKey.bytes), request.signingKey.value)
    }

    /// Follows from the signing key, which is never bound twice: no id is ever given twice either.
    public static func deviceID(signingKey: Trust.PublicKey) -> DeviceID? {
        try? DeviceID("d-\(Digest.sha256(Array("holdfast device \(signingKey.value)".utf8)).hex.prefix(20))")
    }

    private static func refusalEvent(
        _ request: EnrolmentRequest, _ refusal: Refusal, now: Timestamp
    ) -> AuditEvent {
        AuditEvent(
            .enrolmentRefused, at: now, actor: "token:\(request.token)", subject: "token:\(request.token)",
            fields: [
                "reason": refusal.rawValue, "wireguard": request.wireGuardKey.base64, "hostname": request.hostName,
            ])
    }

    /// The answer to a device that the hub knows.
    public static func answer(for device: Device, network: TunnelNetwork) throws(HubError) -> EnrolmentAnswer {
        switch device.state {
        case .waiting: return .waiting(device: device.id.text, retryAfter: approvalRetry)
        case .active:
            guard let address = network.device(site: device.site, index: device.index, slot: device.slot) else {
                throw HubError(.addressSpace, "device \(device.id)", "has no address in \(network)")
            }
            return .enrolled(device: device.id.text, address: address, hub: network.hub)
        case .rejected, .revoked:
            throw HubError(.deviceState, "device \(device.id)", "is \(device.state.rawValue)")
        }
    }

    /// Seconds after which a waiting device asks again.
    static let approvalRetry: Int64 = 30
}
