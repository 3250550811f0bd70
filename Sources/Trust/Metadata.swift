import Base
import Model

/// A parsed metadata file: its bytes as received, what is signed in canonical form, and the signatures.
struct SignedMetadata: Sendable {
    let bytes: [UInt8]
    let signed: JSONNode
    let canonical: [UInt8]
    let signatures: [Signature]
    let version: Int64
    let expires: Timestamp
    /// When the writer says it signed this, if it does: raises the time floor. Our own field; TUF has none.
    let issued: Timestamp?

    /// Fields every role shares (specification 4.3). `type` is what `_type` must say.
    init(parsing bytes: [UInt8], type: String, element: String, limits: TrustLimits) throws(TrustError) {
        let tape: JSONTape
        do throws(JSONError) {
            tape = try JSONTape(parsing: bytes, limits: limits)
        } catch {
            throw TrustError(.metadataMalformed, element, error.message)
        }
        guard let signed = tape.root["signed"], signed.isObject, let list = tape.root["signatures"], list.isArray else {
            throw TrustError(.metadataMalformed, element, "no \"signed\" object with a \"signatures\" array")
        }
        guard let actual = signed["_type"]?.string else {
            throw TrustError(.metadataMalformed, element, "no \"_type\"")
        }
        guard actual == type else {
            throw TrustError(.wrongType, element, "metadata of type \"\(actual)\" where \"\(type)\" is due")
        }
        let specification = signed["spec_version"]?.string ?? ""
        guard Self.isUnderstood(specification) else {
            throw TrustError(.specVersion, element, "specification version \"\(specification)\", understood is 1.x")
        }
        guard let version = signed["version"]?.integer, version >= 1 else {
            throw TrustError(.metadataMalformed, element, "no \"version\" of at least 1")
        }
        guard let expires = signed["expires"]?.string.flatMap(Timestamp.init(rfc3339:)) else {
            throw TrustError(.metadataMalformed, element, "no \"expires\" of the form YYYY-MM-DDTHH:MM:SSZ")
        }
        self.bytes = bytes
        self.signed = signed
        self.version = version
        self.expires = expires
        issued = signed["x-holdfast-issued"]?.string.flatMap(Timestamp.init(rfc3339:))
        do throws(JSONError) {
            canonical = try signed.canonical()
        } catch {
            throw TrustError(.metadataMalformed, element, error.message)
        }
        signatures = try Self.signatures(list, element: element, limits: limits)
    }

    /// `1.<minor>` or `1.<minor>.<patch>`.
    private static func isUnderstood(_ specification: String) -> Bool {
        let parts = specification.utf8.split(separator: 0x2E, omittingEmptySubsequences: false)
        return (2...3).contains(parts.count) && parts[0].elementsEqual("1".utf8)
            && parts.allSatisfy { part in
                (1...9).contains(part.count) && part.allSatisfy { (0x30...0x39).contains($0) }
            }
    }

    private static func signatures(
        _ list: JSONNode, element: String, limits: TrustLimits
    ) throws(TrustError) -> [Signature] {
        guard list.count <= limits.signatures else {
            throw TrustError(.tooLarge, element, "more than \(limits.signatures) signatures")
        }
        var result: [Signature] = []
        for item in list.elements {
            guard let keyID = item["keyid"]?.string, let signature = item["sig"], signature.string != nil else {
                throw TrustError(.metadataMalformed, element, "a signature without \"keyid\" and \"sig\"")
            }
            // An empty or odd signature is one that does not verify: writers leave empty ones as places to sign.
            result.append(Signature(keyID: keyID, bytes: signature.hexadecimal ?? []))
        }
        return result
    }
}

extension RoleKeys {
    /// Reads `keyids`, `threshold` of a role, with the keys they may name.
    init(_ node: JSONNode, keys: ExactMap<PublicKey>, element: String) throws(TrustError) {
        guard let list = node["keyids"], list.isArray, let threshold = node["threshold"]?.integer else {
            throw TrustError(.metadataMalformed, element, "a role without \"keyids\" and \"threshold\"")
        }
        guard threshold >= 1 else {
            throw TrustError(.thresholdInvalid, element, "a threshold of \(threshold) signatures would trust anyone")
        }
        var keyIDs: [String] = []
        var seen: Set<ExactText> = []
        for item in list.elements {
            guard let keyID = item.string else {
                throw TrustError(.metadataMalformed, element, "a keyid that is no string")
            }
            guard seen.insert(ExactText(keyID)).inserted else {
                throw TrustError(.keyIDDuplicate, element, "the role lists keyid \(keyID.prefix(12)) twice")
            }
            keyIDs.append(keyID)
        }
        var own = ExactMap<PublicKey>()
        for keyID in keyIDs { own[keyID] = keys[keyID] }
        self.init(keyIDs: keyIDs, threshold: threshold, keys: own)
    }
}

extension PublicKey {
    /// Reads a `keys` object. Unknown fields of a key stay in the signed bytes; they mean nothing here.
    static func table(
        _ node: JSONNode?, element: String, limits: TrustLimits
    ) throws(TrustError) -> ExactMap<PublicKey> {
        guard let node, node.isObject else {
            throw TrustError(.metadataMalformed, element, "no \"keys\" object")
        }
        guard node.count <= limits.keys else {
            throw TrustError(.tooLarge, element, "more than \(limits.keys) keys")
        }
        var keys = ExactMap<PublicKey>()
        try node.forEachMember { (name, value) throws(TrustError) in
            guard let keyID = name.string, let type = value["keytype"]?.string, let scheme = value["scheme"]?.string,
                let text = value["keyval"]?["public"]?.string
            else { throw TrustError(.metadataMalformed, element, "a key without keytype, scheme and public value") }
            keys[keyID] = PublicKey(keyType: type, scheme: scheme, value: text)
        }
        return keys
    }
}

/// Names of the top-level roles.
enum TopLevel {
    static let root = "root"
    static let timestamp = "timestamp"
    static let snapshot = "snapshot"
    static let targets = "targets"
    static let all: Set<String> = [root, timestamp, snapshot, targets]
}

/// Specification 4.3.
struct RootMetadata: Sendable {
    let document: SignedMetadata
    let consistentSnapshot: Bool
    let roles: [String: RoleKeys]

    init(parsing bytes: [UInt8], limits: TrustLimits) throws(TrustError) {
        document = try SignedMetadata(parsing: bytes, type: TopLevel.root, element: TopLevel.root, limits: limits)
        let keys = try PublicKey.table(document.signed["keys"], element: TopLevel.root, limits: limits)
        var roles: [String: RoleKeys] = [:]
        for name in TopLevel.all {
            guard let node = document.signed["roles"]?[name] else {
                throw TrustError(.metadataMalformed, TopLevel.root, "no role \"\(name)\"")
            }
            roles[name] = try RoleKeys(node, keys: keys, element: name)
        }
        self.roles = roles
        // The specification's default where the field is absent is false.
        consistentSnapshot = document.signed["consistent_snapshot"]?.bool ?? false
    }

    /// Keys of a top-level role; `init` has seen to it that all four are there.
    func keys(of role: String) throws(TrustError) -> RoleKeys {
        guard let keys = roles[role] else { throw TrustError(.metadataMalformed, TopLevel.root, "no role \"\(role)\"") }
        return keys
    }

    /// Whether `role` of `self` has lost a key of `old`: the sign of a rotation after a compromise (5.3.11).
    func hasRotated(_ role: String, since old: RootMetadata) -> Bool {
        let (before, after) = (old.roles[role], roles[role])
        return !Set((after?.keyIDs ?? []).map(ExactText.init)).isSuperset(
            of: (before?.keyIDs ?? []).map(ExactText.init))
    }
}

/// An entry of `meta` in timestamp and snapshot (4.4, 4.5).
struct MetaFile: Sendable {
    let version: Int64
    /// Bytes; nil when the metadata does not say.
    let length: Int?
    let hashes: FileHashes?

    /// `element` is what an error says the entry is of.
    init(_ node: JSONNode, element: @autoclosure () -> String) throws(TrustError) {
        guard let version = node["version"]?.integer, version >= 1 else {
            throw TrustError(.metadataMalformed, element(), "no \"version\" of at least 1")
        }
        self.version = version
        if let field = node["length"] {
            guard let length = field.integer, length >= 1 else {
                throw TrustError(.metadataMalformed, element(), "a length below 1")
            }
            self.length = Int(clamping: length)
        } else {
            length = nil
        }
        guard let table = node["hashes"] else {
            hashes = nil
            return
        }
        hashes = try FileHashes(table, element: element())
    }

    /// 5.5.2 and 5.6.2: bytes against the length and hashes that the delegating metadata gives.
    func check(_ bytes: [UInt8], element: String) throws(TrustError) {
        if let length, bytes.count != length {
            throw TrustError(.lengthMismatch, element, "\(bytes.count) bytes, \(length) were signed for")
        }
        try hashes?.check(bytes, element: element)
    }
}

/// Hashes of a file by algorithm. SHA-256 and SHA-512 are understood; every one that is must match.
struct FileHashes: Sendable {
    let sha256: Digest?
    let sha512: [UInt8]?

    init(_ node: JSONNode, element: @autoclosure () -> String) throws(TrustError) {
        var sha256: Digest?
        var sha512: [UInt8]?
        guard node.isObject, node.count > 0 else {
            throw TrustError(.metadataMalformed, element(), "\"hashes\" without a hash")
        }
        try node.forEachMember { (name, value) throws(TrustError) in
            guard value.kind == .string || value.kind == .escapedString else {
                throw TrustError(.metadataMalformed, element(), "a hash that is no string")
            }
            if name.isText("sha256") {
                sha256 = value.hexadecimal.flatMap(Digest.init(bytes:))
                guard sha256 != nil else { throw TrustError(.metadataMalformed, element(), "a malformed sha256") }
            } else if name.isText("sha512") {
                sha512 = value.hexadecimal
                guard sha512?.count == 64 else { throw TrustError(.metadataMalformed, element(), "a malformed sha512") }
            }
        }
        self.sha256 = sha256
        self.sha512 = sha512
    }

    func check(_ bytes: [UInt8], element: String) throws(TrustError) {
        guard sha256 != nil || sha512 != nil else {
            throw TrustError(.hashUnsupported, element, "neither a sha256 nor a sha512 to check by")
        }
        if let sha256, Digest.sha256(bytes) != sha256 {
            throw TrustError(.hashMismatch, element, "the content's sha256 is not \(sha256.hex)")
        }
        if let sha512, SHA512.hash(bytes) != sha512 {
            throw TrustError(.hashMismatch, element, "the content's sha512 is not \(Hex.encode(sha512))")
        }
    }

    /// For comparing what two repositories say of one file.
    func agrees(with other: FileHashes) -> Bool {
        let common256 = sha256 != nil && other.sha256 != nil
        let common512 = sha512 != nil && other.sha512 != nil
        guard common256 || common512 else { return false }
        return (!common256 || sha256 == other.sha256) && (!common512 || sha512 == other.sha512)
    }
}

/// Specification 4.6.
struct TimestampMetadata: Sendable {
    let document: SignedMetadata
    let snapshot: MetaFile

    init(parsing bytes: [UInt8], limits: TrustLimits) throws(TrustError) {
        document = try SignedMetadata(
            parsing: bytes, type: TopLevel.timestamp, element: TopLevel.timestamp, limits: limits)
        guard let entry = document.signed["meta"]?["snapshot.json"] else {
            throw TrustError(.metadataMalformed, TopLevel.timestamp, "no \"snapshot.json\" in \"meta\"")
        }
        snapshot = try MetaFile(entry, element: TopLevel.timestamp)
    }
}

/// Specification 4.4.
struct SnapshotMetadata: Sendable {
    let document: SignedMetadata
    /// By file name, `targets.json` and `<role>.json`.
    let meta: ExactMap<MetaFile>

    init(parsing bytes: [UInt8], limits: TrustLimits) throws(TrustError) {
        document = try SignedMetadata(
            parsing: bytes, type: TopLevel.snapshot, element: TopLevel.snapshot, limits: limits)
        guard let table = document.signed["meta"], table.isObject else {
            throw TrustError(.metadataMalformed, TopLevel.snapshot, "no \"meta\" object")
        }
        var meta = ExactMap<MetaFile>()
        try table.forEachMember { (name, value) throws(TrustError) in
            guard let file = name.string else { return }
            meta[file] = try MetaFile(value, element: "snapshot entry \(file)")
        }
        self.meta = meta
    }

    func entry(of role: String) throws(TrustError) -> MetaFile {
        guard let entry = meta[role + ".json"] else {
            throw TrustError(.metadataMissing, role, "the snapshot does not list this role")
        }
        return entry
    }
}
