import Base

/// A strict RFC 8259 parser for untrusted bytes: bounded in size, depth and number of values,
/// refusing duplicate keys, invalid UTF-8 and lone surrogates.
///
/// Control characters inside strings are accepted when `literalControls`, because OLPC canonical JSON
/// writes them so; RFC 8259 forbids them.
public struct JSONLimits: Sendable {
    /// Bytes.
    public var size: Int
    public var depth: Int
    /// Values of any kind in the whole document.
    public var count: Int
    public var literalControls: Bool
    /// Read an integer beyond `Int64` as a `double` instead of refusing it.
    public var wideIntegers: Bool

    public init(
        size: Int = 16 << 20, depth: Int = 64, count: Int = 2_000_000, literalControls: Bool = true,
        wideIntegers: Bool = false
    ) {
        self.wideIntegers = wideIntegers
        self.size = size
        self.depth = depth
        self.count = count
        self.literalControls = literalControls
    }
}

extension JSONValue {
    public init(parsing bytes: some Collection<UInt8>, limits: JSONLimits = JSONLimits()) throws(JSONError) {
        let storage = Array(bytes)
        guard storage.count <= limits.size else { throw JSONError(reason: .size, offset: limits.size) }
        var failure: JSONError?
        let value: JSONValue? = storage.withUnsafeBufferPointer { buffer in
            var parser = JSONParser(bytes: buffer, limits: limits)
            do throws(JSONError) {
                return try parser.document()
            } catch {
                var located = error
                located.line = 1 + buffer.prefix(min(error.offset, buffer.count)).count { $0 == 0x0A }
                failure = located
                return nil
            }
        }
        guard let value else { throw failure ?? JSONError(reason: .syntax, offset: 0) }
        self = value
    }
}

private struct JSONParser {
    let bytes: UnsafeBufferPointer<UInt8>
    let limits: JSONLimits
    var position = 0
    var count = 0

    init(bytes: UnsafeBufferPointer<UInt8>, limits: JSONLimits) {
        self.bytes = bytes
        self.limits = limits
    }

    mutating func document() throws(JSONError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw fail(.trailing) }
        return value
    }

    private func fail(_ reason: JSONError.Reason) -> JSONError { JSONError(reason: reason, offset: position) }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= limits.depth else { throw fail(.depth) }
        count += 1
        guard count <= limits.count else { throw fail(.count) }
        skipSpace()
        guard position < bytes.count else { throw fail(.syntax) }
        switch bytes[position] {
        case 0x7B: return try object(depth: depth)
        case 0x5B: return try array(depth: depth)
        case 0x22: return .string(try string())
        case 0x74: return try literal("true", .bool(true))
        case 0x66: return try literal("false", .bool(false))
        case 0x6E: return try literal("null", .null)
        default: return try number()
        }
    }

    private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let length = text.utf8CodeUnitCount
        guard position + length <= bytes.count else { throw fail(.syntax) }
        for index in 0..<length where bytes[position + index] != text.utf8Start[index] { throw fail(.syntax) }
        position += length
        return value
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        position += 1
        var members: JSONObject = [:]
        skipSpace()
        if take(0x7D) { return .object(members) }
        while true {
            skipSpace()
            let start = position
            guard position < bytes.count, bytes[position] == 0x22 else { throw fail(.syntax) }
            let key = try string()
            skipSpace()
            guard take(0x3A) else { throw fail(.syntax) }
            let value = try value(depth: depth + 1)
            // Two readers that pick different duplicates would verify one document and obey another.
            guard members.updateValue(value, forKey: key) == nil else {
                throw JSONError(reason: .duplicateKey, offset: start)
            }
            skipSpace()
            if take(0x2C) { continue }
            if take(0x7D) { return .object(members) }
            throw fail(.syntax)
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
        position += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take(0x5D) { return .array(elements) }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take(0x2C) { continue }
            if take(0x5D) { return .array(elements) }
            throw fail(.syntax)
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        while position < bytes.count {
            let byte = bytes[position]
            if byte == 0x22 {
                guard let text = String(validating: bytes[start..<position], as: UTF8.self) else { throw fail(.utf8) }
                position += 1
                return text
            }
            if byte == 0x5C { return try escapedString(from: start) }
            guard byte >= 0x20 || limits.literalControls else { throw fail(.syntax) }
            position += 1
        }
        throw fail(.syntax)
    }

    private mutating func escapedString(from start: Int) throws(JSONError) -> String {
        var output = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case 0x22:
                guard let text = String(validating: output, as: UTF8.self) else { throw fail(.utf8) }
                return text
            case 0x5C:
                guard position < bytes.count else { throw fail(.syntax) }
                let escape = bytes[position]
                position += 1
                switch escape {
                case 0x22, 0x5C, 0x2F: output.append(escape)
                case 0x62: output.append(0x08)
                case 0x66: output.append(0x0C)
                case 0x6E: output.append(0x0A)
                case 0x72: output.append(0x0D)
                case 0x74: output.append(0x09)
                case 0x75: output.append(contentsOf: String(Character(try unicodeEscape())).utf8)
                default: throw fail(.utf8)
                }
            default:
                guard byte >= 0x20 || limits.literalControls else { throw fail(.syntax) }
                output.append(byte)
            }
        }
        throw fail(.syntax)
    }

    private mutating func unicodeEscape() throws(JSONError) -> Unicode.Scalar {
        let first = try hexQuad()
        if (0xD800..<0xDC00).contains(first) {
            guard take(0x5C), take(0x75) else { throw fail(.utf8) }
            let second = try hexQuad()
            guard (0xDC00..<0xE000).contains(second),
                let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
            else { throw fail(.utf8) }
            return scalar
        }
        guard let scalar = Unicode.Scalar(first) else { throw fail(.utf8) }
        return scalar
    }

    private mutating func hexQuad() throws(JSONError) -> UInt32 {
        guard position + 4 <= bytes.count else { throw fail(.utf8) }
        var value: UInt32 = 0
        for _ in 0..<4 {
            let byte = bytes[position]
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else { throw fail(.utf8) }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        var isInteger = true
        _ = take(0x2D)
        let digits = position
        try takeDigits()
        if position - digits > 1, bytes[digits] == 0x30 { throw fail(.syntax) }
        if take(0x2E) {
            isInteger = false
            try takeDigits()
        }
        if position < bytes.count, bytes[position] | 0x20 == 0x65 {
            isInteger = false
            position += 1
            if !take(0x2B) { _ = take(0x2D) }
            try takeDigits()
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isInteger {
            if let value = Int64(text) { return .integer(value) }
            guard limits.wideIntegers else { throw fail(.number) }
        }
        guard let value = Double(text), value.isFinite else { throw fail(.number) }
        return .double(value)
    }

    private mutating func takeDigits() throws(JSONError) {
        let start = position
        while position < bytes.count, (0x30...0x39).contains(bytes[position]) { position += 1 }
        guard position > start else { throw fail(.syntax) }
    }
}
