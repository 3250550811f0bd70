import Base
import Model
import Trust
import WireGuard

/// A device asks for an access token: signed by its signing key, in the tunnel of its WireGuard key.
///
/// It carries no time, since the device may not know it. A copy of the request is of no use to anyone: the token
/// counts only in the tunnel that the request came through, and for one hub.
public struct DeviceTokenRequest: Sendable, Equatable {
    public static let payloadType = "application/vnd.holdfast.device-token-request.v1+json"
    /// Bytes of the envelope.
    public static let envelopeLimit = 4 << 10
    public static let nonceBytes = 16

    public var device: String
    /// The hub's WireGuard key as the device knows it: a request made for one hub is none for another.
    public var hubKey: WireGuard.PublicKey
    /// Random, so that no two requests are the same bytes.
    public var nonce: [UInt8]

    /// Nil unless the nonce is of 16 bytes.
    public init?(device: String, hubKey: WireGuard.PublicKey, nonce: [UInt8]) {
        guard nonce.count == Self.nonceBytes else { return nil }
        self.device = device
        self.hubKey = hubKey
        self.nonce = nonce
    }

    public var payload: [UInt8] {
        ProtocolDocument.bytes([
            "device": .string(device), "hub": .string(hubKey.base64), "nonce": .string(Hex.encode(nonce)),
        ])
    }

    public func envelope(signedBy signer: some Signer) throws(TrustError) -> [UInt8] {
        try SignedDocument.sign(payload, type: Self.payloadType, by: signer)
    }

    /// The hub's side: reads an envelope that the device's signing key signed.
    ///
    /// Whether device and hub are the right ones is for the caller to compare.
    public init(verifying bytes: [UInt8], by key: Trust.PublicKey) throws(HubProtocolError) {
        let element = "token request"
        let value = try SignedDocument.read(
            bytes, type: Self.payloadType, by: key, limits: ProtocolDocument.limits(Self.envelopeLimit),
            element: element)
        guard let device = value["device"]?.string,
            let hubKey = value["hub"]?.string.flatMap({ WireGuard.PublicKey(base64: $0) }),
            let nonce = value["nonce"]?.string.flatMap({ Hex.decode($0) }),
            let request = Self(device: device, hubKey: hubKey, nonce: nonce)
        else { throw ProtocolDocument.malformed(element, "device, hub or nonce") }
        self = request
    }
}

/// The access token that a hub gives a device. It goes into `Authorization: Bearer …` as it is.
public struct DeviceTokenAnswer: Sendable, Equatable {
    public static let sizeLimit = 8 << 10
    /// Seconds that a token lives: a device asks for the next one in the last quarter.
    public static let lifetimes: ClosedRange<Int64> = 1...3_600

    public var accessToken: String
    public var expiresIn: Int64

    public init(accessToken: String, expiresIn: Int64) {
        self.accessToken = accessToken
        self.expiresIn = expiresIn
    }

    public var bytes: [UInt8] {
        ProtocolDocument.bytes([
            "access_token": .string(accessToken), "token_type": "Bearer", "expires_in": .integer(expiresIn),
        ])
    }

    public init(parsing bytes: [UInt8]) throws(HubProtocolError) {
        let element = "token answer"
        let value = try ProtocolDocument.parse(
            bytes, limits: ProtocolDocument.limits(Self.sizeLimit), element: element)
        guard value["token_type"]?.string == "Bearer", let token = value["access_token"]?.string,
            // It becomes a header field: nothing may end the line.
            !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
            let seconds = value["expires_in"]?.integer, Self.lifetimes.contains(seconds)
        else { throw ProtocolDocument.malformed(element, "access_token, token_type or expires_in") }
        self.init(accessToken: token, expiresIn: seconds)
    }
}
