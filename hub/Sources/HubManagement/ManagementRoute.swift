import HubCore
import HubHTTP
import HubProtocol
import NIOHTTP1

/// One route of the management API. `openapi.yaml` lists the same ones; a test compares them.
public struct ManagementRoute: Sendable {
    /// Bytes of a body, where a route asks for no more.
    public static let bodyLimit = 64 << 10

    public typealias Handler = @Sendable (ManagementRequest) async throws -> HTTPAnswer
    public typealias StreamHandler = @Sendable (ManagementRequest, HTTPBody) async throws -> HTTPAnswer

    enum Work: Sendable {
        case collect(limit: Int, Handler)
        /// The body as it comes.
        case stream(StreamHandler)
    }

    public let method: HTTPMethod
    /// `/v1/devices/{id}`.
    public let pattern: String
    /// Nil for routes that need no token.
    public let scope: OperatorScope?
    let work: Work
    private let segments: [Substring]

    init(
        _ method: HTTPMethod, _ pattern: String, _ scope: OperatorScope?, limit: Int = Self.bodyLimit,
        _ handler: @escaping Handler
    ) {
        self.init(method, pattern, scope, work: .collect(limit: method == .GET ? 0 : limit, handler))
    }

    init(
        _ method: HTTPMethod, _ pattern: String, _ scope: OperatorScope?, stream handler: @escaping StreamHandler
    ) {
        self.init(method, pattern, scope, work: .stream(handler))
    }

    private init(_ method: HTTPMethod, _ pattern: String, _ scope: OperatorScope?, work: Work) {
        self.method = method
        self.pattern = pattern
        self.scope = scope
        self.work = work
        segments = pattern.split(separator: "/", omittingEmptySubsequences: false)
    }

    /// The parameters when `path` is one of this pattern.
    func match(_ path: [Substring]) -> [String: String]? {
        guard path.count == segments.count else { return nil }
        var parameters: [String: String] = [:]
        for (segment, text) in zip(segments, path) {
            if segment.hasPrefix("{") {
                guard !text.isEmpty, let value = PercentText.decode(text) else { return nil }
                parameters[String(segment.dropFirst().dropLast())] = value
            } else if segment != text {
                return nil
            }
        }
        return parameters
    }
}

/// Percent escapes of paths and queries (RFC 3986).
enum PercentText {
    /// Nil for a broken escape or bytes that are no UTF-8.
    static func decode(_ text: Substring, plusIsSpace: Bool = false) -> String? {
        var output: [UInt8] = []
        var rest = text.utf8
        while let byte = rest.popFirst() {
            switch byte {
            case 0x25:
                guard let high = rest.popFirst().flatMap(nibble), let low = rest.popFirst().flatMap(nibble) else {
                    return nil
                }
                output.append(high << 4 | low)
            case 0x2B where plusIsSpace: output.append(0x20)
            default: output.append(byte)
            }
        }
        return String(validating: output, as: UTF8.self)
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    /// Name and value of each member; nil when one is broken or stands twice.
    static func query(_ text: Substring) -> [String: String]? {
        var members: [String: String] = [:]
        for pair in text.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decode(parts[0], plusIsSpace: true),
                let value = parts.count > 1 ? decode(parts[1], plusIsSpace: true) : "",
                members.updateValue(value, forKey: name) == nil
            else { return nil }
        }
        return members
    }
}
