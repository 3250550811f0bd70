import Base
import HubProtocol
import WireGuard

/// What the hub keeps of an enrolment token: enough to be its peer, never its seed.
///
/// Never removed and `used` never falls: neither deleting a device nor anything else revives a token.
public struct TokenRecord: HubRecord {
    public static let kind = RecordKind.token

    public var id: EnrolmentTokenID
    /// The temporary peer's key.
    public var publicKey: TunnelKey
    /// The preshared key, sealed under ``sealingContext(_:)``.
    public var sealedPresharedKey: [UInt8]
    /// What its devices get.
    public var labels: Labels
    public var site: UInt16
    /// Devices that it may enrol, and those that it has.
    public var uses: Int
    public var used: Int
    /// Whether each device waits for a person.
    public var needsApproval: Bool
    public var isRevoked: Bool
    public var madeAt: Timestamp
    public var expires: Timestamp

    public var recordID: String { id.description }
    public var recordLabels: Labels { labels }

    public enum State: String, Sendable { case open, used, expired, revoked }

    public func state(at now: Timestamp) -> State {
        if isRevoked { return .revoked }
        if now >= expires { return .expired }
        return used >= uses ? .used : .open
    }

    static func sealingContext(_ id: EnrolmentTokenID) -> String { "token \(id) preshared key" }

    /// The temporary peer. It stays until the token expires even when it is used up: a device whose answer
    /// was lost asks again through it.
    public func peer(
        in network: TunnelNetwork, at now: Timestamp, sealing: Sealing
    ) throws(HubError) -> TunnelPeer? {
        guard !isRevoked, now < expires else { return nil }
        let psk = try sealing.open(sealedPresharedKey, context: Self.sealingContext(id))
        return TunnelPeer(
            publicKey: publicKey.key, address: network.temporary(id), presharedKey: SecretKey(bytes: psk))
    }
}

/// What a person asks of a new token.
public struct TokenOptions: Sendable, Equatable {
    public var fleet: FleetID?
    public var labels: Labels
    public var site: UInt16
    /// Seconds.
    public var lifetime: Int64
    public var uses: Int
    /// A batch always needs it.
    public var needsApproval: Bool

    public init(
        fleet: FleetID? = nil, labels: Labels = Labels(), site: UInt16 = 1,
        lifetime: Int64 = HubLimits.defaultTokenLifetime, uses: Int = 1, needsApproval: Bool? = nil
    ) {
        self.fleet = fleet
        self.labels = labels
        self.site = site
        self.lifetime = lifetime
        self.uses = uses
        self.needsApproval = needsApproval ?? (uses > 1)
    }
}

/// Where a hub can be reached and what trust starts from: the same in each of its tokens.
public struct HubIdentity: Sendable {
    public var publicKey: WireGuard.PublicKey
    public var host: String
    public var port: UInt16
    public var rootDigest: Digest
    public var network: TunnelNetwork

    public init(
        publicKey: WireGuard.PublicKey, host: String, port: UInt16, rootDigest: Digest, network: TunnelNetwork
    ) {
        self.publicKey = publicKey
        self.host = host
        self.port = port
        self.rootDigest = rootDigest
        self.network = network
    }
}

extension TokenRecord {
    /// A token and the record of it. The record has to be durable before the token is shown to anyone.
    ///
    /// - Parameter seed: 32 random bytes.
    /// - Throws: `hub.token-options`.
    public static func make(
        _ options: TokenOptions, seed: [UInt8], hub: HubIdentity, sealing: Sealing, now: Timestamp
    ) throws -> (token: EnrolmentToken, record: TokenRecord) {
        func refuse(_ detail: String) -> HubError { HubError(.tokenOptions, "token", detail) }
        guard HubLimits.tokenLifetime.contains(options.lifetime) else {
            throw refuse(
                "a lifetime of \(options.lifetime) s; "
                    + "\(HubLimits.tokenLifetime.lowerBound)-\(HubLimits.tokenLifetime.upperBound) s are possible")
        }
        guard (1...HubLimits.tokenUses).contains(options.uses) else {
            throw refuse("\(options.uses) uses; 1-\(HubLimits.tokenUses) are possible")
        }
        guard options.uses == 1 || options.needsApproval else {
            throw refuse("a token for several devices needs approval of each")
        }
        guard TunnelNetwork.sites.contains(options.site) else { throw refuse("site \(options.site) is reserved") }
        guard
            let token = EnrolmentToken(
                seed: seed, hubPublicKey: hub.publicKey, host: hub.host, port: hub.port, rootDigest: hub.rootDigest,
                network: hub.network)
        else { throw refuse("the seed is not \(EnrolmentToken.seedBytes) bytes, or the hub's host is no host name") }
        let credential = try token.credential()
        var labels = options.labels
        if let fleet = options.fleet { labels = try labels.merging(Labels([Fleet.label: fleet.text])) }
        let psk = credential.presharedKey.withUnsafeBytes { Array($0) }
        let record = TokenRecord(
            id: credential.id, publicKey: TunnelKey(credential.publicKey),
            sealedPresharedKey: try sealing.seal(psk, context: sealingContext(credential.id)), labels: labels,
            site: options.site, uses: options.uses, used: 0, needsApproval: options.needsApproval, isRevoked: false,
            madeAt: now, expires: now + options.lifetime)
        return (token, record)
    }
}
