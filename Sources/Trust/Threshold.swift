import Base

/// A signature as it stands in metadata or in a DSSE envelope.
public struct Signature: Sendable, Hashable {
    public var keyID: String
    public var bytes: [UInt8]

    public init(keyID: String, bytes: [UInt8]) {
        self.keyID = keyID
        self.bytes = bytes
    }
}

/// Whose signatures count for a role, and how many it takes.
public struct RoleKeys: Sendable, Hashable {
    public var keyIDs: [String]
    public var threshold: Int64
    /// By keyid, taken as given.
    public var keys: ExactMap<PublicKey>

    public init(keyIDs: [String], threshold: Int64, keys: [String: PublicKey]) {
        self.init(keyIDs: keyIDs, threshold: threshold, keys: ExactMap(keys))
    }

    public init(keyIDs: [String], threshold: Int64, keys: ExactMap<PublicKey>) {
        self.keyIDs = keyIDs
        self.threshold = threshold
        self.keys = keys
    }

    /// The one place where a threshold is counted: root, top-level roles, delegations, DSSE and tickets.
    ///
    /// Counts distinct keys, not keyids: one key under two keyids is one signature. Signatures by others are
    /// ignored. A role that lists a keyid twice, or a document signed twice under one keyid, is refused
    /// whole (CVE-2020-15093); a threshold below 1 is refused before anything is counted (CVE-2026-23992).
    ///
    /// - Parameter ready: makes a key ready to check with; a caller that checks much with one key keeps it ready.
    func verify(
        _ signatures: [Signature], over message: [UInt8], element: String,
        ready: (_ key: PublicKey, _ keyID: String) throws(TrustError) -> VerificationKey = {
            (key, keyID) throws(TrustError) in try VerificationKey(key, keyID: keyID)
        }
    ) throws(TrustError) {
        guard threshold >= 1 else {
            throw TrustError(.thresholdInvalid, element, "a threshold of \(threshold) signatures would trust anyone")
        }
        let members = Set(keyIDs.map(ExactText.init))
        guard members.count == keyIDs.count else {
            throw TrustError(.keyIDDuplicate, element, "the role lists a keyid twice")
        }
        var seen: Set<ExactText> = []
        for signature in signatures where !seen.insert(ExactText(signature.keyID)).inserted {
            throw TrustError(.signatureDuplicate, element, "two signatures under keyid \(short(signature.keyID))")
        }
        var counted: Set<[UInt8]> = []
        var problem: TrustError?
        for signature in signatures where members.contains(ExactText(signature.keyID)) {
            guard let key = keys[signature.keyID] else { continue }
            do throws(TrustError) {
                let verifier = try ready(key, signature.keyID)
                if verifier.verify(signature.bytes, over: message) { counted.insert(verifier.identity) }
            } catch {
                // A key that cannot be used is as good as absent, unless it is what the threshold lacks.
                problem = problem ?? TrustError(error.reason, element, "key \(short(error.element)): \(error.detail)")
            }
            if counted.count >= threshold { return }
        }
        throw problem
            ?? TrustError(
                .thresholdNotMet, element,
                "\(counted.count) valid signatures of distinct keys, \(threshold) needed of \(keyIDs.count) keys")
    }

    private func short(_ keyID: String) -> String { String(keyID.prefix(12)) }
}

/// One key that checks many envelopes: what OpenSSL needs of it is made once.
public struct EnvelopeKey: Sendable {
    private let role: RoleKeys
    private let ready: Result<VerificationKey, TrustError>

    /// Of a malformed key that no envelope verifies under.
    public init(_ key: PublicKey) {
        let keyID = key.keyID
        role = RoleKeys(keyIDs: [keyID], threshold: 1, keys: [keyID: key])
        ready = Result { () throws(TrustError) in try VerificationKey(key, keyID: keyID) }
    }

    /// The payload of `envelope`, once this key signed it and it is of the type that is due.
    public func payload(of envelope: DSSEEnvelope, type: String) throws(TrustError) -> [UInt8] {
        try envelope.verified(type: type, by: role) { (_, _) throws(TrustError) in try ready.get() }
    }
}
