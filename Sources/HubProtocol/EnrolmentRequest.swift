import Base
import Model
import Trust
import WireGuard

/// What a device asks of its hub with a token: its two permanent keys, and the proof that it holds them.
///
/// The same keys make the same request, so that a device that lost the answer asks again with the bytes
/// it kept. The DSSE signature proves the signing key; `proof` proves the WireGuard key, by the secret that
/// it shares with the hub's.
public struct EnrolmentRequest: Sendable, Equatable {
    public static let payloadType = "application/vnd.holdfast.enrolment-request.v1+json"
    /// Bytes of the whole envelope.
    public static let envelopeLimit = 16 << 10
    /// Bytes of the architecture and of the host name.
    public static let textLimit = 253

    public var token: EnrolmentTokenID
    public var wireGuardKey: WireGuard.PublicKey
    /// Signs reports for as long as the device lives.
    public var signingKey: Trust.PublicKey
    /// OCI name of the device's architecture.
    public var architecture: String
    /// For people; nothing is decided by it.
    public var hostName: String
    /// 32 bytes.
    public var proof: [UInt8]

    /// The device's side. `privateKey` is its permanent WireGuard key.
    public init(
        token: EnrolmentToken, privateKey: SecretKey, signingKey: Trust.PublicKey, architecture: String,
        hostName: String
    ) throws(HubProtocolError) {
        self.token = try token.credential().id
        guard let own = try? privateKey.derivePublicKey() else {
            throw HubProtocolError(.crypto, "enrolment request", "the device's WireGuard key is not usable")
        }
        wireGuardKey = own
        self.signingKey = signingKey
        self.architecture = architecture
        self.hostName = hostName
        proof = try Self.proof(
            token: self.token, wireGuardKey: own, signingKey: signingKey,
            secret: try KeyDerivation.agree(privateKey, with: token.hubPublicKey))
    }

    private static func proof(
        token: EnrolmentTokenID, wireGuardKey: WireGuard.PublicKey, signingKey: Trust.PublicKey, secret: [UInt8]
    ) throws(HubProtocolError) -> [UInt8] {
        let key = try KeyDerivation.hkdf(
            secret: secret, salt: token.bytes, info: Array("holdfast enrolment v1 proof".utf8),
            count: KeyDerivation.macBytes)
        return try KeyDerivation.hmac(
            key: key, token.bytes + wireGuardKey.bytes + Array(signingKey.value.utf8))
    }

    /// What is signed: canonical JSON.
    public var payload: [UInt8] {
        let value: JSONValue = [
            "schema": 1, "token": .string(token.description), "wireguard": .string(wireGuardKey.base64),
            "signing": .string(signingKey.value), "architecture": .string(architecture),
            "hostname": .string(hostName), "proof": .string(Hex.encode(proof)),
        ]
        // Strings and one integer: the canonical form cannot fail.
        return (try? value.serialized(.canonical)) ?? []
    }

    /// The bytes that go to the hub.
    public func envelope(signedBy signer: some Signer) throws(TrustError) -> [UInt8] {
        try SignedDocument.sign(payload, type: Self.payloadType, by: signer)
    }

    /// The hub's side: reads an envelope and checks both proofs. `hubKey` is the hub's WireGuard key.
    ///
    /// - Throws: `hub-protocol.document-malformed`, `hub-protocol.signature-invalid`, `hub-protocol.proof-invalid`.
    public init(verifying bytes: [UInt8], hubKey: SecretKey) throws(HubProtocolError) {
        let element = "enrolment request"
        let envelope = try SignedDocument.envelope(bytes, limit: Self.envelopeLimit, element: element)
        self = try Self(payload: envelope.payload)
        _ = try SignedDocument.payload(of: envelope, type: Self.payloadType, by: signingKey, element: element)
        let expected = try Self.proof(
            token: token, wireGuardKey: wireGuardKey, signingKey: signingKey,
            secret: try KeyDerivation.agree(hubKey, with: wireGuardKey))
        guard KeyDerivation.equal(expected, proof) else {
            throw HubProtocolError(.proofInvalid, element, "the sender does not hold the WireGuard key it names")
        }
    }

    private init(payload: [UInt8]) throws(HubProtocolError) {
        let limits = JSONLimits(size: Self.envelopeLimit, depth: 4, count: 64, literalControls: false)
        guard let value = try? JSONValue(parsing: payload, limits: limits), value["schema"]?.integer == 1,
            let token = value["token"]?.string.flatMap({ EnrolmentTokenID(hex: $0) }),
            let wireGuardKey = value["wireguard"]?.string.flatMap({ WireGuard.PublicKey(base64: $0) }),
            let signing = value["signing"]?.string, let raw = Hex.decode(signing), raw.count == 32,
            let architecture = value["architecture"]?.string, (1...Self.textLimit).contains(architecture.utf8.count),
            let hostName = value["hostname"]?.string, hostName.utf8.count <= Self.textLimit,
            let proof = value["proof"]?.string.flatMap({ Hex.decode($0) }), proof.count == KeyDerivation.macBytes
        else { throw HubProtocolError(.documentMalformed, "enrolment request", "a field is missing or malformed") }
        self.token = token
        self.wireGuardKey = wireGuardKey
        // Written anew from its bytes: upper-case hex would be a second name for one key.
        signingKey = Trust.PublicKey(ed25519: raw)
        self.architecture = architecture
        self.hostName = hostName
        self.proof = proof
    }
}
