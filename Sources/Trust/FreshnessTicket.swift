import Base
import Model

/// The proof that metadata is the newest, for a device whose clock proves nothing: the device's nonce came
/// back, signed, with the versions that were current when it was answered.
///
/// Carried as a DSSE envelope. Who may sign says a field of the release root, with keyids and a threshold as a role has
/// them; where the root has none, the timestamp role may, since it vouches for freshness already. It is no entry of
/// `roles`: other TUF clients refuse a root with a role that they do not know, and keep a field that they do not know.
public struct FreshnessTicket: Sendable, Equatable {
    /// The field, and the name by which ``Repository/rotate(_:plan:signers:)`` takes it for a role.
    public static let role = "x-holdfast-freshness"
    public static let payloadType = "application/vnd.holdfast.freshness-ticket+json"

    public var device: String
    /// As the device exported it; 16 bytes.
    public var nonce: [UInt8]
    public var repository: RepositoryName
    /// Version of the newest snapshot.
    public var snapshotVersion: Int64
    /// When it was answered, by the signer's clock.
    public var issued: Timestamp

    public init(
        device: String, nonce: [UInt8], repository: RepositoryName = .release, snapshotVersion: Int64,
        issued: Timestamp
    ) {
        self.device = device
        self.nonce = nonce
        self.repository = repository
        self.snapshotVersion = snapshotVersion
        self.issued = issued
    }

    /// What is signed.
    public var payload: [UInt8] {
        let value: JSONValue = [
            "device": .string(device), "nonce": .string(Hex.encode(nonce)),
            "repository": .string(repository.rawValue), "snapshot": .integer(snapshotVersion),
            "issued": .string(issued.description), "schema": 1,
        ]
        return (try? value.serialized(.canonical)) ?? []
    }

    /// The envelope to carry back to the device.
    public func signed(by signers: [any Signer]) throws(TrustError) -> DSSEEnvelope {
        var envelope = DSSEEnvelope(payloadType: Self.payloadType, payload: payload)
        for signer in signers { try envelope.sign(with: signer) }
        return envelope
    }

    init(payload: [UInt8]) throws(TrustError) {
        guard let node = try? JSONTape(parsing: payload).root, node["schema"]?.integer == 1,
            let device = node["device"]?.string, let nonce = node["nonce"]?.string.flatMap({ Hex.decode($0) }),
            let repository = node["repository"]?.string.flatMap(RepositoryName.init(rawValue:)),
            let version = node["snapshot"]?.integer,
            let issued = node["issued"]?.string.flatMap(Timestamp.init(rfc3339:))
        else { throw TrustError(.ticketInvalid, "ticket", "a field is missing or malformed") }
        self.init(device: device, nonce: nonce, repository: repository, snapshotVersion: version, issued: issued)
    }

    /// Whose signatures count: those of the root's own role for it, or the timestamp role's where there is none.
    static func signers(_ root: RootMetadata, limits: TrustLimits) throws(TrustError) -> RoleKeys {
        guard let node = root.document.signed[role] else { return try root.keys(of: TopLevel.timestamp) }
        let table = try PublicKey.table(root.document.signed["keys"], element: TopLevel.root, limits: limits)
        return try RoleKeys(node, keys: table, element: role)
    }

    /// Checks an envelope against what this device asked and what it just verified.
    static func check(
        _ bytes: [UInt8], root: RootMetadata, device: String, nonce: [UInt8]?, snapshotVersion: Int64,
        limits: TrustLimits
    ) throws(TrustError) -> FreshnessTicket {
        let envelope = try DSSEEnvelope(parsing: bytes, limits: limits)
        let keys = try signers(root, limits: limits)
        let ticket = try FreshnessTicket(payload: envelope.verified(type: payloadType, by: keys))
        guard ticket.device.isExactly(device) else {
            throw TrustError(.ticketInvalid, "ticket", "is for device \(ticket.device), this is \(device)")
        }
        guard let nonce, nonce == ticket.nonce else {
            throw TrustError(.ticketInvalid, "ticket", "answers another nonce than the one this device gave out last")
        }
        guard ticket.repository == .release, ticket.snapshotVersion == snapshotVersion else {
            throw TrustError(
                .ticketInvalid, "ticket",
                "says snapshot \(ticket.snapshotVersion) is the newest, this is snapshot \(snapshotVersion)")
        }
        return ticket
    }
}
