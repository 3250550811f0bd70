import Base
import Model
import NIOCore

/// Something that happened to a container, image, network or volume.
public struct EngineEvent: Sendable, Hashable {
    /// `container`, `image`, `network`, `volume`, `daemon`.
    public var kind: String
    /// `start`, `die`, `health_status: unhealthy`, ….
    public var action: String
    public var subject: String
    /// Labels and details.
    public var attributes: [String: String]
    /// Nanoseconds since 1970.
    public var time: Int64
}

extension EngineClient {
    /// Largest line of a JSON stream, in bytes.
    static let lineLimit = 1 << 20

    /// Gives the engine's events to `consume` until the engine ends the stream or the task is cancelled.
    ///
    /// - Parameters:
    ///   - filters: `["type": ["container"], "label": ["io.example=1"]]`.
    ///   - since, until: seconds since 1970; with `until` in the past the stream ends by itself.
    public func events(
        filters: [String: [String]] = [:], since: Int64? = nil, until: Int64? = nil,
        consume: @escaping @Sendable (EngineEvent) async throws -> Void
    ) async throws {
        let operation = "follow the engine's events"
        var query = [(name: "filters", value: try Self.filters(filters, operation))]
        if let since { query.append((name: "since", value: "\(since)")) }
        if let until { query.append((name: "until", value: "\(until)")) }
        try await streamLines(.get, "/events", query: query, pace: .unlimited, operation) { document in
            try await consume(try EngineEvent(Fields(document, operation: operation)))
        }
    }

    /// A streamed call whose answer is JSON documents, one a line.
    func streamLines(
        _ method: EngineRequest.Method, _ path: String, query: [(name: String, value: String)] = [],
        body: EngineRequest.Body = .none, pace: Pace, _ operation: String,
        consume: @escaping @Sendable (JSONValue) async throws -> Void
    ) async throws {
        let splitter = Slot<LineSplitter>(LineSplitter(operation: operation))
        try await stream(method, path, query: query, body: body, pace: pace, operation) { piece in
            guard var state = splitter.value else { return }
            let lines = try state.feed(Array(piece.readableBytesView))
            splitter.set(state)
            for line in lines { try await consume(try Self.document(line, operation)) }
        }
        if let rest = splitter.value?.rest { try await consume(try Self.document(rest, operation)) }
    }

    private static func document(_ line: [UInt8], _ operation: String) throws(EngineError)
        -> JSONValue
    {
        do {
            return try JSONValue(parsing: line, limits: JSONLimits(size: lineLimit, wideIntegers: true))
        } catch {
            throw EngineError(.malformed, operation: operation, detail: error.message)
        }
    }
}

extension EngineEvent {
    init(_ fields: Fields) throws(EngineError) {
        kind = try fields.string("Type")
        action = try fields.string("Action")
        let actor = fields.optionalFields("Actor")
        subject = actor?.optionalString("ID") ?? ""
        attributes = actor?.stringMap("Attributes") ?? [:]
        time = fields.integer("timeNano", default: 0)
    }
}

/// Cuts bytes into lines of bounded length; empty lines are dropped.
struct LineSplitter: Sendable {
    let operation: String
    private var pending: [UInt8] = []

    init(operation: String) { self.operation = operation }

    /// What follows the last newline, nil when there is nothing but white space.
    var rest: [UInt8]? {
        pending.contains { $0 != 0x0D && $0 != 0x0A && $0 != 0x20 } ? pending : nil
    }

    mutating func feed(_ bytes: [UInt8]) throws(EngineError) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        var start = 0
        while let end = bytes[start...].firstIndex(of: 0x0A) {
            let line = pending + bytes[start..<end]
            pending = []
            if line.contains(where: { $0 != 0x0D && $0 != 0x20 }) { lines.append(line) }
            start = end + 1
        }
        guard pending.count + bytes.count - start <= EngineClient.lineLimit else {
            throw EngineError(
                .tooLarge, operation: operation,
                detail: "a line is longer than \(ByteCount(EngineClient.lineLimit))")
        }
        pending += bytes[start...]
        return lines
    }
}
