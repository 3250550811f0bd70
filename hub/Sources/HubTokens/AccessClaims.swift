import Base
import HubCore
import Model
import WireGuard

/// What an access token says of its bearer (RFC 9068, with the device's WireGuard key as RFC 7800 confirmation).
public struct AccessClaims: Sendable, Equatable {
    public enum Scope: String, Sendable, CaseIterable, Comparable {
        case state = "device:state"
        case blobs = "device:blobs"
        case reports = "device:reports"
        public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
    }

    public var device: DeviceID
    public var scopes: Set<Scope>
    /// The device's credential generation when it was issued.
    public var generation: Int64
    /// The token counts only in the tunnel of this key.
    public var tunnelKey: WireGuard.PublicKey
    public var issued: Timestamp
    public var expires: Timestamp

    public init(
        device: DeviceID, scopes: Set<Scope>, generation: Int64, tunnelKey: WireGuard.PublicKey, issued: Timestamp,
        expires: Timestamp
    ) {
        self.device = device
        self.scopes = scopes
        self.generation = generation
        self.tunnelKey = tunnelKey
        self.issued = issued
        self.expires = expires
    }

    var members: [String: JSONValue] {
        [
            "sub": .string(device.text), "scope": .string(scopes.sorted().map(\.rawValue).joined(separator: " ")),
            "cred_gen": .integer(generation), "cnf": ["wireguard": .string(tunnelKey.base64)],
            "iat": .integer(issued.seconds), "exp": .integer(expires.seconds),
        ]
    }

    /// Every claim is needed and none may be of another type. A scope that is not known is refused: it would be
    /// a right that this program cannot judge.
    init(_ value: JSONValue) throws(TokenError) {
        let missing = TokenError(.claims, "a claim is missing or of the wrong type")
        guard let device = value["sub"]?.string.flatMap({ try? DeviceID($0) }), let scope = value["scope"]?.string,
            let generation = value["cred_gen"]?.integer,
            let key = value["cnf"]?["wireguard"]?.string.flatMap({ WireGuard.PublicKey(base64: $0) }),
            let issued = value["iat"]?.integer, let expires = value["exp"]?.integer
        else { throw missing }
        var scopes: Set<Scope> = []
        for word in scope.split(separator: " ", omittingEmptySubsequences: false) {
            guard let scope = Scope(rawValue: String(word)) else {
                throw TokenError(.claims, "an unknown scope")
            }
            scopes.insert(scope)
        }
        self.init(
            device: device, scopes: scopes, generation: generation, tunnelKey: key, issued: Timestamp(seconds: issued),
            expires: Timestamp(seconds: expires))
    }
}
