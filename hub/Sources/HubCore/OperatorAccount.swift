import Base
import COpenSSL
import Glibc

/// Rights on the management side, each as small as a job: who publishes a release does not by that assign it.
public enum OperatorScope: String, Sendable, Codable, CaseIterable, Comparable {
    case devicesRead = "devices:read"
    case devicesWrite = "devices:write"
    /// Approve, reject, revoke, delete.
    case devicesAdmit = "devices:admit"
    case tokensRead = "tokens:read"
    case tokensWrite = "tokens:write"
    case fleetsRead = "fleets:read"
    case fleetsWrite = "fleets:write"
    case releasesRead = "releases:read"
    case releasesPublish = "releases:publish"
    case assignmentsRead = "assignments:read"
    /// Decide who gets which release.
    case assignmentsApprove = "assignments:approve"
    case eventsRead = "events:read"
    case auditRead = "audit:read"
    case peersRead = "peers:read"
    case hubRead = "hub:read"
    /// Change the hub's own key.
    case hubWrite = "hub:write"
    case operatorsRead = "operators:read"
    case operatorsWrite = "operators:write"

    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

public typealias OperatorID = Identifier<OperatorAccount>

/// A person or a script that may use the management side.
public struct OperatorAccount: HubRecord {
    public static let kind = RecordKind.operatorAccount

    public var id: OperatorID
    public var scopes: Set<OperatorScope>
    public var password: PasswordHash
    /// Raised by a new password, new scopes and a lock: tokens of a lower one count no longer.
    public var generation: Int64
    public var isLocked: Bool
    public var madeAt: Timestamp

    public init(
        id: OperatorID, scopes: Set<OperatorScope>, password: PasswordHash, generation: Int64 = 1,
        isLocked: Bool = false, madeAt: Timestamp
    ) {
        self.id = id
        self.scopes = scopes
        self.password = password
        self.generation = generation
        self.isLocked = isLocked
        self.madeAt = madeAt
    }

    public var recordID: String { id.text }
}

/// A password as it is kept: scrypt (RFC 7914) with its own salt.
public struct PasswordHash: Sendable, Equatable, Codable {
    /// Bytes of a password.
    public static let lengths = 12...1_024
    /// scrypt's cost: 32 MiB and about a tenth of a second.
    static let cost: UInt64 = 1 << 15
    static let blockSize: UInt64 = 8
    static let memory: UInt64 = 64 << 20
    static let saltBytes = 16
    static let hashBytes = 32

    let salt: [UInt8]
    let hash: [UInt8]
    let cost: UInt64

    /// - Throws: `hub.limit` for a password too short or too long.
    public init(_ password: String) throws(HubError) {
        guard Self.lengths.contains(password.utf8.count) else {
            throw HubError(
                .limit, "password", "\(Self.lengths.lowerBound) to \(Self.lengths.upperBound) bytes are needed")
        }
        var salt = [UInt8](repeating: 0, count: Self.saltBytes)
        guard getentropy(&salt, salt.count) == 0 else {
            throw HubError(.crypto, "password", "the kernel gives no random bytes")
        }
        self.salt = salt
        cost = Self.cost
        hash = try Self.derive(password, salt: salt, cost: Self.cost)
    }

    /// Whether it is this password. Takes as long for a wrong one.
    public func matches(_ password: String) -> Bool {
        guard password.utf8.count <= Self.lengths.upperBound, cost == Self.cost,
            let other = try? Self.derive(password, salt: salt, cost: cost), other.count == hash.count
        else { return false }
        return zip(other, hash).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }

    /// 24 characters that a person can type: 120 bits.
    public static func random() throws(HubError) -> String {
        var bytes = [UInt8](repeating: 0, count: 24)
        guard getentropy(&bytes, bytes.count) == 0 else {
            throw HubError(.crypto, "password", "the kernel gives no random bytes")
        }
        // 32 characters, so that each byte's low five bits choose evenly.
        let alphabet = Array("abcdefghijkmnpqrstuvwxyz23456789".utf8)
        return String(decoding: bytes.map { alphabet[Int($0 & 31)] }, as: UTF8.self)
    }

    private static func derive(_ password: String, salt: [UInt8], cost: UInt64) throws(HubError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: hashBytes)
        let text = Array(password.utf8).map { CChar(bitPattern: $0) }
        guard
            EVP_PBE_scrypt(text, text.count, salt, salt.count, cost, blockSize, 1, memory, &output, output.count) == 1
        else { throw HubError(.crypto, "password", "libcrypto offers no scrypt") }
        return output
    }
}
