import Base
import Glibc
import Logging
import Model
import Trust

/// What the local API does: reads the journal and the reconciler, and passes a person's orders on.
public struct AgentService: Sendable {
    /// Most journal rows of one kind in one answer.
    static let rowLimit = 2_000
    /// Most log lines sent from the past.
    static let logTailLimit = 100_000
    /// Bytes of a freshness ticket.
    public static let ticketLimit = 64 << 10

    public typealias SourceOpener = @Sendable (_ path: String) throws -> ImportSource

    let journal: Journal
    let reconciler: Reconciler
    let importer: Importer
    let scrubber: Scrubber?
    let engine: any ContainerEngine
    let config: AgentConfig
    let condition: JournalCondition
    let openSource: SourceOpener
    let buildTime: Timestamp
    let logger: Logger
    let hub: HubControl?

    public init(
        journal: Journal, reconciler: Reconciler, importer: Importer, engine: any ContainerEngine,
        config: AgentConfig, condition: JournalCondition, openSource: @escaping SourceOpener, buildTime: Timestamp,
        hub: HubControl? = nil, logger: Logger, scrubber: Scrubber? = nil
    ) {
        self.hub = hub
        self.journal = journal
        self.reconciler = reconciler
        self.importer = importer
        self.scrubber = scrubber
        self.engine = engine
        self.config = config
        self.condition = condition
        self.openSource = openSource
        self.buildTime = buildTime
        self.logger = logger
    }

    public func handle(_ request: LocalRequest) async throws -> LocalResponse {
        switch (request.method, request.path) {
        case ("GET", "/v1/status"): return .document(try await status())
        case ("GET", "/v1/why"): return .document(try await why())
        case ("GET", "/v1/releases"): return .document(try await releases())
        case ("GET", "/v1/inventory"): return .document(try await importer.inventory().json)
        case ("GET", "/v1/journal"): return .document(try await journalRows(request))
        case ("GET", "/v1/logs"): return .stream(try await logs(request))
        case ("GET", "/v1/locks"): return .document(try await locks())
        case ("POST", "/v1/locks"):
            try mayChange(request)
            return .document(try await takeLock(request))
        case ("POST", "/v1/locks/release"):
            try mayChange(request)
            return .document(try await releaseLock(request))
        case ("POST", "/v1/locks/override"):
            try mayChange(request)
            return .document(try await overrideLocks(request))
        case ("POST", "/v1/scrub"):
            try mayChange(request)
            return .stream(try startScrub(request))
        case ("POST", "/v1/update-now"):
            try mayChange(request)
            return .document(try await updateNow(request))
        case ("POST", "/v1/import"):
            try mayChange(request)
            return .stream(try startImport(request))
        case ("POST", "/v1/nonce"):
            try mayChange(request)
            return .document(try await makeNonce())
        case ("POST", "/v1/rollback"):
            try mayChange(request)
            try await reconciler.refuseDuringTrial()
            return .document(try await rollBack(request))
        case ("POST", "/v1/provision"):
            try mayChange(request)
            try await reconciler.refuseDuringTrial()
            return .document(try await provision(request))
        default:
            guard request.path.hasPrefix("/v1/hub"), let answer = try await handleHub(request) else {
                throw AgentError(.notFound, "the agent has no \(request.method) \(request.path)")
            }
            return .document(answer)
        }
    }

    private func handleHub(_ request: LocalRequest) async throws -> JSONValue? {
        guard let hub else { return nil }
        switch (request.method, request.path) {
        case ("GET", "/v1/hub"): break
        case ("POST", "/v1/hub/enrol"):
            try mayChange(request)
            let body = try body(request)
            guard let token = body["token"]?.string else {
                throw AgentError(.invalidRequest, "an enrolment needs a token")
            }
            try await hub.enrol(token, body["replace"]?.bool ?? false)
        case ("POST", "/v1/hub/leave"):
            try mayChange(request)
            try await hub.leave()
        case ("POST", "/v1/hub/poll"):
            try mayChange(request)
            try await hub.poll()
        default: return nil
        }
        return await hub.status()
    }

    private func mayChange(_ request: LocalRequest) throws(AgentError) {
        let uid = request.peer.uid
        guard uid == 0 || uid == geteuid() || config.groupMayChange else {
            logger.warning(
                "change refused", metadata: ["uid": "\(uid)", "pid": "\(request.peer.pid)", "path": "\(request.path)"])
            throw AgentError(
                .forbidden, "user \(uid) may read but not change",
                hint: "run as root, or set socket.groupMayChange in the agent's configuration")
        }
    }

    func body(_ request: LocalRequest) throws(AgentError) -> JSONValue {
        if request.body.isEmpty { return [:] }
        do throws(JSONError) {
            return try JSONValue(parsing: request.body, limits: JSONLimits(size: LocalRequest.bodyLimit, depth: 8))
        } catch {
            throw AgentError(.invalidRequest, "the request body cannot be read: \(error.message)")
        }
    }

    // MARK: Orders

    private func startImport(_ request: LocalRequest) throws -> PullSequence<JSONValue> {
        let body = try body(request)
        guard let path = body["path"]?.string, path.hasPrefix("/") else {
            throw AgentError(.invalidRequest, "an import needs an absolute path")
        }
        let version = try body["version"]?.string.map { text throws(AgentError) in
            guard let version = SemanticVersion(text) else {
                throw AgentError(.invalidRequest, "\(text) is not a version")
            }
            return version
        }
        let candidate = Candidate(app: body["app"]?.string, version: version)
        let retry = body["retry"]?.bool ?? false
        var source = try openSource(path)
        source.trust.ticket = try body["ticket"].map { value throws(AgentError) in
            guard let text = value.string, text.utf8.count <= Self.ticketLimit else {
                throw AgentError(.invalidRequest, "a ticket is a text of at most \(Self.ticketLimit) bytes")
            }
            return Array(text.utf8)
        }
        let opened = source
        let (stream, events) = AsyncThrowingStream<JSONValue, any Error>.makeStream(
            bufferingPolicy: .bufferingNewest(64))
        let importer = importer
        // The import goes on when the one who asked for it goes away: a technician may pull the terminal, not the stick.
        Task {
            do {
                try await importer.importRelease(from: opened, candidate: candidate, retry: retry) {
                    events.yield($0.json)
                }
                events.finish()
            } catch {
                events.finish(throwing: error)
            }
        }
        return PullSequence(stream)
    }

    /// What a freshness ticket has to answer.
    private func makeNonce() async throws -> JSONValue {
        guard let device = try await journal.device() else { throw AgentError.notProvisioned() }
        return ["device": .string(device.id), "nonce": .string(Hex.encode(try await journal.nonce(anew: true)))]
    }

    private func rollBack(_ request: LocalRequest) async throws -> JSONValue {
        let app = try await self.app(named: try body(request)["app"]?.string)
        let target = try await reconciler.withReserve { [journal] in try await journal.rollBack(app) }
        logger.notice("rollback asked for", metadata: ["app": "\(app)", "uid": "\(request.peer.uid)"])
        await reconciler.wake()
        return [
            "app": .string(app), "target": .string(target.release.version.description),
            "digest": .string(target.digest.description),
        ]
    }

    /// The named app, or the only one.
    func app(named name: String?) async throws -> String {
        let apps = try await journal.desired().map(\.app)
        if let name {
            guard apps.contains(name) else { throw AgentError(.unknownApp, "no app \(name) on this device") }
            return name
        }
        guard apps.count <= 1 else {
            throw AgentError(
                .ambiguous, "several apps run here: \(apps.joined(separator: ", "))", hint: "name one with --app")
        }
        guard let only = apps.first else { throw AgentError(.unknownApp, "no app on this device yet") }
        return only
    }

    private func provision(_ request: LocalRequest) async throws -> JSONValue {
        let body = try body(request)
        guard let root = body["root"]?.string else { throw AgentError(.invalidRequest, "provisioning needs a root") }
        let director = body["directorRoot"]?.string
        let expected = try body["rootSHA256"]?.string.map { text throws(AgentError) in
            guard let digest = Digest(hex: text) ?? Digest(text) else {
                throw AgentError(.invalidRequest, "\(text) is not a SHA-256")
            }
            return digest
        }
        guard let id = body["deviceID"]?.string, !id.isEmpty, id.utf8.count <= 128 else {
            throw AgentError(.invalidRequest, "provisioning needs a device id of 1 to 128 bytes")
        }
        var labels: [String: String] = [:]
        for (key, value) in body["labels"]?.object ?? [:] {
            guard let text = value.string, !key.isEmpty, key.utf8.count <= 128, text.utf8.count <= 256,
                labels.count < 64
            else {
                throw AgentError(.invalidRequest, "label \(key) is not a short text, or there are too many labels")
            }
            labels[key] = text
        }
        let state = try TrustState.provision(
            releaseRoot: Array(root.utf8), directorRoot: director.map { Array($0.utf8) }, expected: expected,
            buildTime: buildTime)
        let device = DeviceRecord(id: id, labels: labels, requiresDirector: director != nil)
        try await journal.provision(device, trust: state, replace: body["replace"]?.bool ?? false)
        logger.notice("provisioned", metadata: ["device": "\(id)"])
        return [
            "deviceID": .string(id), "labels": .object(labels.mapValues { .string($0) }),
            "rootSHA256": .string(Digest.sha256(Array(root.utf8)).hex), "director": .bool(director != nil),
        ]
    }

    private func logs(_ request: LocalRequest) async throws -> PullSequence<JSONValue> {
        guard let service = request.query["service"] else { throw AgentError(.invalidRequest, "which service?") }
        let app = request.query["app"]
        let tail = request.query["tail"].flatMap { Int($0) }.map { min(max(0, $0), Self.logTailLimit) }
        let found = try await engine.containers().filter { $0.service == service && (app == nil || $0.app == app) }
        // The running one, else the one that ran last.
        guard
            let container = found.max(by: {
                ($0.state == .running ? 1 : 0, $0.startedAt) < ($1.state == .running ? 1 : 0, $1.startedAt)
            })
        else {
            throw AgentError(
                .unknownService, "no container of service \(service)", hint: "holdfast-agent status lists the services")
        }
        let chunks = try await engine.logs(container.id, tail: tail, follow: request.query["follow"] == "1")
        return PullSequence {
            let next = chunks.pull()
            return {
                guard let chunk = try await next() else { return nil }
                return [
                    "stream": .string(chunk.stream.rawValue),
                    "text": .string(String(decoding: chunk.bytes, as: UTF8.self)),
                ]
            }
        }
    }
}

extension PullSequence {
    /// Pulls a stream that has one reader.
    init(_ stream: AsyncThrowingStream<Element, any Error>) {
        let box = StreamBox(stream)
        self.init { { try await box.next() } }
    }
}

/// Hands an iterator from pull to pull; there is one reader, which waits for each.
private actor StreamBox<Element: Sendable> {
    private let stream: AsyncThrowingStream<Element, any Error>
    init(_ stream: AsyncThrowingStream<Element, any Error>) { self.stream = stream }

    func next() async throws -> Element? {
        // An iterator of this stream has no state of its own: a new one goes on where the last stopped.
        var iterator = stream.makeAsyncIterator()
        return try await iterator.next(isolation: self)
    }
}
