import Base
import WireGuard

/// The hub's ends of the tunnel: a key, an interface and a UDP port each. There are two while the key is changed.
///
/// The next end stands before it is announced, and the last one stays until devices have followed; what devices are told
/// is the signed descriptor of the same sequence.
public struct HubEnds: HubRecord {
    public static let kind = RecordKind.hubEnds
    public static let recordID = "hub"

    public struct End: Sendable, Equatable, Codable {
        public var key: TunnelKey
        /// Which of the two interfaces and ports.
        public var slot: Slot
        public var since: Timestamp

        public init(key: TunnelKey, slot: Slot, since: Timestamp) {
            self.key = key
            self.slot = slot
            self.since = since
        }
    }

    /// Of the descriptor; 0 until the key was changed once, for tokens say the first end.
    public var sequence: Int64
    /// One or two, the newest first.
    public var ends: [End]
    public var changedAt: Timestamp

    /// A new hub's.
    public init(first key: WireGuard.PublicKey, now: Timestamp) {
        sequence = 0
        ends = [End(key: TunnelKey(key), slot: .first, since: now)]
        changedAt = now
    }

    public var recordID: String { Self.recordID }
    public var current: End? { ends.first }
    /// The one that devices are to leave.
    public var retiring: End? { ends.count > 1 ? ends.last : nil }

    /// Whether a device that was last heard with this key of the hub has still to follow.
    public func isBehind(_ key: TunnelKey?) -> Bool { key != current?.key }

    // MARK: Rules

    public typealias Change = (ends: HubEnds, event: AuditEvent)

    /// - Throws: `hub.hub-state` while a change is under way.
    public func announcing(_ key: WireGuard.PublicKey, by actor: String, now: Timestamp) throws(HubError) -> Change {
        guard retiring == nil, let slot = current?.slot.other else {
            throw HubError(.hubState, "the hub's key", "is being changed; the last one has not been retired yet")
        }
        var changed = self
        changed.ends.insert(End(key: TunnelKey(key), slot: slot, since: now), at: 0)
        return changed.next(.hubKeyAnnounced, by: actor, now: now, ["key": key.base64])
    }

    /// - Throws: `hub.hub-state` when there is only one.
    public func retiringLast(by actor: String, now: Timestamp, behind: Int) throws(HubError) -> Change {
        guard let retiring else { throw HubError(.hubState, "the hub's key", "is not being changed") }
        var changed = self
        changed.ends.removeLast()
        return changed.next(
            .hubKeyRetired, by: actor, now: now, ["key": retiring.key.description, "devices_left": String(behind)])
    }

    private func next(
        _ kind: AuditEvent.Kind, by actor: String, now: Timestamp, _ fields: [String: String]
    ) -> Change {
        var changed = self
        changed.sequence += 1
        changed.changedAt = now
        return (changed, AuditEvent(kind, at: now, actor: actor, subject: "hub:key", fields: fields))
    }
}
