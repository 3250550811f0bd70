import Base
import NIOCore
import Synchronization

/// A piece of a container's output. A long line comes in several pieces.
public struct LogChunk: Sendable, Hashable {
    public enum Stream: UInt8, Sendable { case stdin, stdout, stderr }
    public var stream: Stream
    public var bytes: [UInt8]
}

public struct LogOptions: Sendable, Hashable {
    /// Lines from the end; nil for all.
    public var tail: Int?
    /// Go on with what is yet to be written, until the container ends or the task is cancelled.
    public var follow: Bool
    /// Begin each line with its RFC 3339 time.
    public var timestamps: Bool
    /// Seconds since 1970; nil from the beginning.
    public var since: Int64?

    public init(tail: Int? = nil, follow: Bool = false, timestamps: Bool = false, since: Int64? = nil) {
        self.tail = tail
        self.follow = follow
        self.timestamps = timestamps
        self.since = since
    }
}

extension EngineClient {
    /// Gives a container's output to `consume`, one piece at a time, with back-pressure.
    ///
    /// Memory is bounded by the pieces the connection delivers, whatever the length of a line.
    public func containerLogs(
        _ container: String, _ options: LogOptions = LogOptions(),
        consume: @escaping @Sendable (LogChunk) async throws -> Void
    ) async throws {
        let operation = "read the logs of container \(container)"
        let details = try await inspectContainer(container)
        var query = [
            (name: "stdout", value: "1"), (name: "stderr", value: "1"),
            (name: "follow", value: options.follow ? "1" : "0"),
            (name: "timestamps", value: options.timestamps ? "1" : "0"),
            (name: "tail", value: options.tail.map { "\(max(0, $0))" } ?? "all"),
        ]
        if let since = options.since { query.append((name: "since", value: "\(since)")) }
        let path = "/containers/" + (try Self.component(container, operation)) + "/logs"
        // Only one piece is worked on at a time; the lock is never contended.
        let demultiplexer = Slot<LogDemultiplexer>(
            LogDemultiplexer(raw: details.tty, operation: operation))
        try await stream(
            .get, path, query: query, pace: options.follow ? .unlimited : .transfer, operation
        ) { piece in
            guard var state = demultiplexer.value else { return }
            let chunks = try state.feed(Array(piece.readableBytesView))
            demultiplexer.set(state)
            for chunk in chunks { try await consume(chunk) }
        }
        if let state = demultiplexer.value { try state.finish() }
    }
}

/// Takes apart the engine's multiplexed stream: frames of an 8-byte header (stream, three zeros,
/// big-endian length) and a payload. Source: Docker Engine API, "Attach to a container, stream format".
struct LogDemultiplexer: Sendable {
    private static let headerLength = 8
    /// A terminal's output has no frames.
    let raw: Bool
    let operation: String
    private var header: [UInt8] = []
    private var stream = LogChunk.Stream.stdout
    private var remaining = 0

    init(raw: Bool, operation: String) {
        self.raw = raw
        self.operation = operation
    }

    /// Payload pieces in `bytes`; a frame cut by the end of `bytes` goes on with the next call.
    mutating func feed(_ bytes: [UInt8]) throws(EngineError) -> [LogChunk] {
        if raw { return bytes.isEmpty ? [] : [LogChunk(stream: .stdout, bytes: bytes)] }
        var output: [LogChunk] = []
        var position = 0
        while position < bytes.count {
            if remaining == 0 {
                let count = min(Self.headerLength - header.count, bytes.count - position)
                header += bytes[position..<position + count]
                position += count
                if header.count == Self.headerLength { try begin() }
            } else {
                let count = min(remaining, bytes.count - position)
                output.append(LogChunk(stream: stream, bytes: Array(bytes[position..<position + count])))
                position += count
                remaining -= count
            }
        }
        return output
    }

    private mutating func begin() throws(EngineError) {
        guard let stream = LogChunk.Stream(rawValue: header[0]), header[1] == 0, header[2] == 0,
            header[3] == 0
        else {
            throw EngineError(
                .malformed, operation: operation, detail: "a log frame begins with \(Hex.encode(header))")
        }
        self.stream = stream
        remaining = header[4...].reduce(0) { $0 << 8 | Int($1) }
        header = []
    }

    /// Throws when the stream ended within a frame.
    func finish() throws(EngineError) {
        guard remaining == 0, header.isEmpty else {
            throw EngineError(.truncated, operation: operation, detail: "the log ended within a frame")
        }
    }
}
