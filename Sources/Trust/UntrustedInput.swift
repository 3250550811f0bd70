import Base
import Model

/// Every parser of bytes that anyone may have written, behind one signature: what fuzzers and hostile corpora drive.
@_spi(Fuzzing)
public enum UntrustedInput: String, CaseIterable, Sendable {
    case json
    /// The first byte chooses among root, timestamp, snapshot and targets.
    case metadata
    case envelope
    /// The first byte chooses among public keys, key files, and names and patterns.
    case key

    /// Feeds `bytes` to the parser. Throws what the parser throws; stops the program when an invariant is broken.
    public func consume(_ bytes: [UInt8]) throws {
        switch self {
        case .json: try Self.compareParsers(bytes)
        case .metadata: try Self.parseMetadata(bytes)
        case .envelope:
            let envelope = try DSSEEnvelope(parsing: bytes)
            let again = try DSSEEnvelope(parsing: envelope.bytes)
            precondition(again == envelope, "an envelope must read back as it was written")
            _ = try FreshnessTicket(payload: envelope.payload)
        case .key: try Self.parseKey(bytes)
        }
    }

    private static func parseMetadata(_ bytes: [UInt8]) throws {
        let limits = TrustLimits.standard
        let document = Array(bytes.dropFirst())
        switch (bytes.first ?? 0) % 4 {
        case 0:
            let root = try RootMetadata(parsing: document, limits: limits)
            try MetadataClient.checkSelfSigned(root)
        case 1: _ = try TimestampMetadata(parsing: document, limits: limits)
        case 2: _ = try SnapshotMetadata(parsing: document, limits: limits)
        default:
            let targets = try TargetsMetadata(parsing: document, role: "fuzz", limits: limits)
            let path = TargetPath("web/1.0.0.release.json")
            _ = try targets.target(path.text)
            _ = targets.delegations(for: path)
            for delegation in targets.allDelegations.prefix(64) { _ = delegation.matches(path) }
            try targets.forEachTarget { (file) throws(TrustError) in _ = try? ReleaseTarget(file) }
        }
    }

    private static func parseKey(_ bytes: [UInt8]) throws {
        let rest = bytes.dropFirst()
        switch (bytes.first ?? 0) % 3 {
        case 0:
            let parts = rest.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
                .map { String(decoding: $0, as: UTF8.self) }
            guard parts.count == 3 else { return }
            let key = PublicKey(keyType: parts[0], scheme: parts[1], value: parts[2])
            _ = try VerificationKey(key, keyID: "fuzz").verify([UInt8](repeating: 1, count: 64), over: bytes)
        case 1:
            let file = try PrivateKeyFile(parsing: Array(rest), name: "fuzz")
            // Deriving is slow by design and takes no structure from its input: plain keys only.
            if file.entry.protection == .plain { _ = try file.unlock(with: nil) }
        default:
            let parts = rest.split(separator: 0, maxSplits: 1).map { String(decoding: $0, as: UTF8.self) }
            guard parts.count == 2 else { return }
            _ = PathPattern(parts[0]).matches(PathPattern.split(parts[1]))
            precondition(MetadataName.decoded(MetadataName.encoded(parts[1])) == parts[1], "names must round-trip")
        }
    }

    /// Two parsers, written apart, must agree on what a document is and on its canonical form.
    private static func compareParsers(_ bytes: [UInt8]) throws {
        let limits = TrustLimits.standard
        let tree = Result {
            try JSONValue(parsing: bytes, limits: JSONLimits(depth: limits.jsonDepth, count: limits.jsonNodes))
        }
        let tape = Result { try JSONTape(parsing: bytes, limits: limits) }
        switch (tree, tape) {
        case (.success(let value), .success(let tape)):
            precondition(tape.root.value == value, "the parsers read different values")
            let canonical = try tape.root.canonical()
            let other = try value.serialized(.canonical)
            precondition(other == canonical, "the parsers write different canonical forms")
            let again = try JSONTape(parsing: canonical, limits: limits).root.canonical()
            precondition(again == canonical, "the canonical form must be its own canonical form")
        case (.failure(let error), .failure): throw error
        case (.failure(let error), .success):
            // Bounds are counted apart: the tape counts keys. Else it is the grammar.
            let reason = (error as? JSONError)?.reason
            let isExpected = reason == .count || reason == .depth || reason == .size
            precondition(isExpected, "the tree refuses what the tape takes: \(error)")
            throw error
        case (.success, .failure(let error)):
            let reason = (error as? JSONError)?.reason
            precondition(reason == .count || reason == .depth, "the tape refuses what the tree takes: \(error)")
            throw error
        }
    }
}
