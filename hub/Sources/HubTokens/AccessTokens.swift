import Base
import HubCore
import Trust
import WireGuard

/// Issues and checks the short-lived tokens that devices show in the tunnel.
public struct AccessTokens: Sendable {
    /// Seconds that a token may live, and by which clocks may differ.
    public static let longestLifetime: Int64 = 3_600
    public static let leeway: Int64 = 30

    private let tokens: SignedTokens

    public init(issuer: String, audience: String, keys: [Trust.PublicKey]) {
        tokens = SignedTokens(issuer: issuer, audience: audience, keys: keys)
    }

    // MARK: Issuing

    /// - Throws: `hub-token.lifetime` for more than ``longestLifetime`` or none at all.
    public func issue(_ claims: AccessClaims, signer: some Signer) throws -> String {
        let lifetime = claims.expires - claims.issued
        guard (1...Self.longestLifetime).contains(lifetime) else {
            throw TokenError(.lifetime, "a lifetime of \(lifetime) s, at most \(Self.longestLifetime) s")
        }
        return try tokens.issue(claims.members, signer: signer)
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
        let claims = try AccessClaims(tokens.claims(token))
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
}
