import Base
import Model

/// What a daemon reads from its configuration file: one JSON object, every field optional, all of them in one list.
public protocol ServiceConfig: Hashable, Sendable {
    /// Every field at its default.
    init()
    static var options: [ConfigOption<Self>] { get }
    /// Of the schema.
    static var title: String { get }
}

/// A configuration that is not taken, with its place.
public struct ConfigError: CodedError, Equatable {
    public var message: String
    public var hint: String?
    public var code: String { "config.invalid" }
    public var exitStatus: ExitStatus { .configuration }

    public init(_ message: String, hint: String? = nil) {
        self.message = message
        self.hint = hint
    }
}

extension ServiceConfig {
    /// Bytes of a configuration file.
    public static var sizeLimit: Int { 1 << 20 }

    public static func read(_ path: String, fileSystem: FileSystem = FileSystem()) throws(ConfigError) -> Self {
        let bytes: [UInt8]
        do throws(FileSystemError) {
            bytes = try fileSystem.read(path, limit: sizeLimit)
        } catch {
            throw ConfigError(error.message, hint: error.hint)
        }
        return try decode(bytes, name: path)
    }

    /// Reads a configuration strictly: an unknown field, a wrong type or a value out of range is refused with its line.
    public static func decode(_ bytes: [UInt8], name: String) throws(ConfigError) -> Self {
        let document: JSONValue
        do throws(JSONError) {
            document = try JSONValue(
                parsing: bytes, limits: JSONLimits(size: sizeLimit, depth: 8, literalControls: false))
        } catch {
            throw ConfigError("\(name): \(error.message)", hint: "the file is one JSON object")
        }
        guard case .object(let members) = document else {
            throw ConfigError("\(name):1: the file is not a JSON object")
        }
        var config = Self()
        let reader = ConfigReader<Self>(name: name, lines: JSONLines(bytes))
        try reader.read(members, below: [], into: &config)
        return config
    }

    /// The configuration as a document with every field, for `--print-config` and the default file.
    public var json: JSONValue {
        var root: [String: JSONValue] = [:]
        for option in Self.options {
            let value = option.value(in: self)
            if option.path.count == 1 {
                root[option.path[0]] = value
            } else {
                var section = root[option.path[0]]?.object ?? [:]
                section[option.path[1]] = value
                root[option.path[0]] = .object(section)
            }
        }
        return .object(root)
    }
}

private struct ConfigReader<Config: ServiceConfig> {
    let name: String
    let lines: JSONLines

    func read(_ members: JSONObject, below prefix: [String], into config: inout Config) throws(ConfigError) {
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            let path = prefix + [key]
            // The schema's address may stand in the file, for editors.
            if path == ["$schema"] { continue }
            if let option = Config.options.first(where: { $0.path == path }) {
                try set(option, value, &config)
            } else if Config.options.contains(where: { $0.path.starts(with: path) }) {
                guard case .object(let section) = value else { throw refuse(path, "is not an object") }
                try read(section, below: path, into: &config)
            } else {
                throw refuse(path, "is no field of the configuration", hint: hint(for: path))
            }
        }
    }

    private func set(_ option: ConfigOption<Config>, _ value: JSONValue, _ config: inout Config) throws(ConfigError) {
        switch (option.kind, value) {
        case (.path(let key), .string(let text)):
            guard text.hasPrefix("/"), text.utf8.count < 4096 else {
                throw refuse(option.path, "is not an absolute path")
            }
            config[keyPath: key] = text
        case (.text(let key), .string(let text)): config[keyPath: key] = text
        case (.integer(let key, let range), .integer(let number)):
            guard let number = Int(exactly: number), range.contains(number) else {
                throw refuse(option.path, "is not between \(range.lowerBound) and \(range.upperBound)")
            }
            config[keyPath: key] = number
        case (.size(let key, let range), .integer(let number)):
            guard range.contains(number) else {
                throw refuse(option.path, "is not between \(range.lowerBound) and \(range.upperBound) bytes")
            }
            config[keyPath: key] = number
        case (.windows(let key), .array(let values)):
            guard values.count <= MaintenanceWindow.countLimit else {
                throw refuse(option.path, "has more than \(MaintenanceWindow.countLimit) windows")
            }
            var windows: [MaintenanceWindow] = []
            for value in values {
                guard let window = value.string.flatMap(MaintenanceWindow.init) else {
                    throw refuse(option.path, "has \(value.string ?? "a value") for a window")
                }
                windows.append(window)
            }
            config[keyPath: key] = windows
        case (.flag(let key), .bool(let flag)): config[keyPath: key] = flag
        case (.choice(let choices, _, let set), .string(let text)):
            guard choices.contains(text) else {
                throw refuse(option.path, "is not one of \(choices.joined(separator: ", "))")
            }
            set(&config, text)
        default: throw refuse(option.path, "is not \(option.typeName)")
        }
    }

    private func refuse(_ path: [String], _ why: String, hint: String? = nil) -> ConfigError {
        let line = lines.line(of: path)
        return ConfigError(
            "\(name):\(line): \"\(path.joined(separator: "."))\" \(why)",
            hint: hint ?? Config.options.first { $0.path == path }?.help)
    }

    /// The known field that is nearest to a misspelt one.
    private func hint(for path: [String]) -> String {
        let wrong = path.joined(separator: ".").lowercased()
        let known = Config.options.map { $0.path.joined(separator: ".") }
        let near = known.map { ($0, Self.distance(Array($0.lowercased().utf8), Array(wrong.utf8))) }.min { $0.1 < $1.1 }
        if let near, near.1 <= 3 { return "did you mean \"\(near.0)\"?" }
        return "known fields: \(known.joined(separator: ", "))"
    }

    /// Levenshtein distance; both texts are short.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (index, byte) in left.prefix(128).enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in 0..<right.count {
                let above = row[column + 1]
                row[column + 1] = min(above + 1, row[column] + 1, diagonal + (byte == right[column] ? 0 : 1))
                diagonal = above
            }
        }
        return row[right.count]
    }
}

extension ConfigOption where Config: ServiceConfig {
    var typeName: String {
        switch kind {
        case .path: "an absolute path"
        case .text: "a string"
        case .integer: "a whole number"
        case .size: "a number of bytes"
        case .windows: "a list of windows"
        case .flag: "true or false"
        case .choice(let choices, _, _): "one of \(choices.joined(separator: ", "))"
        }
    }

    func value(in config: Config) -> JSONValue {
        switch kind {
        case .path(let key), .text(let key): .string(config[keyPath: key])
        case .integer(let key, _): .integer(Int64(config[keyPath: key]))
        case .size(let key, _): .integer(config[keyPath: key])
        case .windows(let key): .array(config[keyPath: key].map { .string($0.text) })
        case .flag(let key): .bool(config[keyPath: key])
        case .choice(_, let get, _): .string(get(config))
        }
    }

    var schema: JSONValue {
        var members: [String: JSONValue] = ["description": .string(help), "default": value(in: Config())]
        switch kind {
        case .path:
            members["type"] = "string"
            members["pattern"] = "^/"
        case .text: members["type"] = "string"
        case .integer(_, let range):
            members["type"] = "integer"
            members["minimum"] = .integer(Int64(range.lowerBound))
            members["maximum"] = .integer(Int64(range.upperBound))
        case .size(_, let range):
            members["type"] = "integer"
            members["minimum"] = .integer(range.lowerBound)
            members["maximum"] = .integer(range.upperBound)
        case .windows:
            members["type"] = "array"
            members["items"] = ["type": "string", "maxLength": .integer(Int64(MaintenanceWindow.textLimit))]
            members["maxItems"] = .integer(Int64(MaintenanceWindow.countLimit))
        case .flag: members["type"] = "boolean"
        case .choice(let choices, _, _):
            members["type"] = "string"
            members["enum"] = .array(choices.map { .string($0) })
        }
        return .object(members)
    }
}

extension ServiceConfig {
    /// JSON Schema (2020-12) of the configuration file, made from the same list as the loader.
    public static var schema: JSONValue {
        var root: [String: JSONValue] = [
            "$schema": ["type": "string", "description": "Address of this schema, for editors."]
        ]
        for option in Self.options {
            if option.path.count == 1 {
                root[option.path[0]] = option.schema
            } else {
                var section = root[option.path[0]]?["properties"]?.object ?? [:]
                section[option.path[1]] = option.schema
                root[option.path[0]] = [
                    "type": "object", "additionalProperties": false, "properties": .object(section),
                ]
            }
        }
        return [
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": .string(title),
            "type": "object", "additionalProperties": false, "properties": .object(root),
        ]
    }
}
