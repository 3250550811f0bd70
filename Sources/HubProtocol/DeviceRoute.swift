import Base
import Trust

/// The requests that a hub answers inside its tunnel: plain HTTP/1.1, since WireGuard already says who speaks.
///
/// One list for both sides: a device writes ``path`` into its request line, a hub reads it with ``init(method:path:)``.
public enum DeviceRoute: Hashable, Sendable {
    /// TCP port on the hub's tunnel address.
    public static let port: UInt16 = 8470
    /// Bytes of a request's path, query included.
    public static let pathLimit = 512

    /// `POST /v1/enrol`: an ``EnrolmentRequest`` envelope → ``EnrolmentAnswer``; from a token's temporary address only.
    case enrol
    /// `POST /v1/device/token`: a ``DeviceTokenRequest`` envelope → ``DeviceTokenAnswer``. All routes below need the token.
    case token
    /// `GET /v1/device/state` → ``DeviceStateAnswer``, or 304.
    case state
    /// `GET /v1/device/metadata/{repository}/{file}`: TUF metadata under the names of the repository's folder.
    case metadata(RepositoryName, file: String)
    /// `GET` or `HEAD /v1/device/blobs/sha256/{hex}`; `Range`, `If-Range`, `If-None-Match`.
    case blob(Digest)
    /// `POST /v1/device/reports`: envelopes, one a line → ``ReportAnswer``.
    case reports
    /// `POST /v1/device/keys`: a ``KeyChangeRequest`` envelope → ``KeyChangeAnswer``.
    case keys
    /// `GET /v1/device/descriptor` → the signed hub descriptor.
    case descriptor
    /// `GET /v1/device/checkpoint` → the audit log's signed note.
    case checkpoint
    /// `GET /v1/device/consistency?from=N&to=M` → ``ConsistencyAnswer``.
    case consistency(from: Int64, to: Int64)

    public enum Method: String, Sendable { case get = "GET", head = "HEAD", post = "POST" }

    public var methods: [Method] {
        switch self {
        case .enrol, .token, .reports, .keys: [.post]
        case .blob: [.get, .head]
        default: [.get]
        }
    }

    public var path: String {
        switch self {
        case .enrol: "/v1/enrol"
        case .token: "/v1/device/token"
        case .state: "/v1/device/state"
        case .metadata(let repository, let file): "/v1/device/metadata/\(repository.rawValue)/\(file)"
        case .blob(let digest): "/v1/device/blobs/sha256/\(digest.hex)"
        case .reports: "/v1/device/reports"
        case .keys: "/v1/device/keys"
        case .descriptor: "/v1/device/descriptor"
        case .checkpoint: "/v1/device/checkpoint"
        case .consistency(let from, let to): "/v1/device/consistency?from=\(from)&to=\(to)"
        }
    }

    /// Nil for any other path. Percent escapes are never due here and not undone.
    public init?(path: String) {
        guard path.utf8.count <= Self.pathLimit else { return nil }
        switch path {
        case "/v1/enrol": self = .enrol
        case "/v1/device/token": self = .token
        case "/v1/device/state": self = .state
        case "/v1/device/reports": self = .reports
        case "/v1/device/keys": self = .keys
        case "/v1/device/descriptor": self = .descriptor
        case "/v1/device/checkpoint": self = .checkpoint
        default:
            guard let route = Self.parameterised(path) else { return nil }
            self = route
        }
    }

    private static func parameterised(_ path: String) -> DeviceRoute? {
        if let hex = path.dropPrefix("/v1/device/blobs/sha256/") {
            return Digest(hex: String(hex)).map { .blob($0) }
        }
        if let rest = path.dropPrefix("/v1/device/metadata/") {
            let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count == 2, let repository = RepositoryName(rawValue: String(parts[0])),
                isMetadataFile(parts[1])
            else { return nil }
            return .metadata(repository, file: String(parts[1]))
        }
        if let query = path.dropPrefix("/v1/device/consistency?from=") {
            let parts = query.split(separator: "&", omittingEmptySubsequences: false)
            guard parts.count == 2, let from = number(parts[0]), let to = parts[1].dropPrefix("to=").flatMap(number)
            else { return nil }
            return .consistency(from: from, to: to)
        }
        return nil
    }

    /// `timestamp.json`, `7.targets.json`: one name without a slash, percent escapes as Trust writes them.
    static func isMetadataFile(_ name: Substring) -> Bool {
        name.hasSuffix(".json") && !name.hasPrefix(".") && name.utf8.count <= 128
            && name.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20)
                    || [0x25, 0x2D, 0x2E, 0x5F, 0x7E].contains($0)
            }
    }

    /// Decimal, as we write it.
    private static func number(_ text: Substring) -> Int64? {
        Int64(text).flatMap { $0 >= 0 && String($0) == text ? $0 : nil }
    }
}

extension StringProtocol {
    /// What follows a prefix; nil without it.
    fileprivate func dropPrefix(_ prefix: String) -> Substring? where SubSequence == Substring {
        hasPrefix(prefix) ? self[index(startIndex, offsetBy: prefix.count)...] : nil
    }
}

/// Header fields and media types of the device API beyond those of HTTP itself.
public enum DeviceHeader {
    /// On every answer to `state`, 304 too: seconds with up to three decimals until the device polls next.
    public static let nextPoll = "Holdfast-Next-Poll-S"
    /// With it: the hub's interval in seconds.
    public static let pollInterval = "Holdfast-Poll-Interval-S"
    /// In a request for `state`: 32 hex digits that a freshness ticket shall vouch for. The answer is then never 304.
    public static let freshnessNonce = "Holdfast-Freshness-Nonce"
    /// In a request: `updating` while the device carries out a release, so that a busy hub lets it through.
    public static let activity = "Holdfast-Activity"
    public static let updating = "updating"
    /// In a request for `state`: `wait=N` (RFC 7240). A hub with room holds a 304 back for up to N seconds.
    public static let prefer = "Prefer"
    /// On a 304 that was held back: `wait=N`.
    public static let preferenceApplied = "Preference-Applied"
    /// On every answer: names the request in the hub's log.
    public static let requestID = "Holdfast-Request-Id"

    public static let json = "application/json"
    public static let envelope = "application/vnd.dsse+json"
    public static let reports = "application/vnd.holdfast.reports+jsonl"
    public static let problem = "application/problem+json"
    public static let note = "text/plain; charset=utf-8"
    public static let blob = "application/octet-stream"

    /// Seconds that a device may ask a hub to wait.
    public static let longestWait = 60
}
