import HTTPTestSupport
import TestSupport

/// Something on a unix socket that answers as an engine would that a test has scripted.
final class FakeEngine: Sendable {
    typealias Step = ScriptedServer.Step

    static let version = answer(#"{"Version":"1.2.3","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#)

    static func answer(_ body: String, status: String = "200 OK") -> String {
        ScriptedServer.answer(body, status: status)
    }

    let socketPath: String
    private let directory: TemporaryDirectory
    private let server: ScriptedServer

    /// - Parameter answer: given `METHOD TARGET`; asked for `/version` the fake answers `version`.
    init(version: String = FakeEngine.version, answer: @escaping @Sendable (String) -> [Step]) async throws {
        directory = try TemporaryDirectory()
        socketPath = directory.file("fake.sock")
        server = try await ScriptedServer(.unixSocket(path: socketPath), group: testGroup) { head in
            let request = Self.request(head)
            return request.hasSuffix(" /version") ? [.text(version), .close] : answer(request)
        }
    }

    private static func request(_ head: String) -> String {
        head.prefix { $0 != "\r\n" }.split(separator: " ").prefix(2).joined(separator: " ")
    }

    /// `GET /v1.41/info`: what the client asked, in order.
    var requests: [String] { server.requests.map(Self.request) }

    func stop() async throws { try await server.stop() }
}
