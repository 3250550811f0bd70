import Base
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubHTTP
import HubManagement
import HubProtocol
import HubReleases
import HubStore
import HubTokens
import Logging
import Model
import NIOCore
import NIOHTTP1
import OCI
import TestSupport
import Testing
import Trust
import WireGuard

/// A management side over a store in a folder of its own, asked without a socket.
final class ManagementBench: Sendable {
    static let password = "correct horse battery"
    let folder: TemporaryDirectory
    let store: SQLiteMetadataStore
    let enrolment: EnrolmentService
    let services: ManagementServices
    let responder: ManagementResponder
    let hubKey: SecretKey

    init() throws {
        folder = try TemporaryDirectory()
        store = try SQLiteMetadataStore(path: folder.path + "/hub.db")
        hubKey = try SecretKey.generatePrivate()
        let signer = try Ed25519Signer(seed: Array(repeating: 3, count: 32))
        let sealing = Sealing(key: try #require(SecretKey(bytes: Array(repeating: 4, count: 32))))
        let network = try #require(TunnelNetwork(bytes: [0xFD, 1, 2, 3, 4, 5]))
        enrolment = EnrolmentService(
            store: store, hubKey: hubKey,
            identity: HubIdentity(
                publicKey: try hubKey.derivePublicKey(), host: "192.0.2.1", port: 51_820, rootDigest: .sha256([1]),
                network: network), sealing: sealing)
        let tokens = OperatorTokens(issuer: "https://hub.test", audience: "management", keys: [signer.publicKey])
        let blobs = try FileBlobStore(root: folder.path + "/store")
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        services = ManagementServices(
            store: store, blobs: blobs, uploads: BlobStore(root: folder.path + "/store"),
            releases: ReleaseRepository(path: folder.path + "/repository", store: store, blobs: blobs) {},
            enrolment: enrolment,
            audit: try AuditLog(store: store, origin: "hub.test/audit", signer: signer), tokens: tokens,
            tokenSigner: signer, sealing: sealing, tunnel: nil, commits: Signal(), logger: logger)
        responder = ManagementResponder(routes: services.routes(), tokens: tokens, store: store, logger: logger)
    }

    func addOperator(_ name: String = "ana", _ scopes: Set<OperatorScope> = Set(OperatorScope.allCases)) async throws {
        let account = OperatorAccount(
            id: try OperatorID(name), scopes: scopes, password: try PasswordHash(Self.password),
            madeAt: Timestamp(seconds: 0))
        try await store.commit(Commit([.put(account, expecting: .absent)]))
    }

    func login(_ name: String = "ana", password: String = ManagementBench.password) async throws -> String {
        let answer = try await ask(
            .POST, "/v1/login", body: ["name": .string(name), "password": .string(password)], token: nil)
        return try #require(answer.document["access_token"]?.string, "login answered \(answer.status.code)")
    }

    struct Answer: Sendable {
        var status: HTTPResponseStatus
        var headers: HTTPHeaders
        var document: JSONValue
        /// The last part of a problem's type.
        var problem: String { document["type"]?.string?.split(separator: ":").last.map(String.init) ?? "" }
    }

    func ask(
        _ method: HTTPMethod, _ target: String, body: JSONValue? = nil, token: String?, headers: HTTPHeaders = [:]
    ) async throws -> Answer {
        var headers = headers
        if let token { headers.add(name: "Authorization", value: "Bearer \(token)") }
        let peer = try #require(IPAddress("192.0.2.7"))
        let request = HTTPRequest(method: method, target: target, headers: headers, peer: peer, id: "r-1")
        let answer: HTTPAnswer
        switch responder.accept(request) {
        case .answer(let now): answer = now
        case .collect(_, let work): answer = await work(try body.map { try $0.serialized() } ?? [])
        case .stream: throw HubError(.limit, "test", "streams are tested over a socket")
        }
        var document = JSONValue.null
        if case .bytes(let buffer) = answer.body, buffer.readableBytes > 0 {
            document = (try? JSONValue(parsing: Array(buffer.readableBytesView))) ?? .null
        }
        return Answer(status: answer.status, headers: answer.headers, document: document)
    }
}
