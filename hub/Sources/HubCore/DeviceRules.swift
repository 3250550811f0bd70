import Base
import HubProtocol
import WireGuard

/// What people and time may do to a device that is enrolled. Each answers the record to commit and its event.
public enum DeviceRules {
    public typealias Change = (device: Device, event: AuditEvent)

    public static func approve(_ device: Device, by actor: String, now: Timestamp) throws(HubError) -> Change {
        try move(device, from: [.waiting], to: .active, .deviceApproved, by: actor, now: now)
    }

    /// The use of the token is not given back.
    public static func reject(_ device: Device, by actor: String, now: Timestamp) throws(HubError) -> Change {
        try move(device, from: [.waiting], to: .rejected, .deviceRejected, by: actor, now: now)
    }

    /// Its peers go and its access tokens count no longer.
    public static func revoke(
        _ device: Device, reason: String, by actor: String, now: Timestamp
    ) throws(HubError) -> Change {
        var (device, event) = try move(
            device, from: [.active, .waiting], to: .revoked, .deviceRevoked, by: actor, now: now)
        device.credentialGeneration += 1
        event.fields["reason"] = String(reason.prefix(HubLimits.textLength))
        return (device, event)
    }

    private static func move(
        _ device: Device, from: Set<Device.State>, to state: Device.State, _ kind: AuditEvent.Kind, by actor: String,
        now: Timestamp
    ) throws(HubError) -> Change {
        guard from.contains(device.state) else {
            throw HubError(
                .deviceState, "device \(device.id)", "is \(device.state.rawValue) and cannot become \(state.rawValue)")
        }
        var device = device
        device.state = state
        return (device, AuditEvent(kind, at: now, actor: actor, subject: "device:\(device.id)"))
    }

    /// Asks the device to change its WireGuard key; nil when it is asked already.
    public static func askForRotation(_ device: Device, by actor: String, now: Timestamp) throws(HubError) -> Change? {
        guard device.state == .active else {
            throw HubError(.deviceState, "device \(device.id)", "is \(device.state.rawValue)")
        }
        guard device.rotateKey != true else { return nil }
        var changed = device
        changed.rotateKey = true
        return (
            changed,
            AuditEvent(.deviceRotationAsked, at: now, actor: actor, subject: "device:\(device.id)")
        )
    }

    /// Replaces the labels that people give.
    public static func label(
        _ device: Device, _ labels: Labels, by actor: String, now: Timestamp
    ) -> Change? {
        guard device.labels != labels else { return nil }
        var changed = device
        changed.labels = labels
        let text = labels.values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
        return (
            changed,
            AuditEvent(
                .deviceLabelled, at: now, actor: actor, subject: "device:\(device.id)", fields: ["labels": text])
        )
    }

    /// Seconds that a staged key stays before another may take its place. Each that does leaves a binding behind for
    /// ever, so a device that gives a change up offers the same key again, and a hostile one adds few.
    public static let stagingInterval: Int64 = 3_600

    /// Takes a device's next WireGuard key into its free slot; both are peers until ``completeRotation``.
    ///
    /// - Parameters:
    ///   - binding: what the store has under this key. Any binding but this device's own staged key refuses it: a public
    ///     key is never bound twice.
    ///   - staged: what the store has under the key that is staged already.
    /// - Throws: `hub.device-state`, and `hub.too-soon` for another key than the one staged a while ago.
    public static func stageKey(
        _ key: WireGuard.PublicKey, for device: Device, binding: KeyBinding?, staged: KeyBinding? = nil, now: Timestamp
    ) throws(HubError) -> (device: Device, binding: KeyBinding, event: AuditEvent)? {
        let free = device.slot.other
        guard device.state == .active else {
            throw HubError(.deviceState, "device \(device.id)", "is \(device.state.rawValue)")
        }
        if let binding {
            // Asked again after a lost answer.
            if binding.device == device.id, device.keys[free] == TunnelKey(key) { return nil }
            throw HubError(.deviceState, "device \(device.id)", "offers a WireGuard key that was bound before")
        }
        if let staged, device.keys[free] != nil, (0..<stagingInterval).contains(now - staged.boundAt) {
            throw HubError(
                .tooSoon, "device \(device.id)", "offered another key less than \(stagingInterval) s ago")
        }
        var changed = device
        changed.keys[free] = TunnelKey(key)
        let event = AuditEvent(
            .deviceKeyStaged, at: now, actor: "device:\(device.id)", subject: "device:\(device.id)",
            fields: ["wireguard": key.base64])
        let binding = KeyBinding(
            use: .wireGuard, key: Hex.encode(key.bytes), device: device.id, token: device.token, boundAt: now)
        return (changed, binding, event)
    }

    /// The device was heard under its staged key: the old one goes. Nil when nothing is staged.
    ///
    /// - Parameter hubKey: the hub's key that the new tunnel leads to.
    public static func completeRotation(
        _ device: Device, heardAt slot: TunnelNetwork.KeySlot, hubKey: WireGuard.PublicKey? = nil, now: Timestamp
    ) -> Change? {
        guard device.state == .active, slot != device.slot, device.keys[slot] != nil else { return nil }
        var changed = device
        changed.keys[device.slot] = nil
        changed.slot = slot
        changed.credentialGeneration += 1
        changed.keySince = now
        changed.rotateKey = nil
        if let hubKey { changed.hubKey = TunnelKey(hubKey) }
        return (
            changed,
            AuditEvent(.deviceKeyRotated, at: now, actor: "device:\(device.id)", subject: "device:\(device.id)")
        )
    }
}
