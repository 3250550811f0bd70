import Base
import Model
import NIOCore

/// Reads typed fields from an answer's JSON, naming the field in every error.
///
/// The engine writes `null` for empty lists and objects, and leaves fields out freely; only what a
/// caller cannot do without is required.
struct Fields: Sendable {
    var value: JSONValue
    var operation: String
    var path: String

    init(_ value: JSONValue, operation: String, path: String = "") {
        self.value = value
        self.operation = operation
        self.path = path
    }

    private func malformed(_ key: String, _ expected: String) -> EngineError {
        EngineError(
            .malformed, operation: operation,
            detail:
                "field `\(path.isEmpty ? key : path + "." + key)` of the engine's answer is not \(expected)"
        )
    }

    func string(_ key: String) throws(EngineError) -> String {
        guard let text = value[key]?.string else { throw malformed(key, "a string") }
        return text
    }
    func optionalString(_ key: String) -> String? {
        guard let text = value[key]?.string, !text.isEmpty else { return nil }
        return text
    }
    func integer(_ key: String) throws(EngineError) -> Int64 {
        guard let number = value[key]?.integer else { throw malformed(key, "an integer") }
        return number
    }
    func integer(_ key: String, default fallback: Int64) -> Int64 { value[key]?.integer ?? fallback }
    func bool(_ key: String) -> Bool { value[key]?.bool ?? false }

    func strings(_ key: String) throws(EngineError) -> [String] {
        switch value[key] {
        case nil, .null?: return []
        case .array(let elements)?:
            var output: [String] = []
            for element in elements {
                guard let text = element.string else { throw malformed(key, "a list of strings") }
                output.append(text)
            }
            return output
        default: throw malformed(key, "a list")
        }
    }

    /// An object of strings; other values are left out.
    func stringMap(_ key: String) -> [String: String] {
        (value[key]?.object ?? [:]).compactMapValues(\.string)
    }

    func fields(_ key: String) throws(EngineError) -> Fields {
        guard let member = value[key], member.object != nil else { throw malformed(key, "an object") }
        return Fields(member, operation: operation, path: path.isEmpty ? key : path + "." + key)
    }
    func optionalFields(_ key: String) -> Fields? {
        guard let member = value[key], member.object != nil else { return nil }
        return Fields(member, operation: operation, path: path.isEmpty ? key : path + "." + key)
    }
    func list(_ key: String) -> [Fields] {
        (value[key]?.array ?? []).map {
            Fields($0, operation: operation, path: path.isEmpty ? key : path + "." + key)
        }
    }
    func members(_ key: String) -> [(key: String, fields: Fields)] {
        (value[key]?.object ?? [:]).sorted { $0.key < $1.key }.map {
            ($0.key, Fields($0.value, operation: operation, path: path.isEmpty ? key : path + "." + key))
        }
    }
}

extension Answer {
    /// Parses the body as one JSON document. Numbers beyond 64 signed bits (the engine writes
    /// 2^64-1 for "no limit") are read as floating point.
    func json() throws(EngineError) -> JSONValue {
        do {
            return try JSONValue(
                parsing: body.readableBytesView,
                limits: JSONLimits(
                    size: EngineClient.answerLimit, count: EngineClient.answerValueLimit, wideIntegers: true))
        } catch {
            throw EngineError(.malformed, operation: operation, detail: error.message, status: status)
        }
    }

    func fields() throws(EngineError) -> Fields { Fields(try json(), operation: operation) }

    func list() throws(EngineError) -> [Fields] {
        switch try json() {
        case .array(let elements): return elements.map { Fields($0, operation: operation) }
        case .null: return []
        default:
            throw EngineError(
                .malformed, operation: operation, detail: "the engine's answer is not a list")
        }
    }
}
