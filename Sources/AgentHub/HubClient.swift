import Base
import HubProtocol
import Model
import Trust
import WireGuard

/// A poll's answer.
enum PollAnswer: Sendable {
    /// - Parameter isHeld: whether the hub waited for news before it said that there is none.
    case unchanged(next: Double, interval: Double, isHeld: Bool)
    case state(DeviceStateAnswer, tag: String, next: Double, interval: Double)

    var schedule: (next: Double, interval: Double) {
        switch self {
        case .unchanged(let next, let interval, _), .state(_, _, let next, let interval): (next, interval)
        }
    }
}

/// The device API as a device calls it: renews its access token, and turns every answer that is no success into
/// a ``HubLinkError``.
actor HubClient {
    /// Bytes of a metadata file, as the verifier bounds them anyway, and of a note.
    static let noteLimit = 64 << 10
    /// The part of a token's life after which the next one is asked for.
    static let renewal = 0.75

    private let transport: HubTransport
    private let clock: SystemClock
    private let signer: Ed25519Signer
    private let device: String
    private var token: (text: String, renewAt: UInt64, path: TunnelPath)?

    init(transport: HubTransport, clock: SystemClock, signer: Ed25519Signer, device: String) {
        self.transport = transport
        self.clock = clock
        self.signer = signer
        self.device = device
    }

    // MARK: Enrolment

    /// Through a token's temporary tunnel; needs no access token.
    static func enrol(_ request: [UInt8], by transport: HubTransport, _ path: TunnelPath) async throws
        -> EnrolmentAnswer
    {
        var exchange = HubRequest(.post, .enrol, body: request, answerLimit: EnrolmentAnswer.sizeLimit)
        exchange.headers = [("Content-Type", DeviceHeader.envelope)]
        let answer = try await transport.send(exchange, path)
        guard (200...299).contains(answer.status) else {
            throw HubLinkError(
                status: answer.status, body: answer.body, retryAfter: answer.retryAfter, asking: "enrolment")
        }
        return try EnrolmentAnswer(parsing: answer.body)
    }

    // MARK: Access token

    /// Asks for a token through `path`, whatever there is: at once the proof that this tunnel works.
    func renew(_ path: TunnelPath, hubKey: WireGuard.PublicKey) async throws {
        var generator = SystemRandomNumberGenerator()
        let nonce = (0..<DeviceTokenRequest.nonceBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
        guard let request = DeviceTokenRequest(device: device, hubKey: hubKey, nonce: nonce) else {
            throw HubLinkError(.badAnswer, "no token request can be made")
        }
        var exchange = HubRequest(
            .post, .token, body: try request.envelope(signedBy: signer), answerLimit: DeviceTokenAnswer.sizeLimit)
        exchange.headers = [("Content-Type", DeviceHeader.envelope)]
        let answer = try await transport.send(exchange, path)
        try Self.check(answer, "access token")
        let granted = try DeviceTokenAnswer(parsing: answer.body)
        let life = UInt64(Double(granted.expiresIn) * Self.renewal * 1e9)
        token = (granted.accessToken, clock.monotonic() + life, path)
    }

    func forgetToken() { token = nil }

    private func bearer(_ path: TunnelPath, _ hubKey: WireGuard.PublicKey) async throws -> String {
        if let token, token.path == path, clock.monotonic() < token.renewAt { return token.text }
        try await renew(path, hubKey: hubKey)
        return token?.text ?? ""
    }

    private static func check(_ answer: HubAnswer, _ what: String) throws {
        guard (200...299).contains(answer.status) else {
            throw HubLinkError(
                status: answer.status, body: answer.body, retryAfter: answer.retryAfter, asking: what)
        }
    }

    /// One exchange with a token; a token that is not taken is renewed once.
    func call(
        _ request: HubRequest, _ end: HubEnd, accepting other: Set<Int> = []
    ) async throws -> HubAnswer {
        for attempt in 0...1 {
            var request = request
            request.headers.append(("Authorization", "Bearer \(try await bearer(end.path, end.hubKey))"))
            let answer = try await transport.send(request, end.path)
            if answer.status == 401, attempt == 0 {
                token = nil
                continue
            }
            if !other.contains(answer.status) { try Self.check(answer, request.route.path) }
            return answer
        }
        throw HubLinkError(.refused, "the hub takes no access token of this device")
    }

    // MARK: Calls

    /// - Parameter wait: seconds that the hub may wait for news where `tag` is what it has; 0 for an answer at once.
    func poll(
        _ end: HubEnd, tag: String?, nonce: [UInt8]? = nil, wait: Int = 0, isUpdating: Bool
    ) async throws -> PollAnswer {
        var request = HubRequest(.get, .state, answerLimit: DeviceStateAnswer.sizeLimit)
        if wait > 0, tag != nil {
            request.headers.append((DeviceHeader.prefer, "wait=\(wait)"))
            request.limit += .seconds(wait)
        }
        if let tag, nonce == nil { request.headers.append(("If-None-Match", tag)) }
        if let nonce { request.headers.append((DeviceHeader.freshnessNonce, Hex.encode(nonce))) }
        if isUpdating { request.headers.append((DeviceHeader.activity, DeviceHeader.updating)) }
        let answer = try await call(request, end, accepting: [304])
        func seconds(_ name: String) -> Double? {
            answer.headers[name.lowercased()].flatMap { Double($0) }.flatMap { $0.isFinite && $0 >= 0 ? $0 : nil }
        }
        let interval = seconds(DeviceHeader.pollInterval) ?? PollPacer.defaultInterval
        let next = seconds(DeviceHeader.nextPoll) ?? interval
        if answer.status == 304 {
            let isHeld = answer.headers[DeviceHeader.preferenceApplied.lowercased()] != nil
            return .unchanged(next: next, interval: interval, isHeld: isHeld)
        }
        let state = try DeviceStateAnswer(parsing: answer.body)
        return .state(state, tag: answer.headers["etag"] ?? "", next: next, interval: interval)
    }

    /// Nil for a file that the hub does not have.
    func metadata(
        _ repository: RepositoryName, _ file: String, _ end: HubEnd, limit: Int
    ) async throws -> [UInt8]? {
        let request = HubRequest(.get, .metadata(repository, file: file), answerLimit: limit)
        let answer = try await call(request, end, accepting: [404])
        return answer.status == 404 ? nil : answer.body
    }

    /// The hub's copy of a blob in bytes; nil when it has none.
    func blobSize(_ digest: Digest, _ end: HubEnd) async throws -> Int64? {
        let answer = try await call(
            HubRequest(.head, .blob(digest), answerLimit: Problem.sizeLimit), end, accepting: [404])
        guard answer.status != 404 else { return nil }
        guard let size = answer.headers["content-length"].flatMap({ Int64($0) }), size >= 0 else {
            throw HubLinkError(.badAnswer, "the hub does not say how large blob \(digest.short) is")
        }
        return size
    }

    /// A blob's bytes from an offset on, as they come.
    func blob(
        _ digest: Digest, from offset: Int64, _ end: HubEnd,
        consume: @escaping @Sendable (_ next: @escaping BodyPuller) async throws -> Void
    ) async throws {
        var request = HubRequest(.get, .blob(digest), answerLimit: 0, limit: .seconds(60))
        if offset > 0 { request.headers.append(("Range", "bytes=\(offset)-")) }
        request.headers.append(("Authorization", "Bearer \(try await bearer(end.path, end.hubKey))"))
        try await transport.stream(request, end.path) { head, next in
            switch head.status {
            case 206 where offset > 0: try await consume(next)
            case 200 where offset == 0: try await consume(next)
            case 200:
                // The hub begins at the start: what is here already is read past.
                try await consume(Self.skipping(offset, next))
            default:
                let body = try await next() ?? []
                throw HubLinkError(
                    status: head.status, body: body, retryAfter: head.retryAfter, asking: "blob \(digest.short)")
            }
        }
    }

    private static func skipping(_ offset: Int64, _ next: @escaping BodyPuller) -> BodyPuller {
        let rest = Counter(offset)
        return {
            while let piece = try await next() {
                let drop = rest.take(Int64(piece.count))
                if drop < piece.count { return Array(piece.dropFirst(drop)) }
            }
            return nil
        }
    }

    func report(_ envelopes: [[UInt8]], _ end: HubEnd) async throws -> ReportAnswer {
        var request = HubRequest(
            .post, .reports, body: ReportBatch.bytes(envelopes), answerLimit: ReportAnswer.sizeLimit,
            limit: .seconds(60))
        request.headers = [("Content-Type", DeviceHeader.reports)]
        return try ReportAnswer(parsing: try await call(request, end).body)
    }

    func changeKey(_ envelope: [UInt8], _ end: HubEnd) async throws -> KeyChangeAnswer {
        var request = HubRequest(.post, .keys, body: envelope, answerLimit: KeyChangeAnswer.sizeLimit)
        request.headers = [("Content-Type", DeviceHeader.envelope)]
        return try KeyChangeAnswer(parsing: try await call(request, end).body)
    }

    func descriptor(_ end: HubEnd) async throws -> [UInt8] {
        try await call(HubRequest(.get, .descriptor, answerLimit: HubDescriptor.maxBytes), end).body
    }

    func checkpoint(_ end: HubEnd) async throws -> [UInt8] {
        try await call(HubRequest(.get, .checkpoint, answerLimit: Self.noteLimit), end).body
    }

    func consistency(from: Int64, to: Int64, _ end: HubEnd) async throws -> [Digest] {
        let request = HubRequest(.get, .consistency(from: from, to: to), answerLimit: ConsistencyAnswer.sizeLimit)
        return try ConsistencyAnswer(parsing: try await call(request, end).body).proof
    }
}

/// The hub's end of the tunnel in use: the way to it and the key it has.
struct HubEnd: Sendable, Hashable {
    var path: TunnelPath
    var hubKey: WireGuard.PublicKey
}
