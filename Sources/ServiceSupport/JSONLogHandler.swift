import Base
import Glibc
import Logging
import Model

/// Writes one JSON object per line to standard error: `time`, `level`, `message`, and the metadata as members.
public struct JSONLogHandler: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    private let now: @Sendable () -> Timestamp

    public init(level: Logger.Level, clock: SystemClock) {
        logLevel = level
        now = clock.now
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var members: [String: JSONValue] = [:]
        for (key, value) in metadata.merging(event.metadata ?? [:], uniquingKeysWith: { $1 }) {
            members[key] = .string(value.description)
        }
        members["time"] = .string(now().description)
        members["level"] = .string(event.level.rawValue)
        members["message"] = .string(event.message.description)
        guard let bytes = try? JSONValue.object(members).serialized(.compact) else { return }
        let output = bytes + [0x0A]
        // One write per line, so that lines of several tasks do not mix. A lost line is not worth an error.
        _ = output.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

/// Least severe line that is written, as configurations name it.
public enum LogLevel: String, Sendable, CaseIterable { case debug, info, notice, warning, error }

extension Logger.Level {
    public init(_ level: LogLevel) {
        switch level {
        case .debug: self = .debug
        case .info: self = .info
        case .notice: self = .notice
        case .warning: self = .warning
        case .error: self = .error
        }
    }
}
