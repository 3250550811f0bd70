import AgentCore
import Base
import HubProtocol
import Logging
import Model
import Trust
import WireGuard

/// The device's side of a hub: joins it, holds the tunnel, polls, reports, and goes on without it for as long as
/// it is away. Nothing of the device's own work waits on this.
public actor HubService {
    /// Seconds between looks for a token file, and at the tunnel's interface.
    static let watchSeconds: Int64 = 15
    /// Seconds between looks for something to report.
    static let reportSeconds: Int64 = 5
    /// Refusals of an enrolment that asking again changes nothing about.
    static let finalRefusals: Set<String> = [
        "unknown-token", "token-revoked", "token-expired", "token-used", "key-bound", "device-removed", "proof-invalid",
    ]
    /// Waits after an enrolment that the hub did not answer.
    static let enrolBackoff = Backoff(base: .seconds(2), ceiling: .seconds(300))
    /// Seconds after which the time of an answer is kept again.
    static let floorSeconds: Int64 = 60
    /// Seconds between looks at the audit log where nothing else calls for one.
    static let auditSeconds: Int64 = 21_600
    /// Seconds after a change of keys that was given up until it is tried again.
    static let rotationRetry: Int64 = 600
    /// Seconds after which a poll is made again once a download was cut short.
    static let shortRetry: Double = 30

    let environment: HubEnvironment
    let files: HubFiles
    let keeper: TunnelKeeper
    private let enroller: Enroller
    private let witness = AuditWitness()
    var standing: HubStanding?
    /// What cannot be read of it; empty when all is well.
    var standingTrouble: (any CodedError)?
    var condition = LinkCondition()
    var polling: ReleasePoll?
    /// The client of the session with the hub; nil while there is none.
    private(set) var serving: HubClient?
    private var generator = SystemRandomNumberGenerator()
    private var session: Task<Void, Never>?
    private var sleeper = Sleeper()

    /// What happened on the link lately, for people.
    struct LinkCondition: Sendable {
        var lastPoll: Timestamp?
        var lastError: (any CodedError)?
        var lastErrorAt: Timestamp?
        var nextPollSeconds: Double?
        var lastAudit: Timestamp?
        var failures = 0
        var witnessTrouble: (any CodedError)?
        var reportTrouble: (any CodedError)?
        var rotationTrouble: (any CodedError)?
        var rotationTriedAt: Timestamp?
    }

    public init(_ environment: HubEnvironment) {
        self.environment = environment
        files = environment.files
        keeper = TunnelKeeper(environment: environment)
        enroller = Enroller(environment: environment, keeper: keeper)
    }

    // MARK: The loop

    /// Until cancelled. The tunnel stays when it ends: an agent that restarts finds it.
    public func run() async {
        do {
            standing = try files.load()
        } catch {
            standingTrouble = Self.coded(error)
            environment.logger.error("hub standing unreadable", metadata: ["why": "\(error)"])
        }
        var attempt = 0
        while !Task.isCancelled {
            var wait = Duration.seconds(Self.watchSeconds)
            switch standing?.phase {
            case nil: takeTokenFile()
            case .asking, .waiting: wait = await enrol(attempt: &attempt)
            case .enrolled: await serve()
            case .refused: break
            }
            if standing?.phase == .enrolled || Task.isCancelled { continue }
            await sleeper.sleep(wait, environment.clock)
        }
    }

    private func takeTokenFile() {
        let path = environment.settings.tokenFile
        guard !path.isEmpty, standingTrouble == nil, (try? environment.fileSystem.status(path)) != nil else { return }
        do {
            let bytes = try environment.fileSystem.read(path, limit: HubFiles.tokenLimit)
            try begin(try EnrolmentToken(text: String(decoding: bytes, as: UTF8.self)))
        } catch {
            note(error)
            environment.logger.error("token file refused", metadata: ["path": "\(path)", "why": "\(error)"])
        }
    }

    // MARK: Orders

    /// Takes a token in and goes to work with it.
    ///
    /// - Parameter replace: leaves the present hub first.
    /// - Throws: `hub-link.already-enrolled`, `hub-protocol.token-malformed` and what the disk says.
    public func enrol(token text: String, replace: Bool = false) async throws {
        let token = try EnrolmentToken(text: text)
        let id = try token.credential().id
        if let standing, standing.token != id || standing.phase == .refused {
            // A token that the hub refused makes way for another; an enrolment that stands does not.
            guard replace || standing.phase == .refused else {
                throw HubLinkError(
                    .alreadyEnrolled, "this device is with the hub at \(standing.host) already",
                    hint: "holdfast-agent hub leave, or enrol with --replace")
            }
            try await leave()
        }
        if standing == nil { try begin(token) }
        sleeper.wake()
    }

    private func begin(_ token: EnrolmentToken) throws {
        standing = try enroller.begin(token)
        standingTrouble = nil
        condition = LinkCondition()
    }

    /// Forgets the hub: tunnels, keys and reports that wait. Trust in releases stays, and so does what runs.
    ///
    /// - Throws: `hub-link.not-enrolled` when there is nothing of a hub here; what a leave that was cut short left
    ///   behind still goes.
    public func leave() async throws {
        guard try standing != nil || standingTrouble != nil || files.exist() else {
            throw Self.noHub
        }
        // First in memory, so that nothing begins to work for the hub again while the rest goes.
        standing = nil
        session?.cancel()
        await session?.value
        try await keeper.takeDown()
        try files.removeStanding()
        try environment.keys.remove()
        standingTrouble = nil
        polling = nil
        condition = LinkCondition()
        try await environment.journal.record(app: "", code: "hub.left", message: "left the hub")
        sleeper.wake()
    }

    private static let noHub = HubLinkError(
        .notEnrolled, "this device is with no hub", hint: "holdfast-agent enrol --file TOKEN")

    /// Looks now rather than at the next slot.
    public func wake() { sleeper.wake() }

    /// As ``wake()``, for a person. - Throws: `hub-link.not-enrolled`.
    public func poll() throws {
        if let standingTrouble { throw standingTrouble }
        guard standing != nil else {
            throw Self.noHub
        }
        wake()
    }

    // MARK: Enrolling

    private func enrol(attempt: inout Int) async -> Duration {
        guard var working = standing else { return .zero }
        do {
            let wait = try await enroller.ask(&working)
            guard standing?.token == working.token else { return .zero }
            standing = working
            attempt = 0
            condition.lastError = nil
            if wait == nil {
                environment.logger.notice("enrolled", metadata: ["device": "\(working.device)"])
                return .zero
            }
            environment.logger.notice("enrolment waits for approval", metadata: ["device": "\(working.device)"])
            return .seconds(wait ?? 30)
        } catch let error as HubLinkError where Self.finalRefusals.contains(error.problem ?? "") {
            guard standing?.token == working.token else { return .zero }
            note(error)
            working.phase = .refused
            working.refusal = error.message
            try? files.save(working)
            standing = working
            try? files.wipeToken()
            try? await environment.links.takeDown(environment.settings.temporaryName())
            try? await environment.journal.record(app: "", code: "hub.refused", message: error.message)
            return .seconds(Self.watchSeconds)
        } catch {
            // Left meanwhile, or another token came: what this one met is nobody's any more.
            guard standing?.token == working.token else { return .zero }
            note(error)
            attempt += 1
            return Self.enrolBackoff.delay(attempt: attempt - 1, using: &generator)
        }
    }

    // MARK: Enrolled

    /// Works with the hub until the device leaves it or the agent ends.
    private func serve() async {
        guard let standing, let signer = try? environment.keys.signer() else {
            note(HubLinkError(.state, "the signing key is gone", hint: "holdfast-agent hub leave, then enrol again"))
            await sleeper.sleep(.seconds(Self.watchSeconds), environment.clock)
            return
        }
        let client = HubClient(
            transport: environment.transport, clock: environment.clock, signer: signer, device: standing.device)
        let poll = ReleasePoll(environment: environment, client: client)
        polling = poll
        serving = client
        let reporter = Reporter(environment: environment, client: client, signer: signer)
        let work = Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.pollLoop(client, poll) }
                group.addTask { await self.reportLoop(reporter) }
                group.addTask { await self.watchLoop() }
                // Each of them ends when the device is with no hub any more.
                await group.next()
                group.cancelAll()
            }
        }
        session = work
        await withTaskCancellationHandler {
            await work.value
        } onCancel: {
            work.cancel()
        }
        session = nil
        serving = nil
    }

    func update(_ change: @Sendable (inout HubStanding) -> Void) throws {
        guard var next = standing else { throw HubLinkError(.notEnrolled, "this device has left its hub") }
        change(&next)
        guard next != standing else { return }
        try files.save(next)
        standing = next
    }

    func enrolled() throws -> HubStanding {
        guard let standing, standing.phase == .enrolled else {
            throw HubLinkError(.notEnrolled, "this device is with no hub")
        }
        return standing
    }

    func end() throws -> HubEnd {
        let standing = try enrolled()
        return try keeper.end(standing.rotation.active, of: standing)
    }

    private func pollLoop(_ client: HubClient, _ poll: ReleasePoll) async {
        var pacer = PollPacer(interval: standing?.interval ?? PollPacer.defaultInterval)
        var session = PollSession()
        // A device that has just joined is expected; one that starts again waits for a moment of its own.
        let isFresh = (try? await environment.journal.trustState()) == nil
        var wait = isFresh ? 0 : pacer.firstWait(using: &generator)
        while !Task.isCancelled {
            condition.nextPollSeconds = wait
            if wait > 0 { await sleeper.sleep(.milliseconds(Int64(wait * 1_000)), environment.clock) }
            if Task.isCancelled { return }
            do {
                wait = try await pollOnce(client, poll, &session, &pacer)
                condition.failures = 0
                condition.lastError = nil
            } catch {
                if Task.isCancelled || standing == nil { return }
                note(error)
                condition.failures += 1
                wait = self.wait(after: error, pacer, session)
            }
        }
    }

    private func wait(after error: any Error, _ pacer: PollPacer, _ session: PollSession) -> Double {
        if let error = error as? HubLinkError, let seconds = error.retryAfter {
            return pacer.waitAfterRefusal(retryAfter: Double(seconds), using: &generator)
        }
        // The hub answered and something after it was cut short: that is taken up sooner than a whole interval.
        let wait = pacer.waitAfterFailure(using: &generator)
        return session.isAnswered && condition.failures <= 5 ? min(wait, Self.shortRetry) : wait
    }

    /// What one poll leaves for the next.
    struct PollSession {
        var tag: String?
        /// The last answer was acted upon; a later one that is the same needs nothing.
        var isSettled = false
        var isAnswered = false
        /// Whether the hub answered the poll before.
        var wasAnswered = false
        /// What an earlier process left of a change of keys is done, or there was nothing.
        var isResumed = false
        /// This poll has tried to change the key already.
        var hasTriedKey = false
        /// The hub wants the key changed. It says so once; where the change fails, its later answers are that nothing is new.
        var asksForKey = false
    }

    private func pollOnce(
        _ client: HubClient, _ poll: ReleasePoll, _ session: inout PollSession, _ pacer: inout PollPacer
    ) async throws -> Double {
        session.wasAnswered = session.isAnswered
        session.isAnswered = false
        try await mendTunnel(client, &session)
        // A window that has opened since is no news of the hub's: it would answer that nothing has changed.
        let isDue = await poll.isDue
        let wait = environment.settings.longPoll
        let answer = try await client.poll(
            try end(), tag: session.isSettled && !isDue ? session.tag : nil, wait: wait,
            isUpdating: await environment.isUpdating())
        session.isAnswered = true
        try answered(interval: answer.schedule.interval)
        var trouble: (any Error)?
        if case .state(let state, let tag, _, _) = answer {
            session.isSettled = false
            session.asksForKey = state.rotateKey
            do {
                try await act(on: state, client, poll)
                (session.tag, session.isSettled) = (tag, true)
            } catch {
                trouble = error
            }
        } else {
            await lookAtAudit(client)
        }
        // A key is changed whatever becomes of releases.
        if !session.hasTriedKey, await changeKeyIfDue(client, asked: session.asksForKey) { session.asksForKey = false }
        if let trouble { throw trouble }
        let next = pacer.waitAfterAnswer(
            nextPoll: answer.schedule.next, interval: answer.schedule.interval, using: &generator)
        // A hub whose hot set is full answers at once: then this device keeps to its slot like any other.
        if wait == 0 { return next }
        if case .unchanged(_, _, isHeld: false) = answer { return next }
        return pacer.waitAfterHeld(using: &generator)
    }

    private func answered(interval: Double) throws {
        let now = environment.clock.now()
        condition.lastPoll = now
        try update { standing in
            standing.interval = interval
            if now - standing.timeFloor >= Self.floorSeconds { standing.timeFloor = now }
        }
    }

    private func act(on state: DeviceStateAnswer, _ client: HubClient, _ poll: ReleasePoll) async throws {
        let standing = try enrolled()
        guard state.device == standing.device else {
            throw HubLinkError(.badAnswer, "the hub answers for device \(state.device), this is \(standing.device)")
        }
        try await enroller.settle(standing, state, client, try end())
        // The permanent tunnel carried all that a token was needed for.
        try finishToken()
        try await environment.journal.relabel(state.labels)
        await look(key: state.auditKey, size: state.auditSize, client)
        try await follow(state.descriptor, client)
        // A hub that has nothing published, or whose director has said nothing yet, has nothing for this device.
        let hasDirector = try await environment.journal.trustState()?.director != nil
        guard state.release.timestamp > 0, !hasDirector || state.director.timestamp > 0 else { return }
        let ticket = try await ticket(client)
        try await poll.take(ticket: ticket) { [self] in try await end() }
    }

    private func finishToken() throws {
        // Not read: power may have gone when it was overwritten and not yet removed.
        guard try files.hasToken() else { return }
        try files.wipe(environment.settings.tokenFile)
        try files.wipeToken()
    }

    /// A log that is not what it was is evidence, and no reason to leave a device without its releases: those are
    /// signed by others.
    private func look(key: String, size: Int64?, _ client: HubClient) async {
        condition.lastAudit = environment.clock.now()
        do {
            var standing = try enrolled()
            try await witness.look(&standing, key: key, size: size, client, try end())
            let (kept, note) = (standing.auditKey, standing.checkpoint)
            try update {
                $0.auditKey = kept
                $0.checkpoint = note
            }
            condition.witnessTrouble = nil
        } catch {
            let error = Self.coded(error)
            if (error as? HubLinkError)?.reason == .inconsistentLog {
                if condition.witnessTrouble?.message != error.message {
                    try? await environment.journal.record(
                        app: "", code: "hub.inconsistent-log", message: error.message)
                }
                condition.witnessTrouble = error
            }
            environment.logger.error("audit log", metadata: ["code": "\(error.code)", "why": "\(error.message)"])
        }
    }

    /// A device that nothing changes for still looks at the log now and then: a witness that never looks is none.
    private func lookAtAudit(_ client: HubClient) async {
        let now = environment.clock.now()
        guard let standing = try? enrolled(), !standing.auditKey.isEmpty,
            now - (condition.lastAudit ?? Timestamp(seconds: 0)) >= Self.auditSeconds
        else { return }
        await look(key: standing.auditKey, size: nil, client)
    }

    /// The proof of freshness, where the clock proves nothing.
    private func ticket(_ client: HubClient) async throws -> [UInt8]? {
        guard !environment.clockReading().isTrusted, try await environment.journal.trustState() != nil else {
            return nil
        }
        // One that a technician is on the way with stays good.
        let nonce = try await environment.journal.nonce(anew: false)
        let answer = try await client.poll(
            try end(), tag: nil, nonce: nonce, isUpdating: await environment.isUpdating())
        guard case .state(let state, _, _, _) = answer else { return nil }
        return state.freshnessTicket
    }

    // MARK: Tunnel

    /// The slot in use, up; after a start also what a change of keys left unfinished.
    private func mendTunnel(_ client: HubClient, _ session: inout PollSession) async throws {
        let standing = try enrolled()
        session.hasTriedKey = false
        if !session.isResumed, standing.rotation.phase != .steady, !isHeldBack(standing.rotation) {
            condition.rotationTriedAt = environment.clock.now()
            session.hasTriedKey = true
            do {
                try await changer(client).rotation(standing.rotation).resume()
                condition.rotationTrouble = nil
                session.isResumed = true
                return
            } catch {
                // No reason to be without the hub while the tunnel in use works. Where it does not, the next poll begins
                // here again: maybe the hub has let that tunnel go, and the new one is to be found.
                try Task.checkCancellation()
                condition.rotationTrouble = Self.coded(error)
                environment.logger.warning("WireGuard key not changed", metadata: ["why": "\(error)"])
            }
        }
        let isLost = condition.failures > 0 && !session.wasAnswered
        let present = try enrolled()
        try await keeper.bringUp(present.rotation.active, of: present, isLost: isLost)
        if present.rotation.phase == .steady { session.isResumed = true }
    }

    /// A change that was refused or given up is not tried at each poll.
    private func isHeldBack(_ rotation: RotationState) -> Bool {
        guard let trouble = condition.rotationTrouble, let tried = condition.rotationTriedAt,
            (0..<Self.rotationRetry).contains(environment.clock.now() - tried)
        else { return false }
        // What a hub refuses it refuses for a while; that it is busy passes.
        let isRefused = (trouble as? HubLinkError).map { $0.reason == .refused || $0.problem == "too-soon" } ?? false
        return isRefused || rotation.phase == .steady
    }

    private func watchLoop() async {
        while !Task.isCancelled {
            do { try await environment.clock.sleep(.seconds(Self.watchSeconds)) } catch { return }
            guard let standing = try? enrolled(), let name = try? environment.settings.name(standing.rotation.active)
            else { continue }
            let found = try? await environment.links.condition(name)
            if found?.isUp != true {
                environment.logger.warning("tunnel is down; made again", metadata: ["interface": "\(name)"])
                do { try await keeper.bringUp(standing.rotation.active, of: standing) } catch { note(error) }
            }
        }
    }

    private func changer(_ client: HubClient) -> KeyChanger {
        KeyChanger(
            environment: environment, keeper: keeper, client: client, read: { [self] in try await enrolled() },
            change: { [self] change in try await update(change) })
    }

    /// Answers whether the key was changed.
    private func changeKeyIfDue(_ client: HubClient, asked: Bool) async -> Bool {
        guard let standing = try? enrolled() else { return false }
        let days = Int64(environment.settings.rotationDays)
        let age = environment.clock.now() - standing.keyedAt
        guard
            asked || standing.isBehindHub || standing.rotation.phase != .steady || (days > 0 && age >= days * 86_400)
        else { return false }
        guard !isHeldBack(standing.rotation) else { return false }
        condition.rotationTriedAt = environment.clock.now()
        do {
            try await changer(client).rotation(standing.rotation).rotate()
            condition.rotationTrouble = nil
            environment.logger.notice("WireGuard key changed")
            try? await environment.journal.record(app: "", code: "hub.key-changed", message: "WireGuard key changed")
            return true
        } catch {
            if Task.isCancelled { return false }
            condition.rotationTrouble = Self.coded(error)
            environment.logger.warning("WireGuard key not changed", metadata: ["why": "\(error)"])
            return false
        }
    }

    /// Takes over a newer descriptor of the hub, signed by the hub's director. To a new key the device goes over by its
    /// other slot (``changeKeyIfDue(_:asked:)``): the present tunnel stays until that one is proven.
    private func follow(_ sequence: Int64, _ client: HubClient) async throws {
        let standing = try enrolled()
        guard sequence > (standing.descriptor?.sequence ?? 0) else { return }
        let envelope = try await client.descriptor(try end())
        let descriptor = try await DescriptorTrust(journal: environment.journal).accept(envelope, standing)
        try update { standing in
            standing.descriptor = descriptor
            // The same key at another address is the same end.
            if !standing.isBehindHub { standing.activeEnd = standing.newestEnd }
        }
        condition.rotationTrouble = nil
        environment.logger.notice("the hub's ends changed", metadata: ["sequence": "\(descriptor.sequence)"])
        try await keeper.bringUp(standing.rotation.active, of: try enrolled())
    }

    // MARK: Reports

    private func reportLoop(_ reporter: Reporter) async {
        let backoff = Backoff(base: .seconds(Self.reportSeconds), ceiling: .seconds(300))
        var attempt = 0
        var isBegun = false
        while !Task.isCancelled {
            var wait = Duration.seconds(Self.reportSeconds)
            do {
                let standing = try enrolled()
                if !isBegun {
                    try await reporter.begin(standing.reportEpoch)
                    isBegun = true
                }
                var more = try await reporter.gather()
                // Nothing goes out before the first answer of the hub, which says that the tunnel stands.
                if condition.lastPoll == nil { more = false }
                while more, !Task.isCancelled { more = try await reporter.send(standing.device, try end()) }
                attempt = 0
                condition.reportTrouble = nil
            } catch {
                if Task.isCancelled { return }
                attempt += 1
                condition.reportTrouble = Self.coded(error)
                wait = backoff.delay(attempt: attempt, using: &generator)
                if let asked = (error as? HubLinkError)?.retryAfter { wait = max(wait, .seconds(min(asked, 3_600))) }
            }
            do { try await environment.clock.sleep(wait) } catch { return }
        }
    }

    // MARK: Trouble

    func note(_ error: any Error) {
        let error = Self.coded(error)
        if condition.lastError?.message != error.message {
            environment.logger.warning("hub", metadata: ["code": "\(error.code)", "why": "\(error.message)"])
        }
        condition.lastError = error
        condition.lastErrorAt = environment.clock.now()
    }

    static func coded(_ error: any Error) -> any CodedError {
        (error as? any CodedError) ?? HubLinkError(.unreachable, String(describing: error))
    }
}
