import Base
import Model

/// What targets metadata says of one file (4.5).
struct TargetFile: Sendable {
    let path: String
    /// Bytes.
    let length: Int64
    let hashes: FileHashes
    let custom: JSONNode?

    init(path: String, _ node: JSONNode) throws(TrustError) {
        guard let length = node["length"]?.integer, length >= 0, let hashes = node["hashes"] else {
            throw TrustError(.metadataMalformed, path, "a target without \"length\" and \"hashes\"")
        }
        self.path = path
        self.length = length
        self.hashes = try FileHashes(hashes, element: path)
        custom = node["custom"]
    }

    private init(path: String, like other: TargetFile) {
        self.path = path
        (length, hashes, custom) = (other.length, other.hashes, other.custom)
    }

    /// The same under another path: where a bin's folder says no more than whose list it is.
    func named(_ path: String) -> TargetFile { TargetFile(path: path, like: self) }
}

/// A delegation as its delegator writes it.
struct Delegation: Sendable {
    enum Paths: Sendable {
        case patterns([PathPattern])
        /// Lowercase hex prefixes of the SHA-256 of the target path.
        case hashPrefixes([String])
        /// One bin of a succinct delegation (TAP 15); matched when it was made.
        case bin
    }
    let role: String
    let keys: RoleKeys
    let paths: Paths
    let isTerminating: Bool

    func matches(_ path: TargetPath) -> Bool {
        switch paths {
        case .patterns(let patterns): patterns.contains { $0.matches(path.segments) }
        case .hashPrefixes(let prefixes): prefixes.contains { path.hash.hasPrefix($0) }
        case .bin: true
        }
    }
}

/// A target path with what matching needs, each computed when a delegation first asks for it. One search owns it.
final class TargetPath {
    let text: String
    private(set) lazy var segments = PathPattern.split(text)
    private(set) lazy var digest = Digest.sha256(text.utf8)
    private(set) lazy var hash = digest.hex

    init(_ text: String) { self.text = text }
}

/// Specification 4.5, top-level and delegated.
struct TargetsMetadata: Sendable {
    let document: SignedMetadata
    let role: String
    private let targets: JSONNode
    private let index: JSONIndex
    private let delegations: JSONNode?
    private let keys: ExactMap<PublicKey>
    private let succinct: SuccinctRoles?
    /// In the delegator's order (CVE-2024-47534: a map would lose it).
    let roles: [Delegation]

    init(parsing bytes: [UInt8], role: String, limits: TrustLimits) throws(TrustError) {
        document = try SignedMetadata(parsing: bytes, type: TopLevel.targets, element: role, limits: limits)
        self.role = role
        guard let targets = document.signed["targets"], targets.isObject else {
            throw TrustError(.metadataMalformed, role, "no \"targets\" object")
        }
        self.targets = targets
        index = JSONIndex(targets)
        delegations = document.signed["delegations"]
        guard let delegations else {
            keys = [:]
            succinct = nil
            roles = []
            return
        }
        keys = try PublicKey.table(delegations["keys"], element: role, limits: limits)
        if let node = delegations["succinct_roles"] {
            guard delegations["roles"] == nil else {
                throw TrustError(.delegationInvalid, role, "both \"roles\" and \"succinct_roles\"")
            }
            succinct = try SuccinctRoles(node, keys: keys, delegator: role)
            roles = []
            return
        }
        succinct = nil
        roles = try Self.delegations(delegations["roles"], keys: keys, delegator: role, limits: limits)
    }

    private static func delegations(
        _ list: JSONNode?, keys: ExactMap<PublicKey>, delegator: String, limits: TrustLimits
    ) throws(TrustError) -> [Delegation] {
        guard let list, list.isArray else {
            throw TrustError(.delegationInvalid, delegator, "delegations without \"roles\" or \"succinct_roles\"")
        }
        guard list.count <= limits.delegationsPerRole else {
            throw TrustError(.tooLarge, delegator, "more than \(limits.delegationsPerRole) delegations")
        }
        var result: [Delegation] = []
        result.reserveCapacity(list.count)
        var names: Set<ExactText> = []
        for node in list.elements {
            let delegation = try Delegation(node, keys: keys, delegator: delegator, limits: limits)
            guard names.insert(ExactText(delegation.role)).inserted else {
                throw TrustError(.delegationInvalid, delegator, "role \"\(delegation.role)\" delegated to twice")
            }
            result.append(delegation)
        }
        return result
    }

    func target(_ path: String) throws(TrustError) -> TargetFile? {
        guard let node = index[path] else { return nil }
        return try TargetFile(path: path, node)
    }

    /// Visits every target in document order.
    func forEachTarget(_ body: (TargetFile) throws(TrustError) -> Void) throws(TrustError) {
        try targets.forEachMember { (name, value) throws(TrustError) in
            try body(TargetFile(path: name.string ?? "", value))
        }
    }

    var targetCount: Int { targets.count }

    /// Delegations that may hold `path`, in order of appearance (5.6.7.2).
    func delegations(for path: TargetPath) -> [Delegation] {
        if let succinct { return [succinct.bin(for: path)] }
        return roles.filter { $0.matches(path) }
    }

    /// Every delegation in order, for a walk without a path; bins of a succinct one are made as they are asked for.
    var allDelegations: AnySequence<Delegation> { succinct.map { AnySequence($0.all) } ?? AnySequence(roles) }
}

extension Delegation {
    init(
        _ node: JSONNode, keys: ExactMap<PublicKey>, delegator: String, limits: TrustLimits
    ) throws(TrustError) {
        guard let name = node["name"]?.string, !name.isEmpty, name.utf8.count <= limits.nameBytes else {
            throw TrustError(.delegationInvalid, delegator, "a delegation without a name")
        }
        guard !TopLevel.all.contains(name) else {
            throw TrustError(.roleName, delegator, "delegates to the top-level role \"\(name)\"")
        }
        role = name
        self.keys = try RoleKeys(node, keys: keys, element: name)
        isTerminating = node["terminating"]?.bool ?? false
        switch (node["paths"], node["path_hash_prefixes"]) {
        case (let patterns?, nil):
            var list: [PathPattern] = []
            for item in patterns.elements {
                guard let text = item.string, text.utf8.count <= limits.nameBytes else {
                    throw TrustError(.delegationInvalid, name, "a path pattern that is no string")
                }
                list.append(PathPattern(text))
            }
            paths = .patterns(list)
        case (nil, let prefixes?):
            var list: [String] = []
            for item in prefixes.elements {
                guard let text = item.string, !text.isEmpty else {
                    throw TrustError(.delegationInvalid, name, "a path hash prefix that is no string")
                }
                list.append(text)
            }
            paths = .hashPrefixes(list)
        default:
            throw TrustError(.delegationInvalid, name, "either \"paths\" or \"path_hash_prefixes\" must be there")
        }
    }
}

/// TAP 15: 2^n bins under one key set, named by prefix and number.
struct SuccinctRoles: Sendable {
    let keys: RoleKeys
    let bitLength: Int
    let prefix: String

    /// Bits: 32 is what TAP 15 allows.
    static let bits = 1...32

    init(_ node: JSONNode, keys: ExactMap<PublicKey>, delegator: String) throws(TrustError) {
        guard let bits = node["bit_length"]?.integer.flatMap(Int.init(exactly:)), Self.bits.contains(bits),
            let prefix = node["name_prefix"]?.string, !prefix.isEmpty
        else {
            throw TrustError(
                .delegationInvalid, delegator, "succinct roles need a bit_length of 1 to 32 and a name_prefix")
        }
        self.keys = try RoleKeys(node, keys: keys, element: delegator)
        bitLength = bits
        self.prefix = prefix
    }

    /// The bin is the leftmost bits of the path's SHA-256.
    func bin(for path: TargetPath) -> Delegation {
        delegation(Self.number(of: path, bitLength: bitLength))
    }

    static func number(of path: TargetPath, bitLength: Int) -> Int {
        let head = path.digest.bytes.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return Int(head >> (32 - UInt32(bitLength)))
    }

    var all: some Sequence<Delegation> { (0..<(1 << bitLength)).lazy.map(delegation) }

    private func delegation(_ number: Int) -> Delegation {
        let name = Self.name(number, prefix: prefix, bitLength: bitLength)
        return Delegation(role: name, keys: keys, paths: .bin, isTerminating: false)
    }

    /// The number in lowercase hexadecimal, as wide as the last bin's.
    static func name(_ number: Int, prefix: String, bitLength: Int) -> String {
        let digits = (bitLength + 3) / 4
        var name = prefix + "-"
        for place in (0..<digits).reversed() {
            let nibble = UInt8(truncatingIfNeeded: number >> (4 * place)) & 15
            name.unicodeScalars.append(Unicode.Scalar(nibble < 10 ? 0x30 + nibble : 0x57 + nibble))
        }
        return name
    }
}
