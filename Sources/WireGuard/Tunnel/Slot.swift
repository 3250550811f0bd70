/// One of a device's two places in the tunnel network: each has a key, an interface and an address of its own,
/// so that a new key can carry traffic before the old one goes.
public enum Slot: String, Sendable, Codable, CaseIterable {
    case first, second

    public var other: Slot { self == .first ? .second : .first }

    /// The last bit of the slot's address in its /127.
    public var bit: UInt64 { self == .first ? 0 : 1 }
}
