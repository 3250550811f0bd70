import Base
import Model

/// An error as a hub answers it: problem details (RFC 9457) with a stable type.
public struct Problem: Error, Sendable, Equatable {
    public static let sizeLimit = 64 << 10
    public static let typePrefix = "urn:holdfast:problem:"

    /// The last part of the type, such as `token-expired`: scripts and devices match on it.
    public var name: String
    public var title: String
    /// HTTP status.
    public var status: Int
    public var detail: String
    /// The request's id.
    public var instance: String
    /// What to do next; empty when there is nothing to say.
    public var hint: String
    /// Seconds; also the `Retry-After` field. Nil when trying again is of no use by itself.
    public var retryAfter: Int64?

    public init(
        _ name: String, status: Int, title: String, detail: String = "", instance: String = "", hint: String = "",
        retryAfter: Int64? = nil
    ) {
        self.name = name
        self.title = title
        self.status = status
        self.detail = detail
        self.instance = instance
        self.hint = hint
        self.retryAfter = retryAfter
    }

    public var type: String { Self.typePrefix + name }

    public var bytes: [UInt8] {
        var members: [String: JSONValue] = [
            "type": .string(type), "title": .string(title), "status": .integer(Int64(status)),
        ]
        if !detail.isEmpty { members["detail"] = .string(detail) }
        if !instance.isEmpty { members["instance"] = .string(instance) }
        if !hint.isEmpty { members["hint"] = .string(hint) }
        if let retryAfter { members["retry_after_s"] = .integer(retryAfter) }
        // Strings and integers: the compact form cannot fail.
        return (try? JSONValue.object(members).serialized(.compact)) ?? []
    }

    /// Reads a problem; nil when the bytes are none (a proxy's page, say).
    public init?(parsing bytes: [UInt8]) {
        let limits = JSONLimits(size: Self.sizeLimit, depth: 8, count: 1_000, literalControls: false)
        guard bytes.count <= Self.sizeLimit, let value = try? JSONValue(parsing: bytes, limits: limits),
            let type = value["type"]?.string, type.hasPrefix(Self.typePrefix), let status = value["status"]?.integer,
            (400...599).contains(status)
        else { return nil }
        self.init(
            String(type.dropFirst(Self.typePrefix.count)), status: Int(status), title: value["title"]?.string ?? "",
            detail: value["detail"]?.string ?? "", instance: value["instance"]?.string ?? "",
            hint: value["hint"]?.string ?? "", retryAfter: value["retry_after_s"]?.integer)
    }
}
