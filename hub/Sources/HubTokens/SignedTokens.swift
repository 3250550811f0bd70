import Base
import Model
import Trust

/// Tokens as JWS (RFC 7515) in compact form, signed by one of the hub's own keys.
///
/// One algorithm, EdDSA with ed25519, fixed here and not read from the token; three header members, all needed,
/// none other allowed. A general JWT library chooses by the header what it verifies with; this one has
/// nothing to choose.
public struct SignedTokens: Sendable {
    static let type = "at+jwt"
    static let algorithm = "EdDSA"
    /// Characters of a token; ours have about 600.
    public static let sizeLimit = 4_096

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

    /// A token of these claims, `iss` and `aud` added.
    func issue(_ claims: [String: JSONValue], signer: some Signer) throws -> String {
        let header: JSONValue = [
            "alg": .string(Self.algorithm), "typ": .string(Self.type),
            "kid": .string(Self.keyID(signer.publicKey)),
        ]
        let claims = claims.merging(["iss": .string(issuer), "aud": .string(audience)]) { $1 }
        let input =
            Base64.encode(try header.serialized(), .url) + "."
            + Base64.encode(try JSONValue.object(claims).serialized(), .url)
        return input + "." + Base64.encode(try signer.sign(Array(input.utf8)), .url)
    }

    /// The claims under a valid signature, for this issuer and audience; times and bearer not yet judged.
    func claims(_ token: String) throws(TokenError) -> JSONValue {
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
        return value
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
