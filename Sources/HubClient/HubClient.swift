import AsyncHTTPClient
import Base
import Model
import NIOCore
import NIOHTTP1
import NIOSSL

/// A hub's management API from the operator's side: TLS only, every answer bounded, every refusal in the hub's words.
public struct HubClient: Sendable {
    /// Bytes of an answer held in memory.
    public static let answerLimit = 8 << 20
    /// Records asked for at once, and pages of one list.
    static let pageSize = 500
    static let pageLimit = 100_000
    static let connectTimeout = TimeAmount.seconds(10)
    /// Longest silence of the hub, and longest time in which it takes nothing of what is sent.
    static let silenceLimit = TimeAmount.seconds(60)
    /// The whole of one file's way to the hub, over whatever line: while it moves it may take a day.
    static let uploadLimit = TimeAmount.hours(24)

    public let url: String
    private let token: String?
    private let client: HTTPClient

    /// The caller shuts the client down. - Throws: `hub-client.url`, `hub-client.certificate`.
    public init(url: String, token: String?, certificates: String?) throws(HubClientError) {
        self.url = try Self.checked(url)
        self.token = token
        var tls = TLSConfiguration.makeClientConfiguration()
        if let certificates {
            guard let roots = try? NIOSSLCertificate.fromPEMBytes(Array(certificates.utf8)), !roots.isEmpty else {
                throw HubClientError(.certificate, "the file of trusted certificates holds none in PEM")
            }
            tls.trustRoots = .certificates(roots)
        }
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls, redirectConfiguration: .disallow)
        configuration.timeout.connect = Self.connectTimeout
        configuration.timeout.read = Self.silenceLimit
        configuration.timeout.write = Self.silenceLimit
        configuration.httpVersion = .http1Only
        configuration.decompression = .disabled
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    public init(_ session: HubSession) throws(HubClientError) {
        try self.init(url: session.url, token: session.token, certificates: session.certificates)
    }

    public func shutdown() async { try? await client.shutdown() }

    /// `https://host[:port]`: a password never travels in clear, not even on loopback.
    private static func checked(_ url: String) throws(HubClientError) -> String {
        let trimmed = url.hasSuffix("/") ? String(url.dropLast()) : url
        let rest = trimmed.dropFirst("https://".count)
        guard trimmed.hasPrefix("https://"), !rest.isEmpty, !rest.contains("/"), !rest.contains("@"),
            rest.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw HubClientError(.url, "\"\(url)\" is not a hub's address", hint: "give https://HOST:PORT")
        }
        return trimmed
    }

    // MARK: Requests

    public enum Method: String, Sendable { case GET, POST, PUT, PATCH, DELETE, HEAD }

    /// What is sent beside method and path.
    public struct Content: Sendable {
        public var query: [(name: String, value: String)] = []
        public var body: JSONValue?
        public var headers: [(name: String, value: String)] = []

        public init(
            query: [(name: String, value: String)] = [], body: JSONValue? = nil,
            headers: [(name: String, value: String)] = []
        ) {
            self.query = query
            self.body = body
            self.headers = headers
        }
    }

    /// A hub's answer: its document, or null when it has none.
    @discardableResult
    public func send(_ method: Method, _ path: String, _ content: Content = Content()) async throws -> JSONValue {
        let bytes = try await data(method, path, content)
        guard !bytes.isEmpty else { return .null }
        guard let value = try? JSONValue(parsing: bytes) else {
            throw HubClientError(.answer, "\(url)\(path) does not answer with JSON", hint: "is this a hub?")
        }
        return value
    }

    /// The bytes of an answer.
    public func data(_ method: Method, _ path: String, _ content: Content = Content()) async throws -> [UInt8] {
        var request = request(method, path, content)
        if let body = content.body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: try body.serialized(.compact)))
        }
        return try await answer(request)
    }

    /// Sends a file that is `size` bytes long, from `start` on; what is before lies at the hub already.
    public func upload(_ path: String, _ pieces: FilePieces, from start: Int64, size: Int64) async throws {
        var request = request(.PUT, path, Content())
        request.headers.add(name: "Content-Type", value: "application/octet-stream")
        if start > 0 { request.headers.add(name: "Content-Range", value: "bytes \(start)-\(size - 1)/\(size)") }
        request.body = .stream(pieces, length: .known(size - start))
        _ = try await answer(request, within: Self.uploadLimit)
    }

    /// Sends bytes held in memory.
    public func upload(_ path: String, _ bytes: [UInt8]) async throws {
        var request = request(.PUT, path, Content())
        request.headers.add(name: "Content-Type", value: "application/octet-stream")
        request.body = .bytes(ByteBuffer(bytes: bytes))
        _ = try await answer(request)
    }

    /// How many bytes of a blob an earlier upload has left at the hub; nil when the hub has it whole.
    public func uploadOffset(_ path: String) async throws -> Int64? {
        let response = try await execute(request(.HEAD, path, Content()))
        guard response.status == .notFound else {
            try await refuse(response)
            return nil
        }
        return response.headers.first(name: "Upload-Offset").flatMap { Int64($0) } ?? 0
    }

    /// All records of a list, page after page.
    public func list(_ path: String, query: [(name: String, value: String)] = []) async throws -> [JSONValue] {
        var items: [JSONValue] = []
        var cursor: String?
        for _ in 0..<Self.pageLimit {
            var content = Content(query: query + [("limit", String(Self.pageSize))])
            if let cursor { content.query.append(("cursor", cursor)) }
            let page = try await send(.GET, path, content)
            guard let found = page["items"]?.array else {
                throw HubClientError(.answer, "\(url)\(path) answers without items")
            }
            items += found
            guard let next = page["next"]?.string else { return items }
            cursor = next
        }
        throw HubClientError(.answer, "\(url)\(path) has more than \(Self.pageLimit) pages", hint: "use a selector")
    }

    /// Lines of a stream that stays open. Ends with the hub's end; a silence of 60 s is an error.
    public func lines(
        _ path: String, _ content: Content, take: (_ line: String) async throws -> Void
    ) async throws {
        let response = try await execute(request(.GET, path, content))
        try await refuse(response)
        var line: [UInt8] = []
        do {
            for try await piece in response.body {
                for byte in piece.readableBytesView {
                    guard byte != 0x0A else {
                        try await take(String(decoding: line, as: UTF8.self))
                        line.removeAll(keepingCapacity: true)
                        continue
                    }
                    line.append(byte)
                    guard line.count <= Self.answerLimit else {
                        throw HubClientError(.answer, "\(url)\(path) sends a line without end")
                    }
                }
            }
        } catch let error as HTTPClientError {
            throw HubClientError(.connect, "\(url) broke off: \(error)", hint: "try again")
        }
    }

    // MARK: Exchange

    private func request(_ method: Method, _ path: String, _ content: Content) -> HTTPClientRequest {
        let query = content.query.map { "\($0.name)=\(Self.encoded($0.value))" }.joined(separator: "&")
        var request = HTTPClientRequest(url: url + path + (query.isEmpty ? "" : "?\(query)"))
        request.method = HTTPMethod(rawValue: method.rawValue)
        request.headers.add(name: "User-Agent", value: "holdfast/1")
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        for (name, value) in content.headers { request.headers.add(name: name, value: value) }
        return request
    }

    /// A path segment or a query value: everything but RFC 3986's unreserved characters is escaped.
    public static func encoded(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "%" + Hex.encode([byte]).uppercased()
            }
        }
        return result
    }

    private func answer(
        _ request: HTTPClientRequest, within limit: TimeAmount = Self.silenceLimit
    ) async throws -> [UInt8] {
        let response = try await execute(request, within: limit)
        try await refuse(response)
        return try await body(of: response)
    }

    private func execute(
        _ request: HTTPClientRequest, within limit: TimeAmount = Self.silenceLimit
    ) async throws -> HTTPClientResponse {
        do {
            return try await client.execute(request, timeout: limit)
        } catch let error as CancellationError {
            throw error
        } catch let error as NIOSSLError {
            throw HubClientError(
                .connect, "\(url) is not trusted: \(error)", hint: "give the hub's certificate with --ca FILE")
        } catch {
            let text = String(describing: error)
            throw HubClientError(
                .connect, "\(url) does not answer: \(text)",
                hint: text.contains("CERTIFICATE_VERIFY_FAILED")
                    ? "give the hub's certificate with --ca FILE" : "check the address and that the hub runs")
        }
    }

    private func body(of response: HTTPClientResponse) async throws -> [UInt8] {
        do {
            return Array(try await response.body.collect(upTo: Self.answerLimit).readableBytesView)
        } catch let error as CancellationError {
            throw error
        } catch {
            throw HubClientError(.answer, "\(url): the answer broke off or is too long: \(error)")
        }
    }

    /// Turns a status that is no success into the problem that the hub names.
    private func refuse(_ response: HTTPClientResponse) async throws {
        let status = Int(response.status.code)
        guard !(200..<300).contains(status) else { return }
        let problem = try? JSONValue(parsing: try await body(of: response))
        let type = problem?["type"]?.string ?? ""
        let prefix = "urn:holdfast:problem:"
        let title = problem?["title"]?.string ?? response.status.description
        let detail = problem?["detail"]?.string.map { ": \($0)" } ?? ""
        var hint = problem?["hint"]?.string
        if hint == nil, status == 401, token != nil { hint = "holdfast hub login \(url)" }
        if hint == nil, let wait = problem?["retry_after_s"]?.integer { hint = "try again in \(wait) s" }
        throw HubClientError(
            .refused(
                problem: type.hasPrefix(prefix) ? String(type.dropFirst(prefix.count)) : "\(status)", status: status),
            "the hub refuses: \(title)\(detail)", hint: hint)
    }
}
