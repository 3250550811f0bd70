import Base
import HubCore
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import Model
import NIOHTTP1

/// A request to the management API, its caller known and its path read.
public struct ManagementRequest: Sendable {
    /// Records of a page unless the caller says how many, and at most.
    static let pageSize = 100
    static let pageLimit = 500

    public let request: HTTPRequest
    let parameters: [String: String]
    let query: [String: String]
    /// Nil on routes without a token.
    let claims: OperatorClaims?
    public internal(set) var body: [UInt8] = []

    public var id: String { request.id }
    var caller: OperatorRules.Caller { OperatorRules.Caller(actor: actor, scopes: claims?.scopes ?? []) }
    var actor: String { claims.map { "operator:\($0.name)" } ?? "anonymous" }

    func parameter(_ name: String) throws(Problem) -> String {
        guard let value = parameters[name] else { throw .malformed("the path has no \(name)") }
        return value
    }

    /// The body as one JSON object, with no other members than `allowed`: a misspelt one is not taken for absent.
    func document(_ allowed: Set<String>) throws(Problem) -> JSONValue {
        let limits = JSONLimits(size: ManagementRoute.bodyLimit, depth: 12, count: 5_000, literalControls: false)
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: body, limits: limits)
        } catch {
            throw .malformed("the body is no JSON: \(error.message)")
        }
        guard let members = value.object else { throw .malformed("the body is no JSON object") }
        if let stranger = members.keys.filter({ !allowed.contains($0) }).min() {
            throw .malformed(
                "\"\(stranger.prefix(64))\" is no member; known: \(allowed.sorted().joined(separator: ", "))")
        }
        return value
    }

    func labels(_ value: JSONValue?) throws -> Labels? {
        guard let value else { return nil }
        guard let members = value.object, members.values.allSatisfy({ $0.string != nil }) else {
            throw Problem.malformed("labels are an object of strings")
        }
        return try Labels(members.compactMapValues(\.string))
    }

    // MARK: Pages

    struct Page: Sendable {
        var selector: Selector
        var cursor: String?
        var limit: Int
    }

    /// `selector`, `cursor` and `limit` of a list.
    func page() throws -> Page {
        try allowQuery(["selector", "cursor", "limit"])
        var limit = Self.pageSize
        if let text = query["limit"] {
            guard let number = Int(text), (1...Self.pageLimit).contains(number) else {
                throw Problem.malformed("limit is 1 to \(Self.pageLimit)")
            }
            limit = number
        }
        var cursor: String?
        if let text = query["cursor"] {
            guard let bytes = Base64.decode(text, .url), bytes.count <= HubStoreLimits.idLength,
                let id = String(validating: bytes, as: UTF8.self), !id.utf8.contains(0)
            else { throw Problem.malformed("cursor is not one that this hub gave") }
            cursor = id
        }
        return Page(selector: try Selector(query["selector"] ?? ""), cursor: cursor, limit: limit)
    }

    func allowQuery(_ names: Set<String>) throws(Problem) {
        if let stranger = query.keys.filter({ !names.contains($0) }).min() {
            throw .malformed("\"\(stranger.prefix(64))\" is no query parameter here")
        }
    }

    /// A whole number of the query.
    func number(_ name: String, in range: ClosedRange<Int64>, standard: Int64) throws(Problem) -> Int64 {
        guard let text = query[name] else { return standard }
        guard let value = Int64(text), range.contains(value) else {
            throw .malformed("\(name) is \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    // MARK: Preconditions

    /// The version that the caller has seen, of `If-Match`; nil without the field, and for `*`, which any version is.
    func expectedVersion() throws(Problem) -> Int64? {
        guard let field = request.headers.first(name: "If-Match"), field != "*" else { return nil }
        guard field.hasPrefix("\"v"), field.hasSuffix("\""), field.utf8.count > 3,
            let version = Int64(field.dropFirst(2).dropLast())
        else { throw .precondition }
        return version
    }

    /// Throws unless the caller has seen this version, or does not say.
    func requireMatch(_ version: Int64) throws(Problem) {
        if let expected = try expectedVersion(), expected != version { throw .precondition }
    }

    /// Throws when the caller asks for a record that is there, in any version: there is none.
    func requireNoMatch() throws(Problem) {
        if request.headers.contains(name: "If-Match") { throw .precondition }
    }

    static func tag(_ version: Int64) -> String { "\"v\(version)\"" }

    var idempotencyKey: IdempotencyKey? {
        get throws(HubError) {
            guard let text = request.headers.first(name: "Idempotency-Key") else { return nil }
            return try IdempotencyKey(text)
        }
    }
}

extension HTTPAnswer {
    /// A JSON document, with the version of its record as entity tag.
    static func json(_ value: JSONValue, status: HTTPResponseStatus = .ok, version: Int64? = nil) -> HTTPAnswer {
        // Our own documents have no number that JSON cannot write.
        var answer = HTTPAnswer(status, type: DeviceHeader.json, (try? value.serialized(.compact)) ?? [])
        if let version { answer.headers.add(name: "ETag", value: ManagementRequest.tag(version)) }
        answer.headers.add(name: "Cache-Control", value: "no-store")
        return answer
    }

    static func page(_ items: [JSONValue], next: String?) -> HTTPAnswer {
        .json([
            "items": .array(items), "next": next.map { .string(Base64.encode(Array($0.utf8), .url)) } ?? .null,
        ])
    }
}
