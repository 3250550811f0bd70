import Base
import Model

/// One thing that happened and who did it: a leaf of the audit log.
public struct AuditEvent: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable {
        case hubCreated = "hub.created"
        case hubKeyAnnounced = "hub.key-announced"
        case hubKeyRetired = "hub.key-retired"
        case tokenMade = "token.made"
        case tokenRevoked = "token.revoked"
        case deviceEnrolled = "device.enrolled"
        case deviceWaiting = "device.waiting"
        case deviceApproved = "device.approved"
        case deviceRejected = "device.rejected"
        case deviceRevoked = "device.revoked"
        case deviceDeleted = "device.deleted"
        case deviceLabelled = "device.labelled"
        case deviceRotationAsked = "device.rotation-asked"
        case deviceKeyStaged = "device.key-staged"
        case deviceKeyRotated = "device.key-rotated"
        case fleetChanged = "fleet.changed"
        case releaseAdded = "release.added"
        case repositoryPublished = "repository.published"
        case operatorMade = "operator.made"
        case operatorScopesChanged = "operator.scopes-changed"
        case operatorPasswordChanged = "operator.password-changed"
        case operatorLocked = "operator.locked"
        case operatorUnlocked = "operator.unlocked"
        case assignmentMade = "assignment.made"
        case assignmentRemoved = "assignment.removed"
        case enrolmentRefused = "enrolment.refused"
        case reportConflict = "report.conflict"

        /// Something that a person should look at now: a stolen token, a forked device.
        public var isAlarm: Bool { self == .enrolmentRefused || self == .reportConflict }
    }

    public var kind: Kind
    public var at: Timestamp
    /// `operator:ana`, `device:d-1f…`, `hub`.
    public var actor: String
    /// What it happened to: `device:d-1f…`, `token:9a…`.
    public var subject: String
    /// Short facts; no secrets.
    public var fields: [String: String]

    /// Values are cut to ``HubLimits/auditValueLength`` bytes and fields to ``HubLimits/auditFields``: an event
    /// is never lost for being too long.
    public init(_ kind: Kind, at: Timestamp, actor: String, subject: String, fields: [String: String] = [:]) {
        self.kind = kind
        self.at = at
        self.actor = Self.cut(actor)
        self.subject = Self.cut(subject)
        let kept = fields.sorted { $0.key < $1.key }.prefix(HubLimits.auditFields)
        self.fields = Dictionary(kept.map { (Self.cut($0.key), Self.cut($0.value)) }, uniquingKeysWith: { $1 })
    }

    private static func cut(_ text: String) -> String {
        guard text.utf8.count > HubLimits.auditValueLength else { return text }
        var bytes = Array(text.utf8.prefix(HubLimits.auditValueLength - 3))
        // Not within a character: back to the byte that starts the last one, and without it.
        while let last = bytes.popLast(), last & 0xC0 == 0x80 {}
        return String(decoding: bytes, as: UTF8.self) + "…"
    }

    /// The leaf's bytes: canonical JSON. They are hashed, so they never change once written.
    public var bytes: [UInt8] {
        let value: JSONValue = [
            "schema": 1, "kind": .string(kind.rawValue), "at": .string(at.description), "actor": .string(actor),
            "subject": .string(subject), "fields": .object(fields.mapValues { .string($0) }),
        ]
        // Strings and one integer: the canonical form cannot fail.
        return (try? value.serialized(.canonical)) ?? []
    }

    /// - Throws: `hub.record-malformed` for other bytes than ``bytes`` writes.
    public init(decoding bytes: [UInt8]) throws(HubError) {
        let limits = JSONLimits(size: HubLimits.recordSize, depth: 4, count: 128)
        guard let value = try? JSONValue(parsing: bytes, limits: limits), value["schema"]?.integer == 1,
            let kind = value["kind"]?.string.flatMap(Kind.init(rawValue:)),
            let at = value["at"]?.string.flatMap(Timestamp.init(rfc3339:)),
            let actor = value["actor"]?.string, let subject = value["subject"]?.string,
            let fields = value["fields"]?.object
        else { throw HubError(.recordMalformed, "audit event", "a field is missing or malformed") }
        self.init(kind, at: at, actor: actor, subject: subject, fields: fields.compactMapValues(\.string))
    }
}
