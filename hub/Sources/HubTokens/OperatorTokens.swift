import Base
import HubCore
import Model
import Trust

/// What an operator's access token says.
public struct OperatorClaims: Sendable, Equatable {
    public var name: OperatorID
    public var scopes: Set<OperatorScope>
    /// The account's generation: a new password or a lock ends older tokens.
    public var generation: Int64
    public var issued: Timestamp
    public var expires: Timestamp

    public init(
        name: OperatorID, scopes: Set<OperatorScope>, generation: Int64, issued: Timestamp, expires: Timestamp
    ) {
        self.name = name
        self.scopes = scopes
        self.generation = generation
        self.issued = issued
        self.expires = expires
    }
}

/// Issues and checks the tokens of people and their scripts on the management side. Another audience than the
/// devices' keeps the two apart, under the same key.
public struct OperatorTokens: Sendable {
    /// Seconds.
    public static let longestLifetime: Int64 = 12 * 3_600
    public static let leeway = AccessTokens.leeway

    private let tokens: SignedTokens

    public init(issuer: String, audience: String, keys: [Trust.PublicKey]) {
        tokens = SignedTokens(issuer: issuer, audience: audience, keys: keys)
    }

    /// - Throws: `hub-token.lifetime`.
    public func issue(_ claims: OperatorClaims, signer: some Signer) throws -> String {
        guard (1...Self.longestLifetime).contains(claims.expires - claims.issued) else {
            throw TokenError(.lifetime, "a lifetime of \(claims.expires - claims.issued) s")
        }
        return try tokens.issue(
            [
                "sub": .string(claims.name.text),
                "scope": .string(claims.scopes.sorted().map(\.rawValue).joined(separator: " ")),
                "cred_gen": .integer(claims.generation), "iat": .integer(claims.issued.seconds),
                "exp": .integer(claims.expires.seconds),
            ], signer: signer)
    }

    /// The claims of a token that counts now. Whether the account still has them is for the caller to compare.
    public func verify(_ token: String, now: Timestamp) throws(TokenError) -> OperatorClaims {
        let value = try tokens.claims(token)
        guard let name = value["sub"]?.string.flatMap({ try? OperatorID($0) }), let scope = value["scope"]?.string,
            let generation = value["cred_gen"]?.integer, let issued = value["iat"]?.integer,
            let expires = value["exp"]?.integer
        else { throw TokenError(.claims, "a claim is missing or of the wrong type") }
        var scopes: Set<OperatorScope> = []
        for word in scope.split(separator: " ") {
            guard let scope = OperatorScope(rawValue: String(word)) else {
                throw TokenError(.claims, "an unknown scope")
            }
            scopes.insert(scope)
        }
        let claims = OperatorClaims(
            name: name, scopes: scopes, generation: generation, issued: Timestamp(seconds: issued),
            expires: Timestamp(seconds: expires))
        guard now >= claims.issued + -Self.leeway else { throw TokenError(.notYet, "was issued in the future") }
        guard now < claims.expires + Self.leeway else { throw TokenError(.expired, "has expired") }
        guard (1...Self.longestLifetime).contains(claims.expires - claims.issued) else {
            throw TokenError(.lifetime, "lives longer than any that this hub issues")
        }
        return claims
    }
}
