/// How far a key rotation has come. Stored before the step that it allows, so that a crash at any point goes on.
public struct RotationState: Hashable, Sendable, Codable {
    public enum Phase: String, Sendable, Codable {
        /// One slot carries all traffic.
        case steady
        /// The other slot's key is about to be made, or is on disk.
        case keyed
        /// The hub has taken the other slot's key.
        case registered
        /// The other slot has become the active one; the old one is up until the grace time is over.
        case flipped
    }

    /// The slot that new connections use.
    public var active: Slot
    public var phase: Phase
    /// Rotations that ended well, and those that were given up.
    public var completed: Int
    public var abandoned: Int

    public init(active: Slot = .first, phase: Phase = .steady, completed: Int = 0, abandoned: Int = 0) {
        self.active = active
        self.phase = phase
        self.completed = completed
        self.abandoned = abandoned
    }
}
