import AgentCore
import Base
import Logging
import HubProtocol
import Model
import OCI
import Trust

/// Looks what the hub has for this device and takes in what is newer, by the same road as a stick:
/// `ReleaseVerifier`, `Importer`, `Journal.adopt`.
actor ReleasePoll {
    private let environment: HubEnvironment
    private let client: HubClient
    /// By application the release that was refused, and why: not tried again while the hub offers the same one.
    private var refused: [String: (digest: Digest, error: any CodedError)] = [:]
    /// By application the release that waits for a download window. That is no failure: the hub need not be asked again
    /// until the window opens.
    private var held: [String: PinnedRelease] = [:]

    init(environment: HubEnvironment, client: HubClient) {
        self.environment = environment
        self.client = client
    }

    /// Why releases of the hub are not on this device, by application.
    var refusals: [String: any CodedError] {
        refused.mapValues(\.error).merging(held.compactMapValues { environment.importer.closedWindow(of: $0) }) { $1 }
    }

    /// Whether the window of a release that waits is open.
    var isDue: Bool { held.values.contains { environment.importer.closedWindow(of: $0) == nil } }

    /// Brings the device up to what the hub has.
    ///
    /// - Parameters:
    ///   - ticket: a freshness ticket that answers this device's nonce, if one was asked for.
    ///   - end: where the hub is, asked again for each download.
    /// - Throws: what may be otherwise at the next poll; a release that is refused for good is kept in ``refusals``.
    func take(ticket: [UInt8]?, from end: @escaping @Sendable () async throws -> HubEnd) async throws {
        let failure = FetchFailure()
        do {
            try await take(ticket, end, failure)
        } catch {
            throw failure.behind(error)
        }
    }

    private func take(
        _ ticket: [UInt8]?, _ end: @escaping @Sendable () async throws -> HubEnd, _ failure: FetchFailure
    ) async throws {
        let here = try await end()
        let sources = TrustSources(
            release: HubMetadata(.release, client: client, end: here, failure: failure),
            director: HubMetadata(.director, client: client, end: here, failure: failure), isSideload: false)
        let offers = try await survey(sources)
        var ticketed = sources
        ticketed.ticket = ticket
        var isTicketUsed = ticket == nil
        let wanted = try await self.wanted(offers)
        held = [:]
        for target in wanted {
            do {
                let pinned = PinnedRelease(digest: target.digest, release: try await release(target, here))
                held[target.app] = pinned
                if let closed = environment.importer.closedWindow(of: pinned) { throw closed }
                let blobs = try await blobs(of: target, pinned.release, end)
                do {
                    try await take(target, ticketed, blobs, failure)
                } catch let error as TrustError where ticketed.ticket != nil && Self.isOfTicket(error) {
                    // A ticket adds a proof; a bad one takes none away.
                    environment.logger.warning("freshness ticket refused", metadata: ["why": "\(error.message)"])
                    ticketed.ticket = nil
                    try await take(target, ticketed, blobs, failure)
                }
                (refused[target.app], held[target.app]) = (nil, nil)
                (ticketed.ticket, isTicketUsed) = (nil, true)
            } catch let error as AgentError where error.reason == .windowClosed {
                continue
            } catch let error as any CodedError where Self.isFinal(error) {
                (refused[target.app], held[target.app]) = ((target.digest, error), nil)
            }
        }
        guard !isTicketUsed else { return }
        // Nothing was adopted: the ticket still says what time it is at least.
        do {
            try await environment.journal.persist(try await survey(ticketed).newState)
        } catch let error as TrustError where Self.isOfTicket(error) {
            environment.logger.warning("freshness ticket refused", metadata: ["why": "\(error.message)"])
        }
    }

    private static func isOfTicket(_ error: TrustError) -> Bool {
        error.reason == .ticketInvalid || error.element == "ticket" || error.element == "envelope"
            || error.element == FreshnessTicket.role
    }

    private func survey(_ sources: TrustSources) async throws -> ReleaseOffers {
        guard let device = try await environment.journal.device(),
            let state = try await environment.journal.trustState()
        else { throw AgentError(.notProvisioned, "this device trusts no root yet") }
        var sources = sources
        // A device that has no director asks none.
        if state.director == nil { sources.director = nil }
        let verifier = ReleaseVerifier(
            device: DeviceIdentity(
                id: device.id, labels: device.labels, architecture: environment.architecture,
                features: environment.features),
            policy: TrustPolicy(requiresDirector: device.requiresDirector), clock: environment.clockReading())
        let journal = environment.journal
        let offers = try await verifier.offers(from: sources, state: state) { try await journal.persist($0) }
        for (app, error) in offers.refused {
            refused[app] = (refused[app]?.digest ?? .sha256([]), Self.plain(error, app))
        }
        for app in refused.keys where offers.refused[app] == nil && !offers.chosen.contains(where: { $0.app == app }) {
            refused[app] = nil
        }
        return offers
    }

    /// Below the floor of what this device committed means that a stick was here since, and is no attack.
    private static func plain(_ error: TrustError, _ app: String) -> any CodedError {
        guard error.reason == .counterBelowFloor else { return error }
        return AgentError(
            .olderThanTarget, "the hub offers an older \(app) than this device is on: \(error.message)",
            hint: "assign the newer release on the hub")
    }

    /// What is neither the target already nor known to be refused.
    private func wanted(_ offers: ReleaseOffers) async throws -> [ReleaseTarget] {
        let desired = Dictionary(
            try await environment.journal.desired().map { ($0.app, $0) }, uniquingKeysWith: { first, _ in first })
        return offers.chosen.filter { target in
            if desired[target.app]?.target.digest == target.digest {
                refused[target.app] = nil
                return false
            }
            if let known = refused[target.app], known.digest == target.digest { return false }
            guard let active = desired[target.app], active.target.release.ctr > target.ctr else { return true }
            // A stick was here since: the newest wins.
            refused[target.app] = (
                target.digest,
                AgentError(
                    .olderThanTarget,
                    "the hub offers \(target.app) \(target.version) (ctr \(target.ctr)), this device is on "
                        + "\(active.target) (ctr \(active.target.release.ctr))",
                    hint: "assign the newer release on the hub")
            )
            return false
        }
    }

    private func release(_ target: ReleaseTarget, _ end: HubEnd) async throws -> Release {
        let document = Release.Blob(digest: target.digest, size: target.length)
        return try Release(decoding: try await HubDocument(client: client, end: end).load(document))
    }

    /// Sizes of the blobs that taking this release may need, asked for before, one by one.
    private func blobs(
        of target: ReleaseTarget, _ release: Release, _ end: @escaping @Sendable () async throws -> HubEnd
    ) async throws -> HubBlobs {
        let here = try await end()
        var sizes = [target.digest: target.length]
        let store = environment.store
        try store.prepare()
        let deltas = release.deltas.map(\.blob)
        for blob in try store.missing(release.contentBlobs + deltas) where sizes[blob.digest] == nil {
            if let size = try await client.blobSize(blob.digest, here) { sizes[blob.digest] = size }
        }
        return HubBlobs(client: client, clock: environment.clock, end: end, sizes: sizes)
    }

    private func take(
        _ target: ReleaseTarget, _ sources: TrustSources, _ blobs: HubBlobs, _ failure: FetchFailure
    ) async throws {
        let here = try await blobs.end()
        let loader = HubDocument(client: client, end: here)
        var sources = sources
        if try await environment.journal.trustState()?.director == nil { sources.director = nil }
        let source = ImportSource(
            trust: sources,
            document: { _, digest, length in
                try await failure.watch { try await loader.load(Release.Blob(digest: digest, size: length)) }
            },
            blobs: blobs)
        let logger = environment.logger
        try await environment.importer.importRelease(
            from: source, candidate: Candidate(app: target.app, version: target.version), unasked: true
        ) { event in
            if case .copying = event { return }
            logger.info("hub release", metadata: ["event": "\(event)"])
        }
    }

    /// Refusals that stand until the hub offers something else.
    static func isFinal(_ error: any CodedError) -> Bool {
        let codes: Set<String> = [
            "agent.failed-before", "agent.older-than-target", "agent.held-back", "agent.invalid-release",
            "agent.wrong-architecture", "agent.missing-feature", "trust.ctr-below-floor",
            "trust.epoch-below-floor", "trust.requirement-missing", "trust.release-malformed",
            "trust.release-mismatch",
        ]
        return codes.contains(error.code)
    }
}

/// A release document from the hub's blobs, at most as long as it may be.
private struct HubDocument: Sendable {
    let client: HubClient
    let end: HubEnd

    func load(_ blob: Release.Blob) async throws -> [UInt8] {
        let limit = min(blob.size, Int64(ReleaseLimits.documentSize))
        let box = ByteBox(limit: Int(limit))
        try await client.blob(blob.digest, from: 0, end) { next in
            while let piece = try await next() { try box.append(piece) }
        }
        let bytes = box.bytes
        guard Digest.sha256(bytes) == blob.digest else {
            throw HubLinkError(.badAnswer, "the hub's copy of release document \(blob.digest.short) is another")
        }
        return bytes
    }
}
