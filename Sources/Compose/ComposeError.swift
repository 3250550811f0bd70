public import Base

/// A place in a Compose file or an environment file.
public struct SourceLocation: Hashable, Sendable, CustomStringConvertible {
    public var file: String
    /// 1-based.
    public var line: Int
    /// 1-based, in Unicode scalars; 0 when the whole line is meant.
    public var column: Int

    public init(file: String, line: Int, column: Int) {
        self.file = file
        self.line = line
        self.column = column
    }

    public var description: String { column > 0 ? "\(file):\(line):\(column)" : "\(file):\(line)" }
}

/// Why a Compose file cannot become a release.
public struct ComposeError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// Not YAML, or YAML that is no Compose file.
        case yaml
        /// Larger, deeper or with more values than the limits.
        case limit
        /// Not in the Compose Specification.
        case unknownField = "unknown-field"
        /// In the Compose Specification, but nothing a device can be told.
        case unsupportedField = "unsupported-field"
        case type, value, missing
        /// A `${…}` that is malformed or whose variable must be set and is not.
        case variable
        /// A service, network, volume, config or secret that the file does not define.
        case reference
        case cycle
        /// The same host port, mount point or name twice.
        case duplicate
        /// A file the Compose file names cannot be read.
        case file
    }
    public var reason: Reason
    public var location: SourceLocation
    /// Where in the document: `services.web.ports[0]`; empty for the document itself.
    public var path: String
    public var detail: String
    public var hint: String?

    public init(_ reason: Reason, _ location: SourceLocation, path: String = "", _ detail: String, hint: String? = nil)
    {
        self.reason = reason
        self.location = location
        self.path = path
        self.detail = detail
        self.hint = hint
    }

    public var code: String { "compose.\(reason.rawValue)" }
    public var message: String { path.isEmpty ? "\(location): \(detail)" : "\(location): \(path): \(detail)" }
    public var exitStatus: ExitStatus { reason == .file ? .noInput : .dataError }
}

/// Something a person should know, which does not stop the build.
public struct ComposeWarning: Hashable, Sendable, CustomStringConvertible {
    public var location: SourceLocation
    public var message: String
    public var description: String { "\(location): \(message)" }
}
