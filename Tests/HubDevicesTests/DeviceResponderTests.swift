import Base
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import Logging
import Model
import NIOCore
import NIOHTTP1
import TestSupport
import Testing
import Trust
import WireGuard

/// The device API without sockets: a hub's memory and store, and a device that speaks as the agent does.
@Suite struct DeviceResponderTests {
    let folder: TemporaryDirectory
    let database: SQLiteMetadataStore
    let store: FollowedStore
    let enrolment: EnrolmentService
    let responder: DeviceResponder
    let versions: HubVersions
    let directory: DeviceDirectory
    let blobs: FileBlobStore
    let network: TunnelNetwork
    let hubKey: SecretKey

    init() async throws { try await self.init(admission: .init(rate: 1_000)) }

    init(admission: AdmissionControl.Limits) async throws {
        folder = try TemporaryDirectory()
        database = try SQLiteMetadataStore(path: folder.path + "/hub.db")
        hubKey = try SecretKey.generatePrivate()
        network = try #require(TunnelNetwork(bytes: [0xFD, 1, 2, 3, 4, 5]))
        let feed = ChangeFeed(store: database, after: try await database.commit(Commit([])).sequence)
        store = FollowedStore(database, feed: feed, onCommit: {}, onError: { Issue.record($0) })
        let sealingKey = try #require(SecretKey(bytes: Array(repeating: 4, count: 32)))
        enrolment = EnrolmentService(
            store: store, hubKey: hubKey,
            identity: HubIdentity(
                publicKey: try hubKey.derivePublicKey(), host: "192.0.2.1", port: 51_820, rootDigest: .sha256([1]),
                network: network), sealing: Sealing(key: sealingKey))
        let held = DeviceDirectory(network: network, store: database)
        directory = held
        await feed.add { try await held.follow($0) }
        let signer = try Ed25519Signer(seed: Array(repeating: 3, count: 32))
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        blobs = try FileBlobStore(root: folder.path + "/store")
        versions = HubVersions(hotSet: 1)
        responder = DeviceResponder(
            directory: directory, versions: versions, metadata: MetadataFiles(), blobs: blobs,
            service: try DeviceService(
                store: store, enrolment: enrolment,
                audit: try AuditLog(store: database, origin: "hub.test/audit", signer: signer),
                tokens: AccessTokens(issuer: "https://hub.test", audience: "device", keys: [signer.publicKey]),
                tokenSigner: signer, freshnessSigner: signer, hubKey: hubKey, network: network),
            schedule: PollSchedule(), admission: admission, pacing: .init(deviceRate: 0, siteRate: 0),
            descriptor: { nil }, logger: logger)
    }

    // MARK: A device

    struct Answer: Sendable {
        var status: HTTPResponseStatus
        var headers: HTTPHeaders
        var body: [UInt8]
        var problem: String { Problem(parsing: body)?.name ?? "" }
    }

    func ask(
        _ method: HTTPMethod, _ route: DeviceRoute, from address: IPAddress, body: [UInt8] = [],
        headers: HTTPHeaders = [:]
    ) async throws -> Answer {
        let request = HTTPRequest(method: method, target: route.path, headers: headers, peer: address, id: "r")
        let answer: HTTPAnswer
        switch responder.accept(request) {
        case .answer(let now): answer = now
        case .collect(let limit, let work):
            #expect(body.count <= limit)
            answer = await work(body)
        case .stream: throw HubError(.limit, "test", "no device route streams")
        }
        var bytes: [UInt8] = []
        if case .bytes(let buffer) = answer.body { bytes = Array(buffer.readableBytesView) }
        return Answer(status: answer.status, headers: answer.headers, body: bytes)
    }

    struct Enrolled: Sendable {
        var id: DeviceID
        var signer: Ed25519Signer
        var key: SecretKey
        var address: IPAddress
        var token: String = ""
        var headers: HTTPHeaders { ["Authorization": "Bearer \(token)"] }
    }

    func enrol(_ seed: UInt8 = 1) async throws -> Enrolled {
        let token = try await enrolment.makeToken(TokenOptions(labels: ["site": "berlin"]), by: "test")
        let signer = try Ed25519Signer(seed: Array(repeating: seed, count: 32))
        let key = try SecretKey.generatePrivate()
        let request = try EnrolmentRequest(
            token: token, privateKey: key, signingKey: signer.publicKey, architecture: "arm64", hostName: "pump")
        let answer = try await ask(
            .POST, .enrol, from: network.temporary(token.credential().id), body: request.envelope(signedBy: signer))
        #expect(answer.status == .ok)
        guard case .enrolled(let id, let address, _) = try EnrolmentAnswer(parsing: answer.body) else {
            throw HubError(.deviceState, "test", "was not enrolled")
        }
        var device = Enrolled(id: try DeviceID(id), signer: signer, key: key, address: address)
        device.token = try await accessToken(device, from: address)
        return device
    }

    func accessToken(_ device: Enrolled, from address: IPAddress) async throws -> String {
        let request = try #require(
            DeviceTokenRequest(
                device: device.id.text, hubKey: hubKey.derivePublicKey(), nonce: Array(repeating: 1, count: 16)))
        let answer = try await ask(
            .POST, .token, from: address, body: request.envelope(signedBy: device.signer))
        #expect(answer.status == .ok, "\(answer.problem)")
        return try DeviceTokenAnswer(parsing: answer.body).accessToken
    }

    // MARK: Tests

    @Test func anEnrolledDevicePollsAndHearsThatNothingChanged() async throws {
        let device = try await enrol()
        let first = try await ask(.GET, .state, from: device.address, headers: device.headers)
        #expect(first.status == .ok)
        let state = try DeviceStateAnswer(parsing: first.body)
        #expect(state.labels == ["site": "berlin"])
        let tag = try #require(first.headers.first(name: "ETag"))
        var headers = device.headers
        headers.add(name: "If-None-Match", value: tag)
        let second = try await ask(.GET, .state, from: device.address, headers: headers)
        #expect(second.status == .notModified)
        let next = try #require(second.headers.first(name: DeviceHeader.nextPoll).flatMap { Double($0) })
        #expect(next > 0)
        versions.update { $0.director = .init(root: 1, timestamp: 2) }
        #expect(try await ask(.GET, .state, from: device.address, headers: headers).status == .ok)
    }

    @Test func aTemporaryAddressReachesEnrolmentOnly() async throws {
        let token = try await enrolment.makeToken(TokenOptions(), by: "test")
        let address = network.temporary(try token.credential().id)
        for route in [DeviceRoute.token, .state, .reports, .keys, .checkpoint] {
            let answer = try await ask(route.methods[0] == .post ? .POST : .GET, route, from: address)
            #expect(answer.problem == "enrol-first")
        }
        let stranger = try #require(IPAddress("fd01:203:405:1::77"))
        #expect(try await ask(.POST, .enrol, from: stranger).problem == "unknown-peer")
    }

    @Test func anotherDevicesTokenCountsForNothing() async throws {
        let one = try await enrol(1)
        let two = try await enrol(2)
        let answer = try await ask(.GET, .state, from: two.address, headers: one.headers)
        #expect(answer.status == .unauthorized)
        #expect(try await ask(.GET, .state, from: one.address).status == .unauthorized)
    }

    @Test func aRevokedDeviceIsOutAtOnce() async throws {
        let device = try await enrol()
        _ = try await enrolment.change(device.id) { try DeviceRules.revoke($0, reason: "", by: "test", now: $1) }
        let answer = try await ask(.GET, .state, from: device.address, headers: device.headers)
        #expect(answer.problem == "unknown-peer")
    }

    @Test func aDeviceChangesItsKeyWithoutBeingCutOff() async throws {
        let device = try await enrol()
        let next = try SecretKey.generatePrivate()
        let request = try KeyChangeRequest(
            device: device.id.text, privateKey: next, hubKey: hubKey.derivePublicKey())
        let body = try request.envelope(signedBy: device.signer)
        let answer = try await ask(.POST, .keys, from: device.address, body: body, headers: device.headers)
        #expect(answer.status == .ok, "\(answer.problem)")
        let address = try KeyChangeAnswer(parsing: answer.body).address
        // Until the device is heard there, the old key goes on.
        #expect(try await ask(.GET, .state, from: device.address, headers: device.headers).status == .ok)
        var moved = device
        moved.token = try await accessToken(device, from: address)
        #expect(try await ask(.GET, .state, from: address, headers: moved.headers).status == .ok)
        #expect(try await ask(.GET, .state, from: device.address, headers: device.headers).problem == "unknown-peer")
    }

    @Test func reportsAreAcknowledgedAndKept() async throws {
        let device = try await enrol()
        let envelopes = try (1...3).map {
            try ReportEnvelope(device: device.id.text, epoch: 0, sequence: $0, content: ["up"]).signed(
                by: device.signer)
        }
        let answer = try await ask(
            .POST, .reports, from: device.address, body: ReportBatch.bytes(envelopes), headers: device.headers)
        #expect(try ReportAnswer(parsing: answer.body).acknowledged == [0: 3])
        #expect(try await database.segments(after: 0, limit: 10).count == 3)
    }

    @Test func aBlobIsSentWholeInPartOrNotAtAll() async throws {
        let device = try await enrol()
        let blob = try await blobs.put(Array("some bytes".utf8))
        let whole = try await ask(.GET, .blob(blob.digest), from: device.address, headers: device.headers)
        #expect(whole.status == .ok)
        let tag = try #require(whole.headers.first(name: "ETag"))
        func with(_ fields: [(String, String)]) -> HTTPHeaders {
            var headers = device.headers
            headers.add(contentsOf: fields)
            return headers
        }
        let route = DeviceRoute.blob(blob.digest)
        let part = try await ask(.GET, route, from: device.address, headers: with([("Range", "bytes=2-4")]))
        #expect(part.status == .partialContent)
        #expect(part.headers.first(name: "Content-Range") == "bytes 2-4/10")
        let late = try await ask(.GET, route, from: device.address, headers: with([("Range", "bytes=10-")]))
        #expect(late.status == .rangeNotSatisfiable)
        let same = try await ask(.GET, route, from: device.address, headers: with([("If-None-Match", tag)]))
        #expect(same.status == .notModified)
        let other = try await ask(
            .GET, route, from: device.address, headers: with([("Range", "bytes=2-4"), ("If-Range", "\"x\"")]))
        #expect(other.status == .ok)
        #expect(
            try await ask(.GET, .blob(.sha256([])), from: device.address, headers: device.headers).status == .notFound)
    }

    @Test func aNonceBringsATicketForTheNewestSnapshot() async throws {
        let device = try await enrol()
        versions.update { $0.releaseSnapshot = 7 }
        var headers = device.headers
        headers.add(name: DeviceHeader.freshnessNonce, value: String(repeating: "ab", count: 16))
        let answer = try await ask(.GET, .state, from: device.address, headers: headers)
        let ticket = try #require(try DeviceStateAnswer(parsing: answer.body).freshnessTicket)
        #expect(String(decoding: try DSSEEnvelope(parsing: ticket).payload, as: UTF8.self).contains("\"snapshot\":7"))
    }

    @Test func aLongPollEndsWithTheNews() async throws {
        let device = try await enrol()
        let first = try await ask(.GET, .state, from: device.address, headers: device.headers)
        var headers = device.headers
        headers.add(name: "If-None-Match", value: try #require(first.headers.first(name: "ETag")))
        headers.add(name: DeviceHeader.prefer, value: "wait=60")
        let fields = headers
        async let answer = ask(.GET, .state, from: device.address, headers: fields)
        while versions.waiting == 0 { try await Task.sleep(for: .milliseconds(5)) }
        versions.update { $0.release = .init(root: 1, timestamp: 9) }
        #expect(try await answer.status == .ok)
    }

    /// A device that is told that its poll was held comes again at once; one that was not keeps to its slot.
    @Test func aPollThatTheHotSetHasNoRoomForIsNotCalledHeld() async throws {
        let (one, two) = (try await enrol(1), try await enrol(2))
        func fields(_ device: Enrolled) async throws -> HTTPHeaders {
            let first = try await ask(.GET, .state, from: device.address, headers: device.headers)
            var headers = device.headers
            headers.add(name: "If-None-Match", value: try #require(first.headers.first(name: "ETag")))
            headers.add(name: DeviceHeader.prefer, value: "wait=60")
            return headers
        }
        let (held, late) = (try await fields(one), try await fields(two))
        async let answer = ask(.GET, .state, from: one.address, headers: held)
        while versions.waiting == 0 { try await Task.sleep(for: .milliseconds(5)) }
        let refused = try await ask(.GET, .state, from: two.address, headers: late)
        #expect(refused.status == .notModified)
        #expect(refused.headers.first(name: DeviceHeader.preferenceApplied) == nil)
        versions.wake()
        #expect(try await answer.headers.first(name: DeviceHeader.preferenceApplied) == "wait=60")
    }

    @Test func newsThatComeBeforeAPollIsHeldAreNotSleptThrough() async throws {
        let before = versions.current.generation
        versions.wake()
        #expect(await versions.wait(for: .seconds(3_600), since: before))
        #expect(versions.waiting == 0)
        let full = HubVersions(hotSet: 0)
        #expect(await full.wait(for: .seconds(3_600), since: full.current.generation) == false)
    }

    @Test func aDeviceThatAsksTooOftenIsToldWhenToComeAgain() async throws {
        let bench = try await DeviceResponderTests(admission: .init(rate: 1_000, deviceSpacing: 60, deviceBurst: 3))
        let device = try await bench.enrol()
        var statuses: [HTTPResponseStatus] = []
        var last: Answer?
        for _ in 0..<4 {
            let answer = try await bench.ask(.GET, .state, from: device.address, headers: device.headers)
            statuses.append(answer.status)
            last = answer
        }
        // One of the three went to the token.
        #expect(statuses == [.ok, .ok, .tooManyRequests, .tooManyRequests])
        let wait = try #require(last?.headers.first(name: "Retry-After").flatMap { Int($0) })
        #expect((61...180).contains(wait))
    }

    @Test func aFullHubKeepsRoomForUpdatesAndEnrolment() async throws {
        // Ten at once, half of them kept; nothing worth naming comes back while the test runs.
        let bench = try await DeviceResponderTests(
            admission: .init(rate: 0.001, burst: 10, reserve: 0.5, deviceSpacing: 0))
        let device = try await bench.enrol()
        var answers: [Answer] = []
        for _ in 0..<5 {
            answers.append(try await bench.ask(.GET, .state, from: device.address, headers: device.headers))
        }
        let refused = try #require(answers.last)
        #expect(refused.status == .serviceUnavailable && refused.problem == "busy")
        #expect((refused.headers.first(name: "Retry-After").flatMap { Int($0) } ?? 0) >= 1)
        var headers = device.headers
        headers.add(name: DeviceHeader.activity, value: DeviceHeader.updating)
        #expect(try await bench.ask(.GET, .state, from: device.address, headers: headers).status == .ok)
        let token = try await bench.enrolment.makeToken(TokenOptions(), by: "test")
        let answer = try await bench.ask(
            .POST, .enrol, from: bench.network.temporary(try token.credential().id), body: [])
        #expect(answer.status != .serviceUnavailable)
    }

    /// Who copies the hub's database has no key of a device and no preshared key.
    @Test func aStolenDatabaseHoldsNoSecretOfADevice() async throws {
        let token = try await enrolment.makeToken(TokenOptions(), by: "test")
        let device = try await enrol()
        let credential = try token.credential()
        var secrets = [token.seed]
        for key in [credential.presharedKey, credential.privateKey, device.key, hubKey] {
            secrets.append(key.withUnsafeBytes { Array($0) })
        }
        var stolen: [UInt8] = []
        for name in try FileSystem().list(folder.path) where name.hasPrefix("hub.db") {
            stolen += try FileSystem().read(folder.path + "/" + name, limit: 64 << 20)
        }
        #expect(stolen.count > 4_096)
        for secret in secrets {
            for form in [secret, Array(Hex.encode(secret).utf8), Array(Base64.encode(secret).utf8)] {
                #expect(stolen.ranges(of: form).isEmpty)
            }
            // As records hold bytes: a JSON array of numbers.
            #expect(stolen.ranges(of: Array(secret.map { String($0) }.joined(separator: ",").utf8)).isEmpty)
        }
        #expect(stolen.ranges(of: Array(token.text.utf8)).isEmpty)
    }
}
