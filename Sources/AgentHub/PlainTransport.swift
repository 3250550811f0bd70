import Base
import HubProtocol
import NIOCore
import NIOHTTP1
import PlainHTTP
import WireGuard

extension HubTransport {
    /// Bytes a second that a download must keep up once its first seconds are over: less is a link that is as good as dead.
    static let minimumRate: Int64 = 256

    /// Plain HTTP/1.1 through the tunnel's own interface, whatever the routes say.
    public static func plain(_ client: PlainHTTPClient) -> HubTransport {
        HubTransport(
            send: { request, path in
                let limits = ExchangeLimits(connect: .seconds(10), total: request.limit)
                let limit = request.answerLimit
                return try await translating {
                    try await client.perform(plain(request), at: endpoint(path), limits: limits) { response in
                        var answer = head(of: response)
                        // A HEAD has no body, whatever its length says.
                        if request.method != .head {
                            answer.body = Array(try await response.collect(maximum: limit).readableBytesView)
                        }
                        return answer
                    }
                }
            },
            stream: { request, path, consume in
                let limits = ExchangeLimits(
                    connect: .seconds(10), silence: request.limit, minimumRate: minimumRate)
                try await translating {
                    try await client.perform(plain(request), at: endpoint(path), limits: limits) { response in
                        try await consume(head(of: response)) {
                            try await response.next().map { Array($0.readableBytesView) }
                        }
                    }
                }
            })
    }

    private static func plain(_ request: HubRequest) -> HTTPRequest {
        var headers = HTTPHeaders()
        for (name, value) in request.headers { headers.add(name: name, value: value) }
        return HTTPRequest(
            HTTPMethod(rawValue: request.method.rawValue), request.route.path, headers: headers,
            body: request.method == .post ? .bytes(request.body) : .none)
    }

    private static func endpoint(_ path: TunnelPath) -> HTTPEndpoint {
        .tcp(
            .init(
                address: path.hub.description, port: Int(path.port), source: path.source.description,
                interface: path.interface.text))
    }

    private static func head(of response: HTTPResponse) -> HubAnswer {
        HubAnswer(
            status: response.status,
            headers: Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first })
    }

    private static func translating<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as HTTPError {
            switch error.reason {
            case .malformed, .tooLarge: throw HubLinkError(.badAnswer, error.message)
            case .argument, .producer: throw HubLinkError(.tunnel, error.message)
            default: throw HubLinkError(.unreachable, "no answer from the hub at \(error.message)", hint: error.hint)
            }
        }
    }
}
