import Base
import Model
import Trust
import WireGuard

/// A device's next WireGuard key, with the proof that it holds it. Both keys are peers until the device asks for a
/// token from the new key's address; then the old one goes.
public struct KeyChangeRequest: Sendable, Equatable {
    public static let payloadType = "application/vnd.holdfast.key-change.v1+json"
    public static let envelopeLimit = 4 << 10

    public var device: String
    public var wireGuardKey: WireGuard.PublicKey
    /// HMAC-SHA-256 under a secret that the new key shares with the hub's.
    public var proof: [UInt8]

    /// The device's side. The same keys make the same bytes: ask again when the answer was lost.
    public init(
        device: String, privateKey: SecretKey, hubKey: WireGuard.PublicKey
    ) throws(HubProtocolError) {
        guard let own = try? privateKey.derivePublicKey() else {
            throw HubProtocolError(.crypto, "key change", "the new WireGuard key is not usable")
        }
        self.device = device
        wireGuardKey = own
        proof = try Self.proof(device: device, key: own, secret: try KeyDerivation.agree(privateKey, with: hubKey))
    }

    private static func proof(
        device: String, key: WireGuard.PublicKey, secret: [UInt8]
    ) throws(HubProtocolError) -> [UInt8] {
        let derived = try KeyDerivation.hkdf(
            secret: secret, salt: [], info: Array("holdfast key change v1 proof".utf8), count: KeyDerivation.macBytes)
        return try KeyDerivation.hmac(key: derived, key.bytes + Array(device.utf8))
    }

    public var payload: [UInt8] {
        ProtocolDocument.bytes([
            "device": .string(device), "wireguard": .string(wireGuardKey.base64), "proof": .string(Hex.encode(proof)),
        ])
    }

    public func envelope(signedBy signer: some Signer) throws(TrustError) -> [UInt8] {
        try SignedDocument.sign(payload, type: Self.payloadType, by: signer)
    }

    /// The hub's side: reads an envelope that the device's signing key signed, and checks the proof.
    public init(
        verifying bytes: [UInt8], by key: Trust.PublicKey, hubKey: SecretKey
    ) throws(HubProtocolError) {
        let element = "key change"
        let value = try SignedDocument.read(
            bytes, type: Self.payloadType, by: key, limits: ProtocolDocument.limits(Self.envelopeLimit),
            element: element)
        guard let device = value["device"]?.string,
            let wireGuardKey = value["wireguard"]?.string.flatMap({ WireGuard.PublicKey(base64: $0) }),
            let proof = value["proof"]?.string.flatMap({ Hex.decode($0) })
        else { throw ProtocolDocument.malformed(element, "device, wireguard or proof") }
        let expected = try Self.proof(
            device: device, key: wireGuardKey, secret: try KeyDerivation.agree(hubKey, with: wireGuardKey))
        guard KeyDerivation.equal(expected, proof) else {
            throw HubProtocolError(.proofInvalid, element, "the sender does not hold the WireGuard key it names")
        }
        self.device = device
        self.wireGuardKey = wireGuardKey
        self.proof = proof
    }
}

/// Where the new key's tunnel ends: the peer is in place when this is answered.
public struct KeyChangeAnswer: Sendable, Equatable {
    public static let sizeLimit = 1 << 10
    public var address: IPAddress
    public var hub: IPAddress

    public init(address: IPAddress, hub: IPAddress) {
        self.address = address
        self.hub = hub
    }

    public var bytes: [UInt8] {
        ProtocolDocument.bytes(["address": .string(address.description), "hub": .string(hub.description)])
    }

    public init(parsing bytes: [UInt8]) throws(HubProtocolError) {
        let element = "key change answer"
        let value = try ProtocolDocument.parse(
            bytes, limits: ProtocolDocument.limits(Self.sizeLimit), element: element)
        guard let address = value["address"]?.string.flatMap({ IPAddress($0) }),
            let hub = value["hub"]?.string.flatMap({ IPAddress($0) })
        else { throw ProtocolDocument.malformed(element, "address or hub") }
        self.init(address: address, hub: hub)
    }
}
