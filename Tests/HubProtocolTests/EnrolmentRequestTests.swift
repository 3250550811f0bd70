import Base
import HubProtocol
import Testing
import Trust
import WireGuard

@Suite struct EnrolmentRequestTests {
    let hubKey: SecretKey
    let deviceKey: SecretKey
    let token: EnrolmentToken
    let signer: Ed25519Signer

    init() throws {
        hubKey = try SecretKey.generatePrivate()
        deviceKey = try SecretKey.generatePrivate()
        signer = try Ed25519Signer(seed: Array(repeating: 7, count: 32))
        let network = try #require(TunnelNetwork(bytes: [0xFD, 0, 0, 0, 0, 1]))
        let made = EnrolmentToken(
            seed: Array(repeating: 9, count: 32), hubPublicKey: try hubKey.derivePublicKey(), host: "192.0.2.1",
            port: 51820, rootDigest: .sha256([]), network: network)
        token = try #require(made)
    }

    private func request() throws -> EnrolmentRequest {
        try EnrolmentRequest(
            token: token, privateKey: deviceKey, signingKey: signer.publicKey, architecture: "arm64", hostName: "pump-7"
        )
    }

    @Test func theHubReadsWhatTheDeviceWrote() throws {
        let request = try request()
        let read = try EnrolmentRequest(verifying: request.envelope(signedBy: signer), hubKey: hubKey)
        #expect(read == request)
        #expect(try read.token == token.credential().id)
        #expect(try read.wireGuardKey == deviceKey.derivePublicKey())
    }

    @Test func theSameKeysMakeTheSameBytes() throws {
        #expect(try request().envelope(signedBy: signer) == request().envelope(signedBy: signer))
    }

    @Test func aKeyThatTheSenderDoesNotHoldIsRefused() throws {
        var request = try request()
        request.wireGuardKey = try SecretKey.generatePrivate().derivePublicKey()
        let bytes = try request.envelope(signedBy: signer)
        let error = #expect(throws: HubProtocolError.self) { try EnrolmentRequest(verifying: bytes, hubKey: hubKey) }
        #expect(error?.reason == .proofInvalid)
    }

    @Test func aProofForAnotherTokenIsRefused() throws {
        var request = try request()
        request.token = try #require(EnrolmentTokenID(bytes: Array(repeating: 1, count: 16)))
        let bytes = try request.envelope(signedBy: signer)
        let error = #expect(throws: HubProtocolError.self) { try EnrolmentRequest(verifying: bytes, hubKey: hubKey) }
        #expect(error?.reason == .proofInvalid)
    }

    @Test func aSignatureByAnotherKeyIsRefused() throws {
        let other = try Ed25519Signer(seed: Array(repeating: 8, count: 32))
        let bytes = try request().envelope(signedBy: other)
        let error = #expect(throws: HubProtocolError.self) { try EnrolmentRequest(verifying: bytes, hubKey: hubKey) }
        #expect(error?.reason == .signatureInvalid)
    }

    @Test func anotherPayloadTypeIsRefused() throws {
        var envelope = DSSEEnvelope(payloadType: "application/json", payload: try request().payload)
        try envelope.sign(with: signer)
        let bytes = envelope.bytes
        let error = #expect(throws: HubProtocolError.self) { try EnrolmentRequest(verifying: bytes, hubKey: hubKey) }
        #expect(error?.reason == .signatureInvalid)
    }

    @Test func everyChangedByteIsRefused() throws {
        let bytes = try request().envelope(signedBy: signer)
        for index in stride(from: 0, to: bytes.count, by: 3) {
            var changed = bytes
            changed[index] ^= 1
            // Of the envelope only the keyid is not covered by the signature; it must then fail to be found.
            #expect(throws: HubProtocolError.self) { try EnrolmentRequest(verifying: changed, hubKey: hubKey) }
        }
    }

    @Test func hostileEnvelopesAreRefused() {
        let cases: [[UInt8]] = [
            [], Array("{}".utf8), Array(repeating: 0x5B, count: 10_000), Array(repeating: 0x20, count: 20_000),
            Array(#"{"payloadType":"x","payload":"","signatures":[]}"#.utf8),
        ]
        for bytes in cases {
            #expect(throws: HubProtocolError.self) { try EnrolmentRequest(verifying: bytes, hubKey: hubKey) }
        }
    }

    @Test func answersRoundTrip() throws {
        let address = try #require(IPAddress("fd00::2"))
        let hub = try #require(IPAddress("fd00::1"))
        let cases: [EnrolmentAnswer] = [
            .enrolled(device: "d-1", address: address, hub: hub), .waiting(device: "d-1", retryAfter: 30),
        ]
        for answer in cases { #expect(try EnrolmentAnswer(parsing: answer.bytes) == answer) }
        for text in ["{}", #"{"schema":2}"#, #"{"schema":1,"device":"d","status":"waiting","retry_after_s":0}"#] {
            #expect(throws: HubProtocolError.self) { try EnrolmentAnswer(parsing: Array(text.utf8)) }
        }
    }
}
