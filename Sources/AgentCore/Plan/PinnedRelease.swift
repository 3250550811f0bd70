import Base
import Model

/// A verified release with the digest of its document, which names it everywhere.
public struct PinnedRelease: Hashable, Sendable {
    public var digest: Digest
    public var release: Release

    public init(digest: Digest, release: Release) {
        self.digest = digest
        self.release = release
    }

    public static func == (lhs: PinnedRelease, rhs: PinnedRelease) -> Bool { lhs.digest == rhs.digest }
    public func hash(into hasher: inout Hasher) { hasher.combine(digest) }
}

extension PinnedRelease: CustomStringConvertible {
    /// `shop 1.4.0 (a1b2c3d4e5f6)`.
    public var description: String { "\(release.app) \(release.version) (\(digest.short))" }
}

/// What one app is to be, as the journal holds it.
public struct DesiredApp: Hashable, Sendable {
    public enum Phase: String, Hashable, Sendable, Codable {
        /// Being applied; a failure leads back to `previous`.
        case candidate
        /// Has run healthy through its stable time.
        case committed
        /// Failed with nothing to go back to, or with rollback switched off: kept as it is and tried on.
        case degraded
    }
    public var app: String
    public var target: PinnedRelease
    public var phase: Phase
    /// Pinned with images, files and config until the target's successor is committed.
    public var previous: PinnedRelease?
    /// Times that an agent process began or resumed the trial of this candidate.
    public var trialStarts: Int
    /// Why it is degraded; empty otherwise.
    public var detail: String

    public init(
        app: String, target: PinnedRelease, phase: Phase, previous: PinnedRelease? = nil, trialStarts: Int = 0,
        detail: String = ""
    ) {
        self.app = app
        self.target = target
        self.phase = phase
        self.previous = previous
        self.trialStarts = trialStarts
        self.detail = detail
    }
}
