import Base

/// A caller's name for one request, so that asking twice does it once.
public struct IdempotencyKey: Hashable, Sendable, Codable {
    public let text: String

    /// 1-128 visible ASCII characters.
    public init(_ text: String) throws(HubError) {
        guard (1...HubLimits.idempotencyKeyLength).contains(text.utf8.count),
            text.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw HubError(
                .idempotencyKey, "Idempotency-Key", "1-\(HubLimits.idempotencyKeyLength) visible ASCII characters")
        }
        self.text = text
    }
}

/// The answer that was given to a request under a key. Committed together with what the request changed, so
/// that after a crash both are there or neither.
public struct IdempotencyRecord: HubRecord {
    public static let kind = RecordKind.idempotency

    /// Whose key it is: two callers may use one text.
    public var caller: String
    public var key: IdempotencyKey
    /// Of method, path and body: the same key for another request is a mistake of the caller.
    public var fingerprint: Digest
    public var status: Int
    public var answer: [UInt8]
    public var expires: Timestamp

    /// - Throws: `hub.limit` for an answer of more than ``HubLimits/idempotentAnswer`` bytes.
    public init(
        caller: String, key: IdempotencyKey, fingerprint: Digest, status: Int, answer: [UInt8], now: Timestamp
    ) throws(HubError) {
        guard answer.count <= HubLimits.idempotentAnswer else {
            throw HubError(.limit, "answer", "more than \(HubLimits.idempotentAnswer) bytes")
        }
        self.caller = caller
        self.key = key
        self.fingerprint = fingerprint
        self.status = status
        self.answer = answer
        expires = now + HubLimits.idempotencyLifetime
    }

    public var recordID: String { Self.recordID(caller: caller, key: key) }
    public static func recordID(caller: String, key: IdempotencyKey) -> String {
        Digest.sha256(Array("\(caller.utf8.count):\(caller)\(key.text)".utf8)).hex
    }

    /// Of one request.
    public static func fingerprint(method: String, path: String, body: [UInt8]) -> Digest {
        Digest.sha256(Array("\(method) \(path.utf8.count):\(path)\n".utf8) + body)
    }

    public enum Verdict: Sendable, Equatable {
        /// Do it, and commit the record with it, expecting that there is none (or the expired one).
        case perform
        case replay(status: Int, answer: [UInt8])
        /// The key was used for another request.
        case mismatch
    }

    public static func judge(_ stored: IdempotencyRecord?, fingerprint: Digest, now: Timestamp) -> Verdict {
        guard let stored, now < stored.expires else { return .perform }
        guard stored.fingerprint == fingerprint else { return .mismatch }
        return .replay(status: stored.status, answer: stored.answer)
    }
}
