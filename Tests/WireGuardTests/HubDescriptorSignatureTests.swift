import Base
import Testing
import Trust
import WireGuard

/// Descriptors in real envelopes, signed and checked by Trust, as agent and hub put the two together.
@Suite struct HubDescriptorSignatureTests {
    private let signers: [Ed25519Signer]
    private let keys: RoleKeys

    init() throws {
        signers = try (1...3).map { try Ed25519Signer(seed: [UInt8](repeating: $0, count: 32)) }
        keys = RoleKeys(
            keyIDs: signers.map(\.keyID), threshold: 2,
            keys: Dictionary(uniqueKeysWithValues: signers.map { ($0.keyID, $0.publicKey) }))
    }

    private func descriptor(_ sequence: Int64) throws -> HubDescriptor {
        let key = try SecretKey.generatePrivate().derivePublicKey()
        return HubDescriptor(
            hub: "north", sequence: sequence, issued: Timestamp(seconds: 1_700_000_000),
            ends: [
                HubDescriptor.End(publicKey: key, endpoint: Endpoint(address: IPAddress(v4: 0xC000_0201), port: 51820))
            ])
    }

    private func envelope(_ descriptor: HubDescriptor, type: String = HubDescriptor.payloadType, by count: Int) throws
        -> [UInt8]
    {
        var envelope = DSSEEnvelope(payloadType: type, payload: try descriptor.payload())
        for signer in signers.prefix(count) { try envelope.sign(with: signer) }
        return envelope.bytes
    }

    private func accept(_ envelope: [UInt8], current: HubDescriptor? = nil) throws -> HubDescriptor {
        try HubDescriptor.accept(envelope: envelope, hub: "north", current: current) { bytes, type in
            try DSSEEnvelope(parsing: bytes).verified(type: type, by: keys)
        }
    }

    @Test func acceptsWhatEnoughKeysSigned() throws {
        let first = try descriptor(1)
        #expect(try accept(envelope(first, by: 2)) == first)
        let second = try descriptor(2)
        #expect(try accept(envelope(second, by: 3), current: first) == second)
    }

    @Test func refusesTooFewKeysAnotherTypeAndAlteredBytes() throws {
        let descriptor = try descriptor(1)
        #expect(throws: WireGuardError.self) { try accept(envelope(descriptor, by: 1)) }
        #expect(throws: WireGuardError.self) {
            try accept(envelope(descriptor, type: "application/vnd.other+json", by: 2))
        }
        let good = try envelope(descriptor, by: 2)
        for index in stride(from: 0, to: good.count, by: 7) {
            var altered = good
            altered[index] ^= 1
            // A flipped bit may leave the JSON as it was only where it is no part of payload, type or signatures.
            if let read = try? accept(altered) { #expect(read == descriptor) }
        }
        // One character within the payload's base64.
        let text = String(decoding: good, as: UTF8.self)
        let start = try #require(text.firstRange(of: "\"payload\":\"")).upperBound
        let offset = text.utf8.distance(from: text.startIndex, to: start) + 40
        var payload = good
        payload[offset] = payload[offset] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        let error = #expect(throws: WireGuardError.self) { try accept(payload) }
        #expect(error?.exitStatus == .notTrusted)
    }
}
