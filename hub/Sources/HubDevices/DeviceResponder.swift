import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import Trust
import WireGuard

/// Answers the device API. What an idle fleet asks for comes from memory, on the event loop it was asked on.
public struct DeviceResponder: HTTPResponder {
    let directory: DeviceDirectory
    let versions: HubVersions
    let metadata: MetadataFiles
    let blobs: any HubBlobStore
    let service: DeviceService
    let schedule: PollSchedule
    let pacing: Pacing
    let logger: Logger
    private let bearer: BearerCheck
    private let admission: NIOLockedValueBox<AdmissionControl>
    private let clock: SystemClock
    private let descriptor: @Sendable () -> [UInt8]?

    /// Bytes a second that blobs may take, of one device and of one site; 0 for no bound.
    public struct Pacing: Sendable {
        let device: BandwidthLimiter<DeviceID>
        let site: BandwidthLimiter<UInt16>

        public init(deviceRate: Double, siteRate: Double) {
            device = BandwidthLimiter(rate: deviceRate)
            site = BandwidthLimiter(rate: siteRate)
        }

        var isOff: Bool { !device.isOn && !site.isOn }
    }

    public init(
        directory: DeviceDirectory, versions: HubVersions, metadata: MetadataFiles, blobs: any HubBlobStore,
        service: DeviceService, schedule: PollSchedule, admission: AdmissionControl.Limits, pacing: Pacing,
        descriptor: @escaping @Sendable () -> [UInt8]?, clock: SystemClock = .live, logger: Logger
    ) {
        self.directory = directory
        self.versions = versions
        self.metadata = metadata
        self.blobs = blobs
        self.service = service
        self.schedule = schedule
        self.pacing = pacing
        self.descriptor = descriptor
        self.clock = clock
        self.logger = logger
        bearer = BearerCheck(tokens: service.tokens, clock: clock)
        self.admission = NIOLockedValueBox(AdmissionControl(admission))
    }

    private var seconds: Double { Double(clock.monotonic()) / 1e9 }

    // MARK: Taking requests

    public func accept(_ request: HTTPRequest) -> HTTPAcceptance {
        func refuse(_ problem: Problem) -> HTTPAcceptance { .answer(HTTPAnswer(problem)) }
        guard let peer = directory.peer(at: request.peer) else {
            return refuse(
                Problem(
                    "unknown-peer", status: 403, title: "No device has this address", instance: request.id,
                    hint: "enrol the device"))
        }
        guard let route = DeviceRoute(path: request.target) else {
            return refuse(Problem("no-such-route", status: 404, title: "There is no such route", instance: request.id))
        }
        guard route.methods.contains(where: { $0.rawValue == request.method.rawValue }) else {
            var answer = HTTPAnswer(
                Problem("method", status: 405, title: "The route has other methods", instance: request.id))
            answer.headers.add(name: "Allow", value: route.methods.map(\.rawValue).joined(separator: ", "))
            return .answer(answer)
        }
        switch peer {
        case .token(let token): return acceptStranger(request, route, token)
        case .device(let row, let slot): return acceptDevice(request, route, row, slot)
        }
    }

    /// A token's temporary peer reaches one route.
    private func acceptStranger(
        _ request: HTTPRequest, _ route: DeviceRoute, _ token: EnrolmentTokenID
    ) -> HTTPAcceptance {
        guard route == .enrol else {
            return .answer(
                HTTPAnswer(
                    Problem(
                        "enrol-first", status: 403, title: "This address may only enrol", instance: request.id)))
        }
        let hash = token.bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        if let problem = admit(hash, .enrolment, request) { return .answer(HTTPAnswer(problem)) }
        return work(request, limit: EnrolmentRequest.envelopeLimit) { body in
            let answer = try await service.enrol(body, through: token)
            var answered = HTTPAnswer(type: DeviceHeader.json, answer.bytes)
            if case .waiting(_, let seconds) = answer {
                answered.status = .accepted
                answered.headers.add(name: "Retry-After", value: String(seconds))
            }
            return answered
        }
    }

    private func acceptDevice(
        _ request: HTTPRequest, _ route: DeviceRoute, _ row: DeviceDirectory.Row, _ slot: TunnelNetwork.KeySlot
    ) -> HTTPAcceptance {
        switch route {
        case .enrol:
            return .answer(
                HTTPAnswer(Problem("enrolled", status: 403, title: "The device is enrolled", instance: request.id)))
        case .token:
            if let problem = admit(row.hash, .idle, request) { return .answer(HTTPAnswer(problem)) }
            return work(request, limit: DeviceTokenRequest.envelopeLimit) { body in
                var answer = HTTPAnswer(
                    type: DeviceHeader.json, try await service.issueToken(body, to: row, slot: slot).bytes)
                answer.headers.add(name: "Cache-Control", value: "no-store")
                return answer
            }
        default: break
        }
        do throws(TokenError) {
            guard let token = request.bearer else { throw TokenError(.malformed, "there is none") }
            try bearer.check(token, of: row, slot: slot, scope: Self.scope(of: route))
        } catch {
            logger.info(
                "access token refused",
                metadata: ["id": "\(request.id)", "device": "\(row.id)", "why": "\(error.code)"])
            var answer = HTTPAnswer(DeviceProblem.unauthorised(request.id))
            answer.headers.add(name: "WWW-Authenticate", value: "Bearer")
            return .answer(answer)
        }
        let isUpdating = request.headers.first(name: DeviceHeader.activity) == DeviceHeader.updating
        if let problem = admit(row.hash, isUpdating ? .updating : .idle, request) {
            return .answer(HTTPAnswer(problem))
        }
        return acceptAuthorised(request, route, row, isUpdating)
    }

    private func acceptAuthorised(
        _ request: HTTPRequest, _ route: DeviceRoute, _ row: DeviceDirectory.Row, _ isUpdating: Bool
    ) -> HTTPAcceptance {
        switch route {
        case .state: return state(request, row, isUpdating)
        case .metadata(let repository, let file): return .answer(metadataAnswer(request, repository, file))
        case .blob(let digest): return blob(request, digest, row)
        case .reports:
            return work(request, limit: ReportBatch.sizeLimit) { body in
                // The device may have been revoked while the body came.
                guard let now = directory.row(row.id), now.generation == row.generation else {
                    return HTTPAnswer(DeviceProblem.unauthorised(request.id))
                }
                return HTTPAnswer(type: DeviceHeader.json, try await service.takeReports(body, from: now).bytes)
            }
        case .keys:
            return work(request, limit: KeyChangeRequest.envelopeLimit) { body in
                HTTPAnswer(type: DeviceHeader.json, try await service.stageKey(body, for: row).bytes)
            }
        case .descriptor:
            guard let bytes = descriptor() else { return .answer(notFound(request)) }
            return .answer(HTTPAnswer(type: DeviceHeader.envelope, bytes))
        case .checkpoint:
            return work(request, limit: 0) { _ in
                guard let note = try await service.checkpoint() else { return notFound(request) }
                return HTTPAnswer(type: DeviceHeader.note, note)
            }
        case .consistency(let from, let to):
            return work(request, limit: 0) { _ in
                HTTPAnswer(type: DeviceHeader.json, try await service.consistency(from: from, to: to).bytes)
            }
        case .enrol, .token: return .answer(notFound(request))
        }
    }

    private static func scope(of route: DeviceRoute) -> AccessClaims.Scope {
        switch route {
        case .blob: .blobs
        case .reports: .reports
        default: .state
        }
    }

    private func notFound(_ request: HTTPRequest) -> HTTPAnswer {
        HTTPAnswer(Problem("not-found", status: 404, title: "There is no such thing", instance: request.id))
    }

    /// Nil when the request may go on.
    private func admit(_ hash: UInt64, _ class: AdmissionControl.Class, _ request: HTTPRequest) -> Problem? {
        switch admission.withLockedValue({ $0.judge(device: hash, `class`, now: seconds) }) {
        case .admit: return nil
        case .tooOften(let seconds):
            return Problem(
                "too-often", status: 429, title: "The device asks too often", instance: request.id,
                retryAfter: Int64(seconds.rounded(.up)))
        case .full(let seconds):
            return Problem(
                "busy", status: 503, title: "The hub is busy", instance: request.id,
                retryAfter: Int64(seconds.rounded(.up)))
        }
    }

    private func work(
        _ request: HTTPRequest, limit: Int, _ body: @escaping @Sendable ([UInt8]) async throws -> HTTPAnswer
    ) -> HTTPAcceptance {
        .collect(limit: limit) { bytes in
            do {
                return try await body(bytes)
            } catch {
                let problem = DeviceProblem.of(error, id: request.id)
                if problem.status >= 500 {
                    logger.error("a device's request failed", metadata: ["id": "\(request.id)", "error": "\(error)"])
                } else {
                    logger.info(
                        "a device's request was refused",
                        metadata: ["id": "\(request.id)", "peer": "\(request.peer)", "type": "\(problem.name)"])
                }
                return HTTPAnswer(problem)
            }
        }
    }

    // MARK: State

    private func state(_ request: HTTPRequest, _ row: DeviceDirectory.Row, _ isUpdating: Bool) -> HTTPAcceptance {
        if let text = request.headers.first(name: DeviceHeader.freshnessNonce) {
            guard let nonce = Hex.decode(text), nonce.count == 16 else {
                return .answer(
                    HTTPAnswer(
                        Problem(
                            "malformed", status: 400, title: "A nonce is 32 hex digits", instance: request.id)))
            }
            return work(request, limit: 0) { _ in
                let content = versions.current.content
                return fullState(
                    row,
                    nonce: try service.ticket(
                        for: row.id, nonce: nonce, snapshot: content.releaseSnapshot), isUpdating)
            }
        }
        let tags = request.headers["If-None-Match"]
        let (content, shared, _) = versions.current
        let tag = tag(row, content, shared)
        guard !tags.isEmpty, EntityTags.match(tags, tag) else {
            return .answer(fullState(row, nonce: nil, isUpdating))
        }
        if let wait = Self.wait(request.headers) {
            return .collect(limit: 0) { _ in
                // The versions before the device, as they change after it: nothing comes between unseen.
                let (content, shared, generation) = versions.current
                var isHeld = true
                if let known = directory.row(row.id), EntityTags.match(tags, self.tag(known, content, shared)) {
                    isHeld = await versions.wait(for: .seconds(wait), since: generation)
                }
                // The device may have changed, or gone, meanwhile.
                guard let now = directory.row(row.id), now.generation == row.generation else {
                    return HTTPAnswer(DeviceProblem.unauthorised(request.id))
                }
                let current = versions.current
                let tag = self.tag(now, current.content, current.tag)
                guard EntityTags.match(tags, tag) else { return fullState(now, nonce: nil, isUpdating) }
                var answer = unchanged(now, tag, isUpdating)
                if isHeld { answer.headers.add(name: DeviceHeader.preferenceApplied, value: "wait=\(wait)") }
                return answer
            }
        }
        return .answer(unchanged(row, tag, isUpdating))
    }

    private static func wait(_ headers: HTTPHeaders) -> Int? {
        guard let field = headers.first(name: DeviceHeader.prefer), field.hasPrefix("wait="),
            let seconds = Int(field.dropFirst(5)), seconds > 0
        else { return nil }
        return min(seconds, DeviceHeader.longestWait)
    }

    /// What all share, what is the device's own, and the version of the director's list that it is in.
    private func tag(_ row: DeviceDirectory.Row, _ content: HubVersions.Content, _ shared: String) -> String {
        let list = content.outline?.version(for: row.id.text).map { "-\($0)" } ?? ""
        return "\"\(shared)\(String(row.tag, radix: 16))\(list)\""
    }

    private func unchanged(_ row: DeviceDirectory.Row, _ tag: String, _ isUpdating: Bool) -> HTTPAnswer {
        var answer = HTTPAnswer(.notModified)
        pace(&answer, row, tag, isUpdating)
        return answer
    }

    private func fullState(_ row: DeviceDirectory.Row, nonce ticket: [UInt8]?, _ isUpdating: Bool) -> HTTPAnswer {
        let (content, shared, _) = versions.current
        let state = DeviceStateAnswer(
            device: row.id.text, labels: directory.labels(of: row).values, release: content.release,
            director: content.director, descriptor: content.descriptor, rotateKey: row.rotateKey,
            auditKey: content.auditKey, auditSize: content.auditSize, freshnessTicket: ticket)
        var answer = HTTPAnswer(type: DeviceHeader.json, state.bytes)
        pace(&answer, row, tag(row, content, shared), isUpdating)
        return answer
    }

    private func pace(_ answer: inout HTTPAnswer, _ row: DeviceDirectory.Row, _ tag: String, _ isUpdating: Bool) {
        let next = schedule.nextPoll(hash: row.hash, now: Double(clock.now().seconds), isUpdating: isUpdating)
        answer.headers.add(name: "ETag", value: tag)
        answer.headers.add(name: DeviceHeader.nextPoll, value: Self.decimal(next))
        answer.headers.add(
            name: DeviceHeader.pollInterval,
            value: Self.decimal(isUpdating ? schedule.updatingInterval : schedule.interval))
    }

    /// Seconds with three decimals at most.
    static func decimal(_ seconds: Double) -> String {
        let milliseconds = Int64((seconds * 1_000).rounded())
        guard milliseconds % 1_000 != 0 else { return String(milliseconds / 1_000) }
        let rest = String(milliseconds % 1_000)
        return "\(milliseconds / 1_000).\(String(repeating: "0", count: 3 - rest.count))\(rest)"
    }

    // MARK: Files

    private func metadataAnswer(_ request: HTTPRequest, _ repository: RepositoryName, _ name: String) -> HTTPAnswer {
        guard let file = metadata.file(name, of: repository) else {
            return metadata.bin(name, of: repository).map { binAnswer(request, $0, name) } ?? notFound(request)
        }
        let headers: HTTPHeaders = [
            "ETag": file.tag, "Content-Type": DeviceHeader.json, "Vary": "Accept-Encoding",
            "Cache-Control": file.isImmutable ? "max-age=31536000, immutable" : "no-cache",
        ]
        if EntityTags.match(request.headers["If-None-Match"], file.tag) {
            return HTTPAnswer(.notModified, headers: headers)
        }
        let accepted = request.headers["Accept-Encoding"].joined(separator: ",")
        guard let zstd = file.zstd, accepted.split(separator: ",").contains(where: { $0.trimmed == "zstd" }) else {
            return HTTPAnswer(.ok, headers: headers, body: .bytes(file.bytes))
        }
        var compressed = headers
        compressed.add(name: "Content-Encoding", value: "zstd")
        return HTTPAnswer(.ok, headers: compressed, body: .bytes(zstd))
    }

    /// One of very many files, each for few devices: not held in memory. A numbered name always has the same bytes.
    private func binAnswer(_ request: HTTPRequest, _ file: OpenedFile, _ name: String) -> HTTPAnswer {
        let headers: HTTPHeaders = [
            "ETag": "\"\(name)\"", "Content-Type": DeviceHeader.json, "Cache-Control": "max-age=31536000, immutable",
        ]
        if EntityTags.match(request.headers["If-None-Match"], "\"\(name)\"") {
            return HTTPAnswer(.notModified, headers: headers)
        }
        return HTTPAnswer(.ok, headers: headers, body: .file(file, range: 0..<file.size, pace: nil))
    }

    private func blob(_ request: HTTPRequest, _ digest: Digest, _ row: DeviceDirectory.Row) -> HTTPAcceptance {
        guard let path = blobs.localFile(digest), let file = try? OpenedFile(path: path) else {
            return .answer(notFound(request))
        }
        let tag = "\"\(digest)\""
        var headers: HTTPHeaders = [
            "ETag": tag, "Content-Type": DeviceHeader.blob, "Accept-Ranges": "bytes",
            "Cache-Control": "max-age=31536000, immutable",
        ]
        if EntityTags.match(request.headers["If-None-Match"], tag) {
            return .answer(HTTPAnswer(.notModified, headers: headers))
        }
        // A blob never changes: another tag in If-Range means another blob, and gets the whole.
        let isConditionMet = request.headers.first(name: "If-Range").map { $0 == tag } ?? true
        let range = isConditionMet ? request.headers.first(name: "Range") : nil
        let pace = pacing.isOff ? nil : pace(row)
        switch ByteRange(range, size: file.size) {
        case .whole:
            return .answer(HTTPAnswer(.ok, headers: headers, body: .file(file, range: 0..<file.size, pace: pace)))
        case .part(let part):
            headers.add(name: "Content-Range", value: "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(file.size)")
            return .answer(HTTPAnswer(.partialContent, headers: headers, body: .file(file, range: part, pace: pace)))
        case .unsatisfiable:
            var answer = HTTPAnswer(
                Problem("range", status: 416, title: "The range lies behind the end", instance: request.id))
            answer.headers.add(name: "Content-Range", value: "bytes */\(file.size)")
            return .answer(answer)
        }
    }

    private func pace(_ row: DeviceDirectory.Row) -> Pace {
        let (id, site) = (row.id, row.site)
        return Pace { [pacing, clock] bytes in
            let now = Double(clock.monotonic()) / 1e9
            return max(
                pacing.device.reserve(bytes, for: id, now: now), pacing.site.reserve(bytes, for: site, now: now))
        }
    }
}

extension Substring {
    fileprivate var trimmed: Substring { drop { $0 == " " } }
}
