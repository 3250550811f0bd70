import Base
import Model

/// What a device insists on.
public struct TrustPolicy: Sendable, Equatable {
    /// With a director, both repositories must agree. Without, a release selects its devices by labels.
    public var requiresDirector: Bool

    public init(requiresDirector: Bool) { self.requiresDirector = requiresDirector }
}

/// From where one verification takes its bytes.
public struct TrustSources: Sendable {
    public var release: any MetadataFetcher
    public var director: (any MetadataFetcher)?
    /// Carried by hand (a stick, a folder): timestamp and snapshot may be past their expiry, and are then `stale`.
    public var isSideload: Bool
    /// A DSSE envelope that answers the device's nonce, if one came along.
    public var ticket: [UInt8]?

    public init(
        release: any MetadataFetcher, director: (any MetadataFetcher)? = nil, isSideload: Bool,
        ticket: [UInt8]? = nil
    ) {
        self.release = release
        self.director = director
        self.isSideload = isSideload
        self.ticket = ticket
    }
}

/// Fetches the document of a target: at most `length` bytes, which the verifier then checks.
public typealias TargetLoader =
    @Sendable (_ path: String, _ digest: Digest, _ length: Int64) async throws -> [UInt8]

/// Keeps a state that a refresh reached; called before anything more is fetched. A new root must be kept here.
public typealias TrustPersistence = @Sendable (TrustState) async throws -> Void

/// The one way from bytes that anyone may have written to a release that a device may run.
public struct ReleaseVerifier: Sendable {
    public var device: DeviceIdentity
    public var policy: TrustPolicy
    public var clock: ClockReading
    public var limits: TrustLimits

    public init(
        device: DeviceIdentity, policy: TrustPolicy, clock: ClockReading, limits: TrustLimits = .standard
    ) {
        self.device = device
        self.policy = policy
        self.clock = clock
        self.limits = limits
    }

    /// Metadata of one or both repositories, refreshed and trusted, before a choice.
    private struct Refreshed {
        var release: MetadataClient
        var director: MetadataClient?
        var state: TrustState
        var freshness: Freshness
    }

    /// Runs the whole check: TUF for both repositories, selection, agreement, floors, then the document itself.
    ///
    /// - Parameters:
    ///   - candidate: what to look for.
    ///   - load: brings the release document.
    ///   - persist: keeps each new trusted metadata before the next file is fetched.
    public func verify(
        _ candidate: Candidate = Candidate(), from sources: TrustSources, load: TargetLoader, state: TrustState,
        persist: @escaping TrustPersistence
    ) async throws(TrustError) -> Verified<Release> {
        var refreshed = try await refresh(sources, state: state, persist: persist)
        let selection = try await select(candidate, &refreshed)
        let target = selection.chosen
        try checkFloors(target, refreshed.state)
        let bytes = try await document(of: target, load)
        let release = try decode(bytes, target)
        try checkRequirements(of: release, target)
        refreshed.state.set(.release, refreshed.release.trusted)
        if let director = refreshed.director { refreshed.state.set(.director, director.trusted) }
        return Verified(
            value: release, bytes: bytes, target: target, freshness: refreshed.freshness, newState: refreshed.state,
            selection: selection)
    }

    /// Refreshes and chooses without fetching the release document: for `why`, and to see whether there is news.
    public func survey(
        _ candidate: Candidate = Candidate(), from sources: TrustSources, state: TrustState,
        persist: @escaping TrustPersistence
    ) async throws(TrustError) -> (selection: Selection, freshness: Freshness, newState: TrustState) {
        var refreshed = try await refresh(sources, state: state, persist: persist)
        let selection = try await select(candidate, &refreshed)
        try checkFloors(selection.chosen, refreshed.state)
        refreshed.state.set(.release, refreshed.release.trusted)
        if let director = refreshed.director { refreshed.state.set(.director, director.trusted) }
        return (selection, refreshed.freshness, refreshed.state)
    }

    /// Refreshes and answers the newest release of every application that the sources have for this device.
    /// An application whose releases cannot be told apart, or that has fallen below a floor, is left out with its reason.
    public func offers(
        from sources: TrustSources, state: TrustState, persist: @escaping TrustPersistence
    ) async throws(TrustError) -> ReleaseOffers {
        var refreshed = try await refresh(sources, state: state, persist: persist)
        var lister = refreshed.director ?? refreshed.release
        let listed = try await lister.list(Candidate().wants)
        // With the roles that it verified: they need not be fetched again for the choice.
        if refreshed.director == nil { refreshed.release = lister } else { refreshed.director = lister }
        var result = ReleaseOffers(freshness: refreshed.freshness, newState: refreshed.state)
        for app in Set(listed.compactMap { $0.path.split(separator: "/").first.map(String.init) }).sorted() {
            do throws(TrustError) {
                let selection = try await select(Candidate(app: app), &refreshed)
                try checkFloors(selection.chosen, refreshed.state)
                result.chosen.append(selection.chosen)
            } catch  where error.reason == .noMatch && !error.element.hasSuffix(ReleaseTarget.pathSuffix) {
                // Nothing of this application is for this device; that is no fault.
                continue
            } catch {
                result.refused[app] = error
            }
        }
        result.newState.set(.release, refreshed.release.trusted)
        if let director = refreshed.director { result.newState.set(.director, director.trusted) }
        return result
    }

    // MARK: Metadata

    private func refresh(
        _ sources: TrustSources, state start: TrustState, persist: @escaping TrustPersistence
    ) async throws(TrustError) -> Refreshed {
        if policy.requiresDirector, sources.director == nil {
            throw TrustError(.directorMissing, "director", "this device takes nothing without the director's word")
        }
        // 5.1: one time for the whole refresh.
        let expiry = ExpiryPolicy(clock: clock, floor: start.timeFloor, isSideload: sources.isSideload)
        var state = start
        let release = try await refresh(.release, sources.release, expiry, &state, persist)
        var freshness = release.freshness
        var director: MetadataClient?
        if let fetcher = sources.director, state.director != nil || policy.requiresDirector {
            let client = try await refresh(
                .director, fetcher, expiry, &state, persist, bound: sources.isSideload ? nil : release.earliestExpiry)
            freshness = max(freshness, client.freshness)
            director = client
        }
        if let ticket = sources.ticket {
            let proof = try FreshnessTicket.check(
                ticket, root: release.rootDocument, device: device.id, nonce: state.nonce,
                snapshotVersion: release.snapshot?.document.version ?? 0, limits: limits)
            // The ticket speaks for the release repository; the director's part keeps its own freshness.
            freshness = max(.proven, director?.freshness ?? .proven)
            (state.answeredNonce, state.nonce) = (state.nonce, nil)
            if let limit = release.earliestExpiry, proof.issued < limit { state.raiseTimeFloor(to: proof.issued) }
        }
        return Refreshed(release: release, director: director, state: state, freshness: freshness)
    }

    /// - Parameter bound: A time at or past this is not believed, whatever the repository says: a hub signs its director's
    ///   metadata by its own clock, and one that is ahead must not make a device refuse the releases as expired.
    private func refresh(
        _ repository: RepositoryName, _ fetcher: any MetadataFetcher, _ expiry: ExpiryPolicy,
        _ state: inout TrustState, _ persist: @escaping TrustPersistence, bound: Timestamp? = nil
    ) async throws(TrustError) -> MetadataClient {
        guard let trusted = state[repository] else {
            throw TrustError(.notProvisioned, repository.rawValue, "this device has no root for the repository")
        }
        let base = state
        var client = try MetadataClient(
            repository: repository.rawValue, trusted: trusted, fetcher: fetcher, expiry: expiry, limits: limits,
            device: repository == .director ? device.id : nil
        ) { metadata, role, _ in
            // Delegated roles come after both repositories were refreshed; they are a cache, kept with the adoption.
            guard TopLevel.all.contains(role) else { return }
            var next = base
            next.set(repository, metadata)
            try await persist(next)
        }
        try await client.refresh()
        state.set(repository, client.trusted)
        // An issue time counts only when all that was verified with it outlives it: a stolen online key cannot
        // push the floor past what the offline keys have signed for.
        if let issued = client.issued, let limit = client.earliestExpiry, issued < min(limit, bound ?? limit) {
            state.raiseTimeFloor(to: issued)
        }
        return client
    }

    // MARK: Choice

    private func select(_ candidate: Candidate, _ refreshed: inout Refreshed) async throws(TrustError) -> Selection {
        guard var director = refreshed.director else {
            return try await choose(candidate, &refreshed.release)
        }
        // The director says which; the release repository says what.
        let choice = try await choose(candidate, &director)
        refreshed.director = director
        let path = choice.chosen.path
        guard let file = try await refreshed.release.find(path) else {
            throw TrustError(.directorDisagrees, path, "the director names it, the release repository does not")
        }
        let target = try ReleaseTarget(file)
        guard target.digest == choice.chosen.digest, target.length == choice.chosen.length else {
            throw TrustError(.directorDisagrees, path, "the repositories give different lengths or hashes")
        }
        if let reason = target.mismatch(with: device) {
            throw TrustError(.noMatch, path, "the director names it for device \(device.id), but it is \(reason)")
        }
        // Counter and epoch are the release repository's to say, whose keys are offline.
        return Selection(chosen: target, verdicts: choice.verdicts)
    }

    private func choose(_ candidate: Candidate, _ client: inout MetadataClient) async throws(TrustError) -> Selection {
        var files: [TargetFile] = []
        if let app = candidate.app, let version = candidate.version {
            if let file = try await client.find(ReleaseTarget.path(app: app, version: version)) { files = [file] }
        } else {
            // Listing finds the paths; only the search by path says which role answers for each.
            for listed in try await client.list(candidate.wants) {
                if let file = try await client.find(listed.path) { files.append(file) }
            }
        }
        var targets: [ReleaseTarget] = []
        var malformed: [Selection.Verdict] = []
        for file in files {
            do throws(TrustError) {
                targets.append(try ReleaseTarget(file))
            } catch {
                malformed.append(.init(path: file.path, reason: error.detail))
            }
        }
        return try Selection.choose(
            from: targets, malformed: malformed, for: device, candidate: candidate, element: client.repository)
    }

    private func checkFloors(_ target: ReleaseTarget, _ state: TrustState) throws(TrustError) {
        guard let floor = state.floors[target.app] else { return }
        guard target.epoch >= floor.epoch else {
            throw TrustError(
                .epochBelowFloor, target.path,
                "epoch \(target.epoch), this device has committed epoch \(floor.epoch)")
        }
        guard target.ctr >= floor.ctr else {
            throw TrustError(
                .counterBelowFloor, target.path, "ctr \(target.ctr), this device has committed ctr \(floor.ctr)")
        }
    }

    // MARK: Document

    private func document(of target: ReleaseTarget, _ load: TargetLoader) async throws(TrustError) -> [UInt8] {
        guard target.length <= Int64(limits.releaseBytes) else {
            throw TrustError(.tooLarge, target.path, "a release document of \(target.length) bytes")
        }
        let bytes: [UInt8]
        do {
            bytes = try await load(target.path, target.digest, target.length)
        } catch let error as TrustError {
            throw error
        } catch {
            throw TrustError(.fetchFailed, target.path, describe(error))
        }
        // 5.7.2, 5.7.3: length, then hash.
        guard Int64(bytes.count) == target.length else {
            throw TrustError(.lengthMismatch, target.path, "\(bytes.count) bytes, \(target.length) were signed for")
        }
        guard Digest.sha256(bytes) == target.digest else {
            throw TrustError(.hashMismatch, target.path, "the content's sha256 is not \(target.digest.hex)")
        }
        return bytes
    }

    private func decode(_ bytes: [UInt8], _ target: ReleaseTarget) throws(TrustError) -> Release {
        let release: Release
        do {
            release = try Release(decoding: bytes)
        } catch {
            throw TrustError(.releaseMalformed, target.path, describe(error))
        }
        guard release.app == target.app, release.version.description == target.version.description,
            release.ctr == target.ctr, release.epoch == target.epoch
        else {
            throw TrustError(
                .releaseMismatch, target.path,
                "the document is \(release.app) \(release.version) ctr \(release.ctr) epoch \(release.epoch), "
                    + "listed as ctr \(target.ctr) epoch \(target.epoch)")
        }
        return release
    }

    private func checkRequirements(of release: Release, _ target: ReleaseTarget) throws(TrustError) {
        let needs = release.requirements
        if !needs.architectures.isEmpty, !needs.architectures.contains(device.architecture) {
            throw TrustError(
                .requirementMissing, target.path,
                "for \(needs.architectures.joined(separator: ", ")), the device is \(device.architecture)")
        }
        let labels = device.selectable
        for (label, wanted) in needs.labels.sorted(by: { $0.key < $1.key })
        where labels[label]?.isExactly(wanted) != true {
            throw TrustError(
                .requirementMissing, target.path,
                "needs label \(label)=\(wanted), the device's is \(labels[label] ?? "missing")")
        }
        for feature in needs.features.sorted() where !device.features.contains(feature) {
            throw TrustError(.requirementMissing, target.path, "needs an agent with feature \"\(feature)\"")
        }
    }
}

/// What a repository has for a device, per application.
public struct ReleaseOffers: Sendable {
    /// The newest release of each application.
    public internal(set) var chosen: [ReleaseTarget] = []
    /// Why an application has none.
    public internal(set) var refused: [String: TrustError] = [:]
    public internal(set) var freshness: Freshness
    public internal(set) var newState: TrustState
}
