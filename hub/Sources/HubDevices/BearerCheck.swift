import Base
import HubCore
import HubProtocol
import HubTokens
import NIOConcurrencyHelpers
import WireGuard

/// Judges access tokens, and remembers those it has verified: a signature is checked once, all else each time.
final class BearerCheck: Sendable {
    /// Tokens remembered; when they are more, all are forgotten and verified anew.
    static let remembered = 50_000

    private struct Known {
        var token: String
        var claims: AccessClaims
    }
    private let tokens: AccessTokens
    private let clock: SystemClock
    private let known = NIOLockedValueBox<[DeviceID: Known]>([:])

    init(tokens: AccessTokens, clock: SystemClock) {
        self.tokens = tokens
        self.clock = clock
    }

    /// Throws unless `token` gives this device the right to `scope` in the tunnel of this slot.
    func check(
        _ token: String, of row: DeviceDirectory.Row, slot: TunnelNetwork.KeySlot, scope: AccessClaims.Scope
    ) throws(TokenError) {
        guard let key = row.key(slot) else { throw TokenError(.confirmation, "no key is bound to this tunnel") }
        let now = clock.now()
        if let known = known.withLockedValue({ $0[row.id] }), known.token == token {
            let claims = known.claims
            // The same conditions as AccessTokens.verify has behind the signature.
            guard now < claims.expires + AccessTokens.leeway, claims.generation == row.generation,
                claims.tunnelKey == key, claims.scopes.contains(scope)
            else { return try verify(token, row, key, scope, now) }
            return
        }
        try verify(token, row, key, scope, now)
    }

    private func verify(
        _ token: String, _ row: DeviceDirectory.Row, _ key: WireGuard.PublicKey, _ scope: AccessClaims.Scope,
        _ now: Timestamp
    ) throws(TokenError) {
        let claims = try tokens.verify(
            token,
            .init(now: now, scope: scope, tunnelKey: key, device: row.id, generation: row.generation))
        known.withLockedValue { known in
            if known.count >= Self.remembered { known.removeAll(keepingCapacity: true) }
            known[row.id] = Known(token: token, claims: claims)
        }
    }
}
