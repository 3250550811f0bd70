import Model

/// What a device should look for: nothing named means the newest release of its one application.
public struct Candidate: Sendable, Equatable {
    public var app: String?
    /// With an app only.
    public var version: SemanticVersion?

    public init(app: String? = nil, version: SemanticVersion? = nil) {
        self.app = app
        self.version = app == nil ? nil : version
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
            let reason = target.mismatch(with: device)
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
        return Selection(chosen: chosen, verdicts: verdicts.sorted { $0.path < $1.path })
    }
}
