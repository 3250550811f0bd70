import AgentCore
import AgentHub
import AgentTestSupport
import Archive
import Base
import HubAudit
import HubCore
import HubEnrolment
import HubProtocol
import HubReports
import HubStore
import HubTokens
import Model
import OCI
import Synchronization
import TestSupport
import TransparencyLog
import Trust
import WireGuard

/// Interfaces that are only remembered: what a device has brought up, and so what a hub hears it by.
final class RememberedLinks: Sendable {
    private let plans = Mutex<[InterfaceName: TunnelPlan]>([:])
    private let broken = Mutex<String?>(nil)

    func plan(_ name: InterfaceName) -> TunnelPlan? { plans.withLock { $0[name] } }
    var names: [String] { plans.withLock { $0.keys.map(\.text).sorted() } }
    /// No interface of this name can be made.
    func refuse(_ name: String?) { broken.withLock { $0 = name } }
    /// A reboot.
    func drop() { plans.withLock { $0 = [:] } }

    var links: TunnelLinks {
        TunnelLinks(
            bringUp: { plan in
                guard self.broken.withLock({ $0 }) != plan.interface.text else {
                    throw HubLinkError(.unreachable, "no name server answers")
                }
                self.plans.withLock { $0[plan.interface] = plan }
            },
            takeDown: { name in self.plans.withLock { $0[name] = nil } },
            condition: { name in
                self.plan(name).map {
                    TunnelCondition(
                        interface: $0.interface.text, isUp: true, isKernel: false, lastHandshake: nil,
                        receivedBytes: 0, sentBytes: 0, endpoint: nil)
                }
            })
    }
}

/// The hub's rules and stores without its server: what a device asks is answered in this process, by the tunnel
/// that the device brought up. A test cuts, loses and changes what passes.
actor ScriptedHub {
    struct Cut: Error {}
    /// What happens to the next answers.
    enum Weather: Sendable {
        case fair
        /// Nothing arrives.
        case away
        /// Requests arrive and their answers do not, but for access tokens, without which nothing more would arrive.
        case answersLost
    }

    let key: SecretKey
    let network: TunnelNetwork
    /// The hub's own process: all that a restart makes anew from the same files.
    private struct Parts {
        let store: SQLiteMetadataStore
        let enrolment: EnrolmentService
        let reports: ReportReceiver
        let audit: AuditLog
    }
    private var refusesKeys = false
    private let open: @Sendable () throws -> Parts
    private var parts: Parts
    var store: SQLiteMetadataStore { parts.store }
    var enrolment: EnrolmentService { parts.enrolment }
    var reports: ReportReceiver { parts.reports }
    var audit: AuditLog { parts.audit }
    let tokens: AccessTokens
    let signer: Ed25519Signer
    let directorSigners: [any Signer]
    let director: Trust.Repository
    let lab: Lab
    let links: RememberedLinks
    private let clock: SystemClock

    var weather = Weather.fair
    var asksForKey = false
    private var pollSeconds = "30"
    private var holdsPolls = false
    /// Polls that were held back to their end.
    private(set) var pollsHeld = 0
    private var deafTo: String?
    private var awayFor: String?
    var labelsOverride: [String: String]?
    /// Bytes of blobs after which a download breaks once.
    var breakAfter: Int?
    var auditNote: [UInt8]?
    private(set) var requests: [String] = []
    private(set) var blobBytes = 0

    init(
        path: String, lab: Lab, links: RememberedLinks, clock: SystemClock, monitor: DurabilityMonitor = .passthrough
    ) throws {
        let key = try SecretKey.generatePrivate()
        guard let network = TunnelNetwork(bytes: [0xFD, 1, 2, 3, 4, 5]) else { throw Cut() }
        self.key = key
        self.network = network
        let keys = try (11...14).map { try Ed25519Signer(seed: [UInt8](repeating: UInt8($0), count: 32)) }
        directorSigners = keys
        signer = keys[0]
        director = try Trust.Repository.initialize(
            path: Path.join(path, "director"), name: .director,
            plan: .lab(
                root: keys[0].publicKey, targets: keys[1].publicKey, snapshot: keys[2].publicKey,
                timestamp: keys[3].publicKey), signers: keys, clock: clock)
        let identity = HubIdentity(
            publicKey: try key.derivePublicKey(), host: "192.0.2.1", port: 51820,
            rootDigest: Digest.sha256(try lab.repository.rootBytes()), network: network)
        let sealing = Sealing(key: try SecretKey.generatePreshared())
        let signer = keys[0]
        let open: @Sendable () throws -> Parts = {
            let store = try SQLiteMetadataStore(path: Path.join(path, "hub.db"), monitor: monitor)
            return Parts(
                store: store,
                enrolment: EnrolmentService(
                    store: store, hubKey: key, identity: identity, sealing: sealing, clock: clock),
                reports: ReportReceiver(store: store, clock: clock),
                audit: try AuditLog(store: store, origin: "hub.test/audit", signer: signer))
        }
        self.open = open
        parts = try open()
        tokens = AccessTokens(issuer: "hub", audience: "device", keys: [keys[0].publicKey])
        self.lab = lab
        self.links = links
        self.clock = clock
    }

    nonisolated var transport: HubTransport {
        HubTransport(
            send: { request, path in try await self.answer(request, path) },
            stream: { request, path, consume in
                let answer = try await self.answer(request, path)
                let limit = await self.takeBreak()
                let pieces = Pieces(answer.body, limit: limit)
                try await consume(answer) {
                    guard let piece = try pieces.next() else { return nil }
                    await self.count(piece.count)
                    return piece
                }
            })
    }

    private final class Pieces: Sendable {
        private let rest: Mutex<ArraySlice<UInt8>>
        private let isCut: Bool
        init(_ bytes: [UInt8], limit: Int?) {
            isCut = limit.map { $0 < bytes.count } ?? false
            rest = Mutex(bytes.prefix(limit ?? bytes.count))
        }
        func next() throws -> [UInt8]? {
            try rest.withLock { rest in
                let piece = Array(rest.prefix(1_000))
                rest = rest.dropFirst(1_000)
                if piece.isEmpty, isCut { throw HubLinkError(.unreachable, "the connection broke") }
                return piece.isEmpty ? nil : piece
            }
        }
    }

    private func takeBreak() -> Int? {
        defer { breakAfter = nil }
        return breakAfter
    }
    private func count(_ bytes: Int) { blobBytes += bytes }

    // MARK: Orders

    /// Ends the hub's process and starts it again on the same files.
    func restart(_ meanwhile: @Sendable () -> Void = {}) throws {
        meanwhile()
        parts = try open()
    }
    func set(_ weather: Weather) { self.weather = weather }
    /// Gives slots so far away, and holds polls back or not.
    func pace(_ seconds: Int, holdsPolls: Bool) {
        pollSeconds = String(seconds)
        self.holdsPolls = holdsPolls
    }
    func askForKey(_ asks: Bool) { asksForKey = asks }
    /// Answers nothing that is asked by a path with this end.
    func goAway(before end: String?) { awayFor = end }
    /// Hears nothing that comes by this interface.
    func turnDeaf(to interface: String?) { deafTo = interface }
    /// Takes no other key of a device.
    func refuseKeys(_ refuses: Bool) { refusesKeys = refuses }
    func breakNextDownload(after bytes: Int) { breakAfter = bytes }
    func clearRequests() { requests = [] }
    func lie(with note: [UInt8]?) { auditNote = note }
    func relabel(_ labels: [String: String]?) { labelsOverride = labels }

    func token(_ options: TokenOptions = TokenOptions(), by actor: String = "operator:test") async throws -> String {
        var options = options
        // An hour of the quick clock is soon over, and a busy machine may begin late.
        options.lifetime = 7 * 86_400
        return try await enrolment.makeToken(options, by: actor).text
    }

    func devices() async throws -> [Device] {
        try await store.list(.device, selector: .everything, after: nil, limit: 100).records.map {
            try Device(decoding: $0.body)
        }
    }

    /// How many public keys are bound.
    func bindings() async throws -> Int {
        try await store.list(.binding, selector: .everything, after: nil, limit: 100).records.count
    }

    /// Lists a release for one device.
    func assign(_ release: Release, to device: String) throws {
        let bytes = try release.encoded()
        try director.add(
            ReleaseTarget(
                app: release.app, version: release.version, ctr: release.ctr, epoch: release.epoch,
                selector: ["device": device], digest: Digest.sha256(bytes), length: Int64(bytes.count)),
            document: bytes, signers: directorSigners)
        _ = lab.blobs.put(bytes)
    }

    func envelopes(of device: String) async throws -> [ReportEnvelope] {
        guard let record = try await devices().first(where: { $0.id.text == device }), let key = record.reportKey else {
            return []
        }
        return try await store.segments(after: 0, limit: 1_000).map(\.segment).filter { $0.device == record.id }.map {
            try ReportEnvelope(verifying: $0.body, by: key)
        }
    }

    // MARK: Answering

    private func answer(_ request: HubRequest, _ path: TunnelPath) async throws -> HubAnswer {
        let away = HubLinkError(.unreachable, "no answer")
        if case .away = weather { throw away }
        if path.interface.text == deafTo { throw away }
        if let awayFor, request.route.path.hasSuffix(awayFor) { throw away }
        // Cryptokey routing: what does not come by a peer's key from that peer's address is not heard.
        guard let plan = links.plan(path.interface), plan.address == path.source,
            plan.hubKey == (try key.derivePublicKey())
        else { throw away }
        let own = try plan.privateKey.derivePublicKey()
        guard let peer = try await enrolment.peers().first(where: { $0.publicKey == own }),
            peer.address == path.source, peer.presharedKey == plan.presharedKey
        else { throw away }
        requests.append("\(request.method.rawValue) \(request.route.path)")
        let answer = try await handle(request, peer)
        if case .answersLost = weather, request.route != .token { throw away }
        guard answer.body.count <= request.answerLimit || request.answerLimit == 0 else {
            throw HubLinkError(.badAnswer, "too long")
        }
        return answer
    }

    private func handle(_ request: HubRequest, _ peer: TunnelPeer) async throws -> HubAnswer {
        if request.route == .enrol { return try await enrol(request, peer) }
        guard let device = try await devices().first(where: { $0.keys.values.contains { $0.key == peer.publicKey } })
        else { return problem("unknown-device", 403) }
        if request.route == .token { return try await token(request, device, peer) }
        guard let bearer = request.headers.first(where: { $0.name == "Authorization" })?.value.dropFirst(7),
            (try? tokens.verify(
                String(bearer),
                .init(
                    now: clock.now(), scope: .state, tunnelKey: peer.publicKey, device: device.id,
                    generation: device.credentialGeneration))) != nil
        else { return problem("unauthorized", 401) }
        switch request.route {
        case .state: return try await state(request, device)
        case .metadata(let repository, let file):
            let folder = repository == .release ? lab.repository.metadataDirectory : director.metadataDirectory
            guard let bytes = try? FileSystem().read(Path.join(folder, file), limit: 1 << 20) else {
                return problem("not-found", 404)
            }
            return HubAnswer(status: 200, body: bytes)
        case .blob(let digest): return try blob(request, digest)
        case .reports:
            let answer = try await reports.receive(try ReportBatch.envelopes(in: request.body), from: device)
            return HubAnswer(status: 200, body: answer.bytes)
        case .keys where refusesKeys: return problem("too-soon", 429)
        case .keys: return try await changeKey(request, device)
        case .checkpoint: return HubAnswer(status: 200, body: try await note())
        case .consistency(let from, let to):
            let proof = auditNote == nil ? try await audit.consistencyProof(from: from, to: to) : []
            return HubAnswer(status: 200, body: ConsistencyAnswer(from: from, to: to, proof: proof).bytes)
        default: return problem("not-found", 404)
        }
    }

    private func problem(_ name: String, _ status: Int) -> HubAnswer {
        HubAnswer(status: status, body: Problem(name, status: status, title: name).bytes)
    }

    private func enrol(_ request: HubRequest, _ peer: TunnelPeer) async throws -> HubAnswer {
        var through: EnrolmentTokenID?
        for record in try await store.list(.token, selector: .everything, after: nil, limit: 100).records {
            let token = try TokenRecord(decoding: record.body)
            if token.publicKey.key == peer.publicKey { through = token.id }
        }
        guard let through else { return problem("unknown-token", 403) }
        do {
            return HubAnswer(status: 200, body: try await enrolment.redeem(request.body, through: through).bytes)
        } catch let error as EnrolmentRefused {
            return problem(error.refusal.rawValue, 403)
        }
    }

    private func token(_ request: HubRequest, _ found: Device, _ peer: TunnelPeer) async throws -> HubAnswer {
        guard let key = found.reportKey else { return problem("unknown-device", 403) }
        let asked = try DeviceTokenRequest(verifying: request.body, by: key)
        guard asked.device == found.id.text, asked.hubKey == (try self.key.derivePublicKey()),
            let slot = found.keys.first(where: { $0.value.key == peer.publicKey })?.key
        else { return problem("unauthorized", 401) }
        let device = try await enrolment.change(found.id) { device, now in
            DeviceRules.completeRotation(device, heardAt: slot, now: now)
        }
        let now = clock.now()
        let text = try tokens.issue(
            AccessClaims(
                device: device.id, scopes: Set(AccessClaims.Scope.allCases),
                generation: device.credentialGeneration, tunnelKey: peer.publicKey, issued: now, expires: now + 600),
            signer: signer)
        return HubAnswer(status: 200, body: DeviceTokenAnswer(accessToken: text, expiresIn: 600).bytes)
    }

    private func changeKey(_ request: HubRequest, _ device: Device) async throws -> HubAnswer {
        guard let key = device.reportKey else { return problem("unknown-device", 403) }
        let asked = try KeyChangeRequest(verifying: request.body, by: key, hubKey: self.key)
        let staged = try await enrolment.stageKey(asked.wireGuardKey, for: device.id)
        guard let address = network.device(site: staged.site, index: staged.index, slot: staged.slot.other) else {
            return problem("no-address", 500)
        }
        return HubAnswer(status: 200, body: KeyChangeAnswer(address: address, hub: network.hub).bytes)
    }

    private func state(_ request: HubRequest, _ device: Device) async throws -> HubAnswer {
        let wait = request.headers.first { $0.name == DeviceHeader.prefer }?.value.dropFirst(5)
        for _ in 0..<(holdsPolls ? Int(wait ?? "0") ?? 0 : 0) {
            let answer = try await stateNow(request, device)
            guard answer.status == 304 else { return answer }
            try await clock.sleep(.seconds(1))
        }
        var answer = try await stateNow(request, device)
        if holdsPolls, let wait, answer.status == 304 {
            pollsHeld += 1
            answer.headers[DeviceHeader.preferenceApplied.lowercased()] = "wait=\(wait)"
        }
        return answer
    }

    private func stateNow(_ request: HubRequest, _ device: Device) async throws -> HubAnswer {
        let note = try await self.note()
        let checkpoint = try? await audit.latest()
        let labels = labelsOverride ?? device.labels.values
        func versions(_ repository: Trust.Repository) throws -> DeviceStateAnswer.Versions {
            let bytes = try FileSystem().read(
                Path.join(repository.metadataDirectory, "timestamp.json"), limit: 1 << 20)
            let version = try JSONValue(parsing: bytes)["signed"]?["version"]?.integer ?? 0
            return .init(root: 1, timestamp: version)
        }
        let answer = DeviceStateAnswer(
            device: device.id.text, labels: labels, release: try versions(lab.repository),
            director: try versions(director), rotateKey: asksForKey, auditKey: audit.key.text,
            auditSize: checkpoint?.checkpoint.size ?? 0)
        _ = note
        var plain = answer
        plain.auditSize = 0
        let tag = "\"\(Digest.sha256(plain.bytes).hex)\""
        let headers = [
            DeviceHeader.nextPoll.lowercased(): pollSeconds, DeviceHeader.pollInterval.lowercased(): pollSeconds,
            "etag": tag,
        ]
        if request.headers.contains(where: { $0.name == "If-None-Match" && $0.value == tag }) {
            return HubAnswer(status: 304, headers: headers)
        }
        return HubAnswer(status: 200, headers: headers, body: answer.bytes)
    }

    private func note() async throws -> [UInt8] {
        let note = try await audit.advance()
        return auditNote ?? note
    }

    private func blob(_ request: HubRequest, _ digest: Digest) throws -> HubAnswer {
        guard let size = try lab.blobs.blobSize(digest) else { return problem("not-found", 404) }
        if request.method == .head { return HubAnswer(status: 200, headers: ["content-length": "\(size)"]) }
        var offset: Int64 = 0
        if let range = request.headers.first(where: { $0.name == "Range" })?.value {
            offset = Int64(range.dropFirst("bytes=".count).dropLast()) ?? 0
        }
        let bytes = try lab.blobs.openBlob(digest, from: offset).read(count: Int(size - offset))
        return HubAnswer(status: offset > 0 ? 206 : 200, body: bytes)
    }
}
