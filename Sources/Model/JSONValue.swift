import Base

/// The members of a JSON object: names are the same when their bytes are.
public typealias JSONObject = ExactMap<JSONValue>

/// A JSON document kept whole: unknown fields survive, numbers stay exact.
public enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// A number that is no 64-bit integer. Canonical JSON has none of these.
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    public subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[key]
    }
    public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
}

extension JSONValue {
    public static func object(_ members: [String: JSONValue]) -> JSONValue { .object(JSONObject(members)) }
}

/// Strings are the same when their bytes are.
extension JSONValue: Hashable {
    public static func == (left: JSONValue, right: JSONValue) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.integer(let a), .integer(let b)): a == b
        case (.double(let a), .double(let b)): a == b
        case (.string(let a), .string(let b)): a.isExactly(b)
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)): a == b
        default: false
        }
    }

    public func hash(into hasher: inout Hasher) {
        switch self {
        case .null: hasher.combine(0)
        case .bool(let value): hasher.combine(value)
        case .integer(let value): hasher.combine(value)
        case .double(let value): hasher.combine(value)
        case .string(let value): ExactText(value).hash(into: &hasher)
        case .array(let value): hasher.combine(value)
        case .object(let value): hasher.combine(value)
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(elements))
    }
    public init(nilLiteral: ()) { self = .null }
}

// MARK: - Writing

extension JSONValue {
    public enum Style: Sendable {
        /// OLPC canonical JSON: keys in UTF-8 order, no white space, only `\"` and `\\` escaped,
        /// control characters literal. What TUF signs. Source: wiki.laptop.org/go/Canonical_JSON.
        case canonical
        /// RFC 8259 on one line, keys sorted.
        case compact
        /// RFC 8259, two-space indent, keys sorted.
        case pretty
    }

    /// The document's bytes. A `double` under `.canonical` throws: the form has no floats.
    public func serialized(_ style: Style = .compact) throws(JSONError) -> [UInt8] {
        var output: [UInt8] = []
        try write(to: &output, style: style, indent: 0)
        if style == .pretty { output.append(0x0A) }
        return output
    }

    private func write(to output: inout [UInt8], style: Style, indent: Int) throws(JSONError) {
        switch self {
        case .null: output += "null".utf8
        case .bool(let value): output += (value ? "true" : "false").utf8
        case .integer(let value): output += String(value).utf8
        case .double(let value):
            guard style != .canonical, value.isFinite else {
                throw JSONError(reason: .float, offset: output.count)
            }
            output += String(value).utf8
        case .string(let value): Self.writeString(value, to: &output, style: style)
        case .array(let elements):
            output.append(0x5B)
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(0x2C) }
                Self.newline(&output, style, indent + 1)
                try element.write(to: &output, style: style, indent: indent + 1)
            }
            if !elements.isEmpty { Self.newline(&output, style, indent) }
            output.append(0x5D)
        case .object(let members):
            output.append(0x7B)
            let keys = members.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            for (index, key) in keys.enumerated() {
                if index > 0 { output.append(0x2C) }
                Self.newline(&output, style, indent + 1)
                Self.writeString(key, to: &output, style: style)
                output.append(0x3A)
                if style == .pretty { output.append(0x20) }
                try (members[key] ?? .null).write(to: &output, style: style, indent: indent + 1)
            }
            if !members.isEmpty { Self.newline(&output, style, indent) }
            output.append(0x7D)
        }
    }

    private static func newline(_ output: inout [UInt8], _ style: Style, _ indent: Int) {
        guard style == .pretty else { return }
        output.append(0x0A)
        output.append(contentsOf: repeatElement(0x20, count: indent * 2))
    }

    private static func writeString(_ text: String, to output: inout [UInt8], style: Style) {
        output.append(0x22)
        for byte in text.utf8 {
            switch byte {
            case 0x22: output += [0x5C, 0x22]
            case 0x5C: output += [0x5C, 0x5C]
            case 0..<0x20 where style != .canonical:
                switch byte {
                case 0x0A: output += [0x5C, 0x6E]
                case 0x0D: output += [0x5C, 0x72]
                case 0x09: output += [0x5C, 0x74]
                default: output += "\\u00\(Hex.encode([byte]))".utf8
                }
            default: output.append(byte)
            }
        }
        output.append(0x22)
    }
}
