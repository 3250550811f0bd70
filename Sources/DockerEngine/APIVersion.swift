/// A version of the Docker Engine API, `1.41`.
public struct APIVersion: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var major: Int
    public var minor: Int

    public init(major: Int, minor: Int) {
        self.major = major
        self.minor = minor
    }

    /// Parses `major.minor`, both decimal and below 10000.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = Int(parts[0]), let minor = Int(parts[1]),
            (0..<10_000).contains(major), (0..<10_000).contains(minor)
        else { return nil }
        self.init(major: major, minor: minor)
    }

    public var description: String { "\(major).\(minor)" }
    public static func < (lhs: APIVersion, rhs: APIVersion) -> Bool {
        (lhs.major, lhs.minor) < (rhs.major, rhs.minor)
    }

    /// Docker Engine 20.10, the oldest this client speaks.
    public static let oldestSupported = APIVersion(major: 1, minor: 41)
    /// The newest whose changes this client has been written for; a newer engine still answers it.
    public static let newestSupported = APIVersion(major: 1, minor: 47)

    /// The version both sides speak: the newest of ours that the engine has, nil when there is none.
    public static func negotiate(oldest: APIVersion?, newest: APIVersion) -> APIVersion? {
        let chosen = min(newest, newestSupported)
        guard chosen >= oldestSupported, chosen >= oldest ?? chosen else { return nil }
        return chosen
    }
}
