import Base
import HubCore
import Model
import Trust
import WireGuard

/// Issues and checks the short-lived tokens that devices show in the tunnel: JWS (RFC 7515) in compact form.
///
/// One algorithm, EdDSA with ed25519, fixed here and not read from the token; three header members, all needed,
/// none other allowed. A general JWT library chooses by the header what it verifies with; this one has
/// nothing to choose.
public struct AccessTokens: Sendable {
    static let type = "at+jwt"
    static let algorithm = "EdDSA"
    /// Characters of a token; ours have about 600.
    public static let sizeLimit = 4_096
    /// Seconds that a token may live, and by which clocks may differ.
    public static let longestLifetime: Int64 = 3_600
    public static let leeway: Int64 = 30

    /// Scheme and name of the hub.
    public let issuer: String
    public let audience: String
    /// By key id; the old keys stay until their last token has run out.
    public private(set) var keys: [String: Trust.PublicKey]

    public init(issuer: String, audience: String, keys: [Trust.PublicKey]) {
        self.issuer = issuer
        self.audience = audience
        self.keys = Dictionary(keys.map { (Self.keyID($0), $0) }, uniquingKeysWith: { $1 })
    }

    static func keyID(_ key: Trust.PublicKey) -> String { String(key.keyID.prefix(16)) }

    // MARK: Issuing

    /// - Throws: `hub-token.lifetime` for more than ``longestLifetime`` or none at all.
    public func issue(_ claims: AccessClaims, signer: some Signer) throws -> String {
        let lifetime = claims.expires - claims.issued
        guard (1...Self.longestLifetime).contains(lifetime) else {
            throw TokenError(.lifetime, "a lifetime of \(lifetime) s, at most \(Self.longestLifetime) s")
        }
        let header: JSONValue = [
            "alg": .string(Self.algorithm), "typ": .string(Self.type),
            "kid": .string(Self.keyID(signer.publicKey)),
        ]
        let input =
            Base64.encode(try header.serialized(), .url) + "."
            + Base64.encode(try claims.json(issuer: issuer, audience: audience).serialized(), .url)
        return input + "." + Base64.encode(try signer.sign(Array(input.utf8)), .url)
    }

    // MARK: Checking

    /// What the hub knows of the request that brings a token.
    public struct Context: Sendable {
        public var now: Timestamp
        public var scope: AccessClaims.Scope
        /// The WireGuard key of the tunnel that the request came through, by its source address.
        public var tunnelKey: WireGuard.PublicKey
        /// Of that key's device.
        public var device: DeviceID
        public var generation: Int64

        public init(
            now: Timestamp, scope: AccessClaims.Scope, tunnelKey: WireGuard.PublicKey, device: DeviceID,
            generation: Int64
        ) {
            self.now = now
            self.scope = scope
            self.tunnelKey = tunnelKey
            self.device = device
            self.generation = generation
        }
    }

    /// The claims of a token that counts for this request.
    public func verify(_ token: String, _ context: Context) throws(TokenError) -> AccessClaims {
        let claims = try signedClaims(token)
        guard context.now >= claims.issued + -Self.leeway else {
            throw TokenError(.notYet, "was issued in the future")
        }
        guard context.now < claims.expires + Self.leeway else { throw TokenError(.expired, "has expired") }
        guard (1...Self.longestLifetime).contains(claims.expires - claims.issued) else {
            throw TokenError(.lifetime, "lives longer than any that this hub issues")
        }
        guard claims.device == context.device, claims.tunnelKey == context.tunnelKey else {
            throw TokenError(.confirmation, "belongs to another tunnel than it came through")
        }
        guard claims.generation == context.generation else {
            throw TokenError(.generation, "is of credential generation \(claims.generation)")
        }
        guard claims.scopes.contains(context.scope) else {
            throw TokenError(.scope, "does not allow \(context.scope.rawValue)")
        }
        return claims
    }

    /// The claims under a valid signature, for this issuer and audience; times and bearer not yet judged.
    private func signedClaims(_ token: String) throws(TokenError) -> AccessClaims {
        guard token.utf8.count <= Self.sizeLimit else {
            throw TokenError(.tooLarge, "more than \(Self.sizeLimit) characters")
        }
        let parts = token.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 3, let headerBytes = Base64.decode(parts[0], .url),
            let claimBytes = Base64.decode(parts[1], .url), let signature = Base64.decode(parts[2], .url)
        else { throw TokenError(.malformed, "is no JWS of three base64url parts") }
        let key = try key(header: try Self.document(headerBytes))
        let input = Array(token.utf8.prefix(parts[0].utf8.count + 1 + parts[1].utf8.count))
        guard signature.count == 64, key.verifies(signature, over: input) else {
            throw TokenError(.signature, "the signature does not verify")
        }
        let value = try Self.document(claimBytes)
        guard value["iss"] == .string(issuer) else { throw TokenError(.issuer, "is by another issuer") }
        guard value["aud"] == .string(audience) else { throw TokenError(.audience, "is for another audience") }
        return try AccessClaims(value)
    }

    /// Nothing of the header chooses anything but one of this hub's own keys.
    private func key(header: JSONValue) throws(TokenError) -> Trust.PublicKey {
        guard let members = header.object else { throw TokenError(.header, "the header is no object") }
        guard members["crit"] == nil else { throw TokenError(.critical, "has critical extensions") }
        guard members["typ"] == .string(Self.type) else { throw TokenError(.type, "is not of type \(Self.type)") }
        guard members["alg"] == .string(Self.algorithm) else {
            throw TokenError(.algorithm, "is not signed with \(Self.algorithm)")
        }
        guard members.count == 3, let keyID = members["kid"]?.string else {
            throw TokenError(.header, "has other header members than alg, kid and typ")
        }
        guard let key = keys[keyID] else { throw TokenError(.unknownKey, "is by a key that this hub does not have") }
        return key
    }

    private static func document(_ bytes: [UInt8]) throws(TokenError) -> JSONValue {
        let limits = JSONLimits(size: sizeLimit, depth: 3, count: 64, literalControls: false)
        do throws(JSONError) {
            return try JSONValue(parsing: bytes, limits: limits)
        } catch {
            throw TokenError(.malformed, error.message)
        }
    }
}
