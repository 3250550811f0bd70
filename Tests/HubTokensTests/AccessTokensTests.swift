import Base
import HubCore
import Model
import Testing
import Trust
import WireGuard

@testable import HubTokens

private let now = Timestamp(seconds: 1_800_000_000)

@Suite struct AccessTokensTests {
    let signer: Ed25519Signer
    let other: Ed25519Signer
    let tokens: AccessTokens
    let tunnelKey: WireGuard.PublicKey
    let device: DeviceID

    init() throws {
        signer = try Ed25519Signer(seed: Array(repeating: 1, count: 32))
        other = try Ed25519Signer(seed: Array(repeating: 2, count: 32))
        tokens = AccessTokens(issuer: "https://hub.example.org", audience: "hub-devices", keys: [signer.publicKey])
        let key = WireGuard.PublicKey(bytes: Array(repeating: 7, count: 32))
        tunnelKey = try #require(key)
        device = try DeviceID("d-1")
    }

    private func claims(_ change: (inout AccessClaims) -> Void = { _ in }) -> AccessClaims {
        var claims = AccessClaims(
            device: device, scopes: [.state, .reports], generation: 3, tunnelKey: tunnelKey, issued: now,
            expires: now + 900)
        change(&claims)
        return claims
    }

    private func context(_ change: (inout AccessTokens.Context) -> Void = { _ in }) -> AccessTokens.Context {
        var context = AccessTokens.Context(
            now: now + 1, scope: .state, tunnelKey: tunnelKey, device: device, generation: 3)
        change(&context)
        return context
    }

    /// A token of any header and claims, signed as told: what an attacker could send.
    private func forge(_ header: String, _ body: String, signature: ([UInt8]) throws -> [UInt8]) rethrows -> String {
        let input = Base64.encode(header.utf8, .url) + "." + Base64.encode(body.utf8, .url)
        return input + "." + Base64.encode(try signature(Array(input.utf8)), .url)
    }

    private var keyID: String { SignedTokens.keyID(signer.publicKey) }
    private func body(_ change: (inout [String: JSONValue]) -> Void = { _ in }) throws -> String {
        var members = claims().members.merging(["iss": "https://hub.example.org", "aud": "hub-devices"]) { $1 }
        change(&members)
        return String(decoding: try JSONValue.object(members).serialized(), as: UTF8.self)
    }

    @Test func whatIsIssuedIsTaken() throws {
        let token = try tokens.issue(claims(), signer: signer)
        #expect(try tokens.verify(token, context()) == claims())
        #expect(token.utf8.count < 700)
    }

    @Test func theFormIsThatOfRFC7515() throws {
        // The same token made by hand: header and claims are JSON with sorted keys.
        let header = #"{"alg":"EdDSA","kid":"\#(keyID)","typ":"at+jwt"}"#
        let forged = try forge(header, body()) { try signer.sign($0) }
        #expect(try tokens.issue(claims(), signer: signer) == forged)
    }

    @Test func hostileHeadersAreRefused() throws {
        let cases: [(String, TokenError.Reason)] = [
            (#"{"alg":"none","kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"alg":"None","kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"alg":"HS256","kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"alg":"RS256","kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"alg":"ES256","kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"alg":"eddsa","kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"alg":["EdDSA"],"kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"kid":"K","typ":"at+jwt"}"#, .algorithm),
            (#"{"alg":"EdDSA","kid":"K"}"#, .type),
            (#"{"alg":"EdDSA","kid":"K","typ":"JWT"}"#, .type),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt+x"}"#, .type),
            (#"{"alg":"EdDSA","kid":"K","typ":null}"#, .type),
            (#"{"alg":"EdDSA","kid":"0000000000000000","typ":"at+jwt"}"#, .unknownKey),
            (#"{"alg":"EdDSA","kid":"../../etc/passwd","typ":"at+jwt"}"#, .unknownKey),
            (#"{"alg":"EdDSA","typ":"at+jwt"}"#, .header),
            (#"{"alg":"EdDSA","kid":7,"typ":"at+jwt"}"#, .header),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt","crit":["exp"]}"#, .critical),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt","crit":[]}"#, .critical),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt","b64":false,"crit":["b64"]}"#, .critical),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt","jku":"https://evil.example/keys"}"#, .header),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt","jwk":{}}"#, .header),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt","x5u":"x"}"#, .header),
            (#"{"alg":"EdDSA","alg":"none","kid":"K","typ":"at+jwt"}"#, .malformed),
            (#"{"alg":"EdDSA","kid":"K","typ":"at+jwt"} x"#, .malformed),
            (#"[]"#, .header), ("", .malformed), ("{", .malformed),
        ]
        for (header, reason) in cases {
            // Signed by the right key: only the header is at fault.
            let token = try forge(header.replacing(#""K""#, with: "\"\(keyID)\""), body()) { try signer.sign($0) }
            let error = #expect(throws: TokenError.self, "\(header)") { try tokens.verify(token, context()) }
            #expect(error?.reason == reason, "\(header)")
        }
    }

    @Test func hostileSignaturesAreRefused() throws {
        let header = #"{"alg":"EdDSA","kid":"\#(keyID)","typ":"at+jwt"}"#
        let cases: [(String, ([UInt8]) throws -> [UInt8])] = [
            ("none", { _ in [] }), ("another key", { try other.sign($0) }),
            ("zeros", { _ in [UInt8](repeating: 0, count: 64) }),
            ("too long", { try signer.sign($0) + [0] }), ("too short", { try signer.sign($0).dropLast() }),
            // The public key as an HMAC secret is what alg confusion sends; here it is just a wrong signature.
            ("a digest", { Digest.sha256(Array(signer.publicKey.value.utf8) + $0).bytes }),
            ("of other text", { try signer.sign($0 + [0x41]) }),
        ]
        for (name, signature) in cases {
            let token = try forge(header, body(), signature: signature)
            let error = #expect(throws: TokenError.self, "\(name)") { try tokens.verify(token, context()) }
            #expect(error?.reason == .signature, "\(name)")
        }
    }

    @Test func hostileClaimsAreRefused() throws {
        let header = #"{"alg":"EdDSA","kid":"\#(keyID)","typ":"at+jwt"}"#
        let cases: [(String, TokenError.Reason, (inout [String: JSONValue]) -> Void)] = [
            ("issuer", .issuer, { $0["iss"] = "https://evil.example" }), ("no issuer", .issuer, { $0["iss"] = nil }),
            ("audience", .audience, { $0["aud"] = "other" }), ("audiences", .audience, { $0["aud"] = ["hub-devices"] }),
            ("no audience", .audience, { $0["aud"] = nil }), ("no subject", .claims, { $0["sub"] = nil }),
            ("bad subject", .claims, { $0["sub"] = "../x" }), ("no end", .claims, { $0["exp"] = nil }),
            ("end as text", .claims, { $0["exp"] = "1800000900" }), ("no start", .claims, { $0["iat"] = nil }),
            ("float end", .claims, { $0["exp"] = .double(1_800_000_900.5) }),
            ("no key", .claims, { $0["cnf"] = nil }), ("bad key", .claims, { $0["cnf"] = ["wireguard": "x"] }),
            ("no generation", .claims, { $0["cred_gen"] = nil }), ("scope", .claims, { $0["scope"] = "admin" }),
            ("scopes", .claims, { $0["scope"] = "device:state  device:blobs" }),
            ("no scope", .claims, { $0["scope"] = nil }),
            ("other device", .confirmation, { $0["sub"] = "d-2" }),
            ("long", .lifetime, { $0["exp"] = .integer(now.seconds + 1_000_000) }),
            ("backwards", .lifetime, { $0["iat"] = .integer(now.seconds); $0["exp"] = .integer(now.seconds) }),
            ("overflow", .notYet, { $0["iat"] = .integer(.max) }),
            ("ended", .expired, { $0["iat"] = .integer(now.seconds - 1_000); $0["exp"] = .integer(now.seconds - 40) }),
        ]
        for (name, reason, change) in cases {
            let token = try forge(header, body(change)) { try signer.sign($0) }
            let error = #expect(throws: TokenError.self, "\(name)") { try tokens.verify(token, context()) }
            #expect(error?.reason == reason, "\(name)")
        }
    }

    @Test func aTokenCountsOnlyWhereItBelongs() throws {
        let token = try tokens.issue(claims(), signer: signer)
        let strangerKey = WireGuard.PublicKey(bytes: Array(repeating: 8, count: 32))
        let stranger = try #require(strangerKey)
        let neighbour = try DeviceID("d-2")
        let cases: [(TokenError.Reason, (inout AccessTokens.Context) -> Void)] = [
            (.confirmation, { $0.tunnelKey = stranger }), (.confirmation, { $0.device = neighbour }),
            (.generation, { $0.generation = 4 }), (.generation, { $0.generation = 2 }),
            (.scope, { $0.scope = .blobs }), (.expired, { $0.now = now + 930 }), (.notYet, { $0.now = now + -31 }),
        ]
        for (reason, change) in cases {
            let error = #expect(throws: TokenError.self) { try tokens.verify(token, context(change)) }
            #expect(error?.reason == reason)
        }
        #expect(throws: Never.self) { try tokens.verify(token, context { $0.now = now + 929 }) }
        #expect(throws: Never.self) { try tokens.verify(token, context { $0.now = now + -30 }) }
    }

    @Test func malformedTextsAreRefused() throws {
        let token = try tokens.issue(claims(), signer: signer)
        let cases = [
            "", ".", "..", "...", "a.b", token + ".", "." + token, token + "=", token.replacing(".", with: ".."),
            token + "." + token, String(token.dropLast()), " " + token, token + "\n", "e30.e30.e30", "ä.ö.ü",
        ]
        for text in cases {
            #expect(throws: TokenError.self, "\(text.prefix(20))") { try tokens.verify(text, context()) }
        }
        let large = String(repeating: "A", count: 1_000_000)
        let error = #expect(throws: TokenError.self) { try tokens.verify(large, context()) }
        #expect(error?.reason == .tooLarge)
        let deep = Base64.encode(Array(String(repeating: "[", count: 2_000).utf8), .url)
        #expect(throws: TokenError.self) { try tokens.verify("\(deep).\(deep).AA", context()) }
    }

    @Test func everyChangedCharacterIsRefused() throws {
        let token = Array(try tokens.issue(claims(), signer: signer))
        for index in token.indices {
            var changed = token
            changed[index] = token[index] == "A" ? "B" : "A"
            #expect(throws: TokenError.self, "character \(index)") { try tokens.verify(String(changed), context()) }
        }
    }

    @Test func keysRotateWithoutABreak() throws {
        let before = try tokens.issue(claims(), signer: signer)
        let rotated = AccessTokens(
            issuer: "https://hub.example.org", audience: "hub-devices", keys: [other.publicKey, signer.publicKey])
        let after = try rotated.issue(claims(), signer: other)
        #expect(throws: Never.self) { try rotated.verify(before, context()) }
        #expect(throws: Never.self) { try rotated.verify(after, context()) }
        let error = #expect(throws: TokenError.self) { try tokens.verify(after, context()) }
        #expect(error?.reason == .unknownKey)
    }

    @Test func noTokenIsIssuedForTooLong() {
        for lifetime: Int64 in [0, -1, 3_601] {
            let error = #expect(throws: TokenError.self) {
                try tokens.issue(claims { $0.expires = now + lifetime }, signer: signer)
            }
            #expect(error?.reason == .lifetime)
        }
    }
}
