import Base
import Model
import ReleaseBundle
import SQLite

/// Why the last import was refused, until another one is taken.
public struct ImportRefusal: Sendable, Equatable {
    public var code: String
    public var message: String
    public var hint: String?

    public init(code: String, message: String, hint: String?) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    var json: JSONValue {
        ["code": .string(code), "message": .string(message), "hint": hint.map { .string($0) } ?? .null]
    }

    init?(_ value: JSONValue) {
        guard let code = value["code"]?.string, let message = value["message"]?.string else { return nil }
        self.init(code: code, message: message, hint: value["hint"]?.string)
    }
}

extension LayerSupply.Taken {
    /// Failures kept of one layer; each road can give at most a few.
    private static let failureLimit = 8

    var json: JSONValue {
        [
            "layer": .string(layer.description), "delta": delta.map { .string($0.description) } ?? .null,
            "base": base.map { .string($0.rawValue) } ?? .null, "read": .integer(read), "saved": .integer(saved),
            "resumedChapters": .integer(Int64(resumedChapters)),
            "failures": .array(failures.prefix(Self.failureLimit).map { .string($0) }),
        ]
    }

    /// For a person.
    var words: String {
        var words = "layer \(layer.short) "
        if let delta {
            words += "by delta \(delta.short) from \(base?.words ?? "nothing"), \(ByteCount(read)) read instead of \(ByteCount(whole))"
        } else {
            words += "whole, \(ByteCount(read)) read"
        }
        if resumedChapters > 0 { words += ", taken up after chapter \(resumedChapters)" }
        if !failures.isEmpty { words += ", after: \(failures.prefix(Self.failureLimit).joined(separator: "; "))" }
        return words
    }
}

extension Journal {
    private static let refusalKey = "import.refused"
    private static let supplyKey = "import.supply"
    private static let begunKey = "import.begun"
    /// Seconds for which what an import copied before it was cut off waits for the next one. A wall clock that jumps
    /// ends the wait early, which costs bytes and nothing else.
    static let resumableSeconds: Int64 = 7 * 86_400

    /// Records that an import was refused, as an event and for `why`.
    public func noteRefusal(_ refusal: ImportRefusal) throws {
        try database.transaction("journal.import") {
            try put(Self.refusalKey, refusal.json)
            try insertEvent(app: "", code: refusal.code, message: "import refused: \(refusal.message)")
        }
    }

    /// Records that an import begins to copy: until it has all, or a week has passed, its parts are kept.
    func noteBegun() throws {
        try database.transaction("journal.import") { try put(Self.begunKey, .integer(clock.now().seconds)) }
    }

    /// Whether an import was cut off that can go on where it stopped.
    public func hasResumableImport() throws -> Bool {
        guard let since = try note(Self.begunKey)?.integer else { return false }
        return (0...Self.resumableSeconds).contains(clock.now().seconds - since)
    }

    /// Records how the layers of a release came; what was refused before is over.
    func noteSupply(_ pinned: PinnedRelease, _ taken: [LayerSupply.Taken]) throws {
        guard try !taken.isEmpty || refusal() != nil || note(Self.begunKey) != nil else { return }
        try database.transaction("journal.import") {
            for key in [Self.refusalKey, Self.begunKey] {
                try database.run("DELETE FROM setting WHERE key = ?", .text(key))
            }
            guard !taken.isEmpty else { return }
            try put(
                Self.supplyKey,
                [
                    "release": .string(pinned.description), "app": .string(pinned.release.app),
                    "read": .integer(taken.reduce(0) { $0 + $1.read }),
                    "saved": .integer(taken.reduce(0) { $0 + $1.saved }), "layers": .array(taken.map(\.json)),
                ])
            for layer in taken {
                try insertEvent(
                    app: pinned.release.app, code: layer.delta == nil ? "import.whole" : "import.delta",
                    message: layer.words)
            }
        }
    }

    public func refusal() throws -> ImportRefusal? { try note(Self.refusalKey).flatMap { ImportRefusal($0) } }

    /// How the layers of the last import came; nil before the first.
    public func lastSupply() throws -> JSONValue? { try note(Self.supplyKey) }

    func put(_ key: String, _ value: JSONValue) throws {
        try database.run(
            "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            .text(key), .text(String(decoding: try value.serialized(.compact), as: UTF8.self)))
    }

    func note(_ key: String) throws -> JSONValue? {
        let text = try database.first("SELECT value FROM setting WHERE key = ?", .text(key)) { try $0.text(0) }
        return try text.map { try JSONValue(parsing: Array($0.utf8)) }
    }
}
