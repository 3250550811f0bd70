import Model

/// What a device should look for: nothing named means the newest release of its one application.
public struct Candidate: Sendable, Equatable {
    public var app: String?
    /// With an app only.
    public var version: SemanticVersion?
    /// Target paths of the releases whose bytes came along, where metadata may list more than that: what is carried
    /// by hand is a part of a repository. Nil: all that is listed can be had. It narrows the choice and vouches for
    /// nothing.
    public var carried: Set<String>?

    public init(app: String? = nil, version: SemanticVersion? = nil, carried: Set<String>? = nil) {
        self.app = app
        self.version = app == nil ? nil : version
        self.carried = carried
    }

    func wants(_ path: String) -> Bool {
        guard path.hasSuffix(ReleaseTarget.pathSuffix) else { return false }
        guard let app else { return true }
        guard let version else { return path.hasPrefix(app + "/") }
        return path == ReleaseTarget.path(app: app, version: version)
    }
}

/// The choice of exactly one release, with what became of all the others.
public struct Selection: Sendable, Equatable {
    public struct Verdict: Sendable, Equatable {
        public var path: String
        /// Why it was passed over; nil for what matched.
        public var reason: String?
    }

    public let chosen: ReleaseTarget
    /// Every release looked at, the chosen one too, by path.
    public let verdicts: [Verdict]

    private static let notCarried = "is signed for this device, and its bytes are not in what is imported"

    /// Releases for this device that are newer than the chosen one and did not come along, by path.
    public var newerElsewhere: [String] { verdicts.filter { $0.reason == Self.newerNotCarried }.map(\.path) }
    private static let newerNotCarried = "is newer, and its bytes are not in what is imported"

    /// The one release of `targets` for `device`: of one application, the highest `ctr`.
    ///
    /// - Throws: `trust.no-match` and `trust.many-match`, whose message explains each target.
    static func choose(
        from targets: [ReleaseTarget], malformed: [Verdict], for device: DeviceIdentity, candidate: Candidate,
        element: String
    ) throws(TrustError) -> Selection {
        var verdicts = malformed
        var matching: [ReleaseTarget] = []
        for target in targets {
            var reason = target.mismatch(with: device)
            if reason == nil, candidate.carried?.contains(target.path) == false { reason = notCarried }
            if reason == nil { matching.append(target) }
            verdicts.append(Verdict(path: target.path, reason: reason))
        }
        guard !matching.isEmpty else {
            let why =
                verdicts.isEmpty
                ? "no release is listed"
                : verdicts.prefix(20).map { "\($0.path) \($0.reason ?? "")" }.joined(separator: "; ")
            throw TrustError(.noMatch, element, "no release matches device \(device.id): \(why)")
        }
        let apps = Set(matching.map(\.app)).sorted()
        guard apps.count == 1 else {
            throw TrustError(
                .manyMatch, element,
                "releases of several applications match device \(device.id): "
                    + apps.prefix(20).joined(separator: ", "))
        }
        let highest = matching.map(\.ctr).max() ?? 0
        let best = matching.filter { $0.ctr == highest }
        guard let chosen = best.first, best.count == 1 else {
            throw TrustError(
                .manyMatch, element,
                "several releases with ctr \(highest) match device \(device.id): "
                    + best.map(\.path).sorted().prefix(20).joined(separator: ", "))
        }
        for index in verdicts.indices where verdicts[index].reason == nil && verdicts[index].path != chosen.path {
            verdicts[index].reason = "an older release than \(chosen.path)"
        }
        let newer = Set(targets.filter { $0.app == chosen.app && $0.ctr > chosen.ctr }.map(\.path))
        for index in verdicts.indices where verdicts[index].reason == notCarried && newer.contains(verdicts[index].path) {
            verdicts[index].reason = newerNotCarried
        }
        return Selection(chosen: chosen, verdicts: verdicts.sorted { $0.path < $1.path })
    }
}
