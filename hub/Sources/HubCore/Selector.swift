/// Chooses things by their labels: requirements joined by commas, all of which must hold.
///
/// `key=value` (or `==`), `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key`, `!key`. As in Kubernetes a
/// thing without the key meets `!=` and `notin`. The empty selector chooses everything.
public struct Selector: Hashable, Sendable {
    public enum Requirement: Hashable, Sendable {
        case isIn(key: String, values: [String])
        case notIn(key: String, values: [String])
        case exists(key: String)
        case absent(key: String)

        func matches(_ labels: [String: String]) -> Bool {
            switch self {
            case .isIn(let key, let values): labels[key].map(values.contains) ?? false
            case .notIn(let key, let values): labels[key].map { !values.contains($0) } ?? true
            case .exists(let key): labels[key] != nil
            case .absent(let key): labels[key] == nil
            }
        }
    }
    public let requirements: [Requirement]

    public static let everything = Selector(requirements: [])

    private init(requirements: [Requirement]) { self.requirements = requirements }

    public func matches(_ labels: Labels) -> Bool { requirements.allSatisfy { $0.matches(labels.values) } }

    /// A key and value that everything chosen has, for an index to start from.
    public var anchor: (key: String, value: String)? {
        for case .isIn(let key, let values) in requirements where values.count == 1 { return (key, values[0]) }
        return nil
    }

    /// - Throws: `hub.selector` with the place, `hub.limit`.
    public init(_ text: String) throws(HubError) {
        guard text.utf8.count <= HubLimits.selectorLength else {
            throw HubError(.limit, "selector", "\(text.utf8.count) bytes, at most \(HubLimits.selectorLength)")
        }
        var parser = Parser(bytes: Array(text.utf8))
        requirements = try parser.selector()
    }
}

extension Selector: CustomStringConvertible {
    /// The canonical text, which reads as the same selector.
    public var description: String {
        requirements.map { requirement in
            switch requirement {
            case .isIn(let key, let values) where values.count == 1: "\(key)=\(values[0])"
            case .isIn(let key, let values): "\(key) in (\(values.joined(separator: ",")))"
            case .notIn(let key, let values) where values.count == 1: "\(key)!=\(values[0])"
            case .notIn(let key, let values): "\(key) notin (\(values.joined(separator: ",")))"
            case .exists(let key): key
            case .absent(let key): "!\(key)"
            }
        }.joined(separator: ",")
    }
}

extension Selector: Codable {
    public init(from decoder: any Decoder) throws {
        try self.init(try decoder.singleValueContainer().decode(String.self))
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// Reads left to right without going back further than one word.
private struct Parser {
    let bytes: [UInt8]
    var position = 0

    mutating func selector() throws(HubError) -> [Selector.Requirement] {
        var requirements: [Selector.Requirement] = []
        skipSpace()
        guard position < bytes.count else { return [] }
        while true {
            guard requirements.count < HubLimits.requirements else {
                throw HubError(.limit, "selector", "more than \(HubLimits.requirements) requirements")
            }
            requirements.append(try requirement())
            skipSpace()
            guard position < bytes.count else { return requirements }
            guard take(0x2C) else { throw fail("expected a comma") }
        }
    }

    private mutating func requirement() throws(HubError) -> Selector.Requirement {
        skipSpace()
        if take(0x21) { return .absent(key: try key()) }
        let key = try key()
        skipSpace()
        guard position < bytes.count, bytes[position] != 0x2C else { return .exists(key: key) }
        if take(0x21) {
            guard take(0x3D) else { throw fail("expected = after !") }
            return .notIn(key: key, values: [try value()])
        }
        if take(0x3D) {
            _ = take(0x3D)
            return .isIn(key: key, values: [try value()])
        }
        switch word() {
        case "in": return .isIn(key: key, values: try list())
        case "notin": return .notIn(key: key, values: try list())
        default: throw fail("expected =, !=, in or notin")
        }
    }

    private mutating func key() throws(HubError) -> String {
        skipSpace()
        let text = word()
        guard Labels.isKey(text) else { throw fail(text.isEmpty ? "expected a key" : "\"\(text)\" is no label key") }
        return text
    }

    private mutating func value() throws(HubError) -> String {
        skipSpace()
        let text = word()
        guard Labels.isValue(text) else { throw fail("\"\(text)\" is no label value") }
        return text
    }

    private mutating func list() throws(HubError) -> [String] {
        skipSpace()
        guard take(0x28) else { throw fail("expected (") }
        var values: Set<String> = []
        while true {
            values.insert(try value())
            guard values.count <= HubLimits.values else {
                throw HubError(.limit, "selector", "more than \(HubLimits.values) values in one list")
            }
            skipSpace()
            if take(0x29) { return values.sorted() }
            guard take(0x2C) else { throw fail("expected a comma or )") }
        }
    }

    private mutating func word() -> String {
        let start = position
        while position < bytes.count, Self.isWordByte(bytes[position]) { position += 1 }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x2F, 0x5F: true
        default: false
        }
    }

    private mutating func skipSpace() {
        while position < bytes.count, bytes[position] == 0x20 || bytes[position] == 0x09 { position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private func fail(_ detail: String) -> HubError {
        HubError(.selector, "selector", "\(detail) at character \(position + 1)")
    }
}
