import Base
import Glibc
import Model

/// A JSON document as one flat array of nodes over its bytes.
///
/// Metadata may list ten thousand targets of which a device wants one. A tree of dictionaries costs
/// a hundred allocations for each; the tape costs 16 bytes a value and materialises what is asked for.
/// The parser is strict: RFC 8259, bounded depth and count, no duplicate keys, valid UTF-8, except that
/// control characters may stand literally in strings, as OLPC canonical JSON writes them.
///
/// `@unchecked Sendable`: bytes and nodes are written before `init` ends and never changed after.
package final class JSONTape: @unchecked Sendable {
    enum Kind: UInt8, Sendable { case null, bool, integer, fraction, string, escapedString, array, object }

    struct Node: Sendable {
        var kind: Kind
        /// For objects: keys stand in strictly ascending UTF-8 order.
        var isSorted: Bool
        /// First byte of the value; for strings, the first byte after the quote.
        var start: UInt32
        /// Bytes of the value; for strings, without quotes; for arrays and objects, elements or members.
        var length: UInt32
        /// Index of the node after this value and all it holds.
        var next: UInt32
    }

    let bytes: [UInt8]
    /// From `malloc`.
    let nodes: UnsafeBufferPointer<Node>

    package init(parsing bytes: [UInt8], limits: TrustLimits = .standard) throws(JSONError) {
        guard bytes.count <= Int(UInt32.max) >> 1 else { throw JSONError(reason: .size, offset: bytes.count) }
        let result = bytes.withUnsafeBufferPointer { buffer -> Result<UnsafeBufferPointer<Node>, JSONError> in
            var builder = TapeBuilder(bytes: buffer, depthLimit: limits.jsonDepth, nodeLimit: limits.jsonNodes)
            do throws(JSONError) {
                return .success(try builder.document())
            } catch {
                return .failure(error)
            }
        }
        nodes = try result.get()
        self.bytes = bytes
    }

    deinit { free(UnsafeMutablePointer(mutating: nodes.baseAddress)) }

    package var root: JSONNode { JSONNode(tape: self, index: 0) }

    /// The bytes of a string node without its quotes, as they stand.
    fileprivate func withText<Value>(_ node: Node, _ body: (TapeOrder.Bytes) -> Value) -> Value {
        bytes.withUnsafeBufferPointer { body(TapeOrder.slice(node, $0)) }
    }

    /// The first member of an object whose key is `wanted`.
    fileprivate func member(of object: Int, _ wanted: TapeOrder.Bytes) -> Int? {
        var position = object + 1
        for _ in 0..<nodes[object].length {
            if compare(position, wanted) == 0 { return position + 1 }
            position = Int(nodes[position + 1].next)
        }
        return nil
    }

    /// Order of a string's UTF-8 bytes against `text`: negative, zero or positive.
    fileprivate func compare(_ index: Int, _ text: TapeOrder.Bytes) -> Int {
        let node = nodes[index]
        guard node.kind == .escapedString else { return withText(node) { TapeOrder.order($0, text) } }
        return bytes.withUnsafeBufferPointer { TapeOrder.decoded(node, $0) }
            .withUnsafeBufferPointer { TapeOrder.order($0, text) }
    }
}

/// The members of one object in key order, for many look-ups: built once, then a binary search each.
struct JSONIndex: Sendable {
    private let tape: JSONTape
    private let members: [UInt32]

    init(_ object: JSONNode) {
        tape = object.tape
        let tape = object.tape
        members =
            object.isObject
            ? tape.bytes.withUnsafeBufferPointer {
                TapeOrder.sortedMembers(of: object.index, nodes: tape.nodes, $0)
            } : []
    }

    subscript(key: String) -> JSONNode? {
        var key = key
        let found = key.withUTF8 { wanted -> Int? in
            var (low, high) = (0, members.count)
            while low < high {
                let middle = (low + high) / 2
                let order = tape.compare(Int(members[middle]), wanted)
                if order == 0 { return Int(members[middle]) + 1 }
                if order < 0 { low = middle + 1 } else { high = middle }
            }
            return nil
        }
        return found.map { JSONNode(tape: tape, index: $0) }
    }
}

/// One value on a tape.
package struct JSONNode: Sendable {
    let tape: JSONTape
    let index: Int

    private var node: JSONTape.Node { tape.nodes[index] }
    var kind: JSONTape.Kind { node.kind }

    package var string: String? {
        switch node.kind {
        case .string: tape.withText(node) { String(decoding: $0, as: UTF8.self) }
        case .escapedString: String(decoding: decodedBytes(), as: UTF8.self)
        default: nil
        }
    }

    /// Whether this is a string of exactly these bytes.
    func isText(_ text: StaticString) -> Bool {
        guard node.kind == .string || node.kind == .escapedString else { return false }
        return tape.compare(index, UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)) == 0
    }

    /// The bytes that a string writes in hexadecimal; nil for anything else.
    var hexadecimal: [UInt8]? {
        switch node.kind {
        case .string: tape.withText(node) { Hex.decode(utf8: $0) }
        case .escapedString: string.flatMap { Hex.decode($0) }
        default: nil
        }
    }

    /// The bytes that a string writes in base64; nil for anything else.
    var base64: [UInt8]? {
        switch node.kind {
        case .string: tape.withText(node) { Base64.decode(utf8: $0) }
        case .escapedString: string.flatMap { Base64.decode($0) }
        default: nil
        }
    }

    package var integer: Int64? {
        guard node.kind == .integer else { return nil }
        return tape.withText(node) { TapeOrder.integer($0) }
    }

    var bool: Bool? { node.kind == .bool ? node.length == 4 : nil }

    /// Number of elements or members; 0 for scalars.
    package var count: Int {
        switch kind {
        case .array, .object: Int(node.length)
        default: 0
        }
    }

    var isObject: Bool { kind == .object }
    package var isArray: Bool { kind == .array }

    /// Member of an object, found by walking it.
    package subscript(key: String) -> JSONNode? {
        guard kind == .object else { return nil }
        var key = key
        return key.withUTF8 { tape.member(of: index, $0) }.map { JSONNode(tape: tape, index: $0) }
    }

    /// Elements of an array, in order; empty for other kinds.
    var elements: [JSONNode] {
        guard kind == .array else { return [] }
        var result: [JSONNode] = []
        result.reserveCapacity(count)
        var position = index + 1
        for _ in 0..<count {
            result.append(JSONNode(tape: tape, index: position))
            position = Int(tape.nodes[position].next)
        }
        return result
    }

    /// Visits each member of an object in document order.
    func forEachMember<Failure: Error>(
        _ body: (_ key: JSONNode, _ value: JSONNode) throws(Failure) -> Void
    ) throws(Failure) {
        guard kind == .object else { return }
        var position = index + 1
        for _ in 0..<count {
            try body(JSONNode(tape: tape, index: position), JSONNode(tape: tape, index: position + 1))
            position = Int(tape.nodes[position + 1].next)
        }
    }

    private func decodedBytes() -> [UInt8] { tape.withText(node) { JSONEscapes.decode($0) ?? [] } }

    /// The value as a tree, for what is kept or handed on.
    var value: JSONValue {
        switch kind {
        case .null: return .null
        case .bool: return .bool(bool ?? false)
        case .integer: return .integer(integer ?? 0)
        case .fraction: return .double(tape.withText(node) { Double(String(decoding: $0, as: UTF8.self)) } ?? 0)
        case .string, .escapedString: return .string(string ?? "")
        case .array: return .array(elements.map(\.value))
        case .object:
            var members = JSONObject()
            forEachMember { key, value in members[key.string ?? ""] = value.value }
            return .object(members)
        }
    }
}

// MARK: - Canonical form

extension JSONNode {
    /// OLPC canonical JSON of this value: what TUF signs.
    func canonical() throws(JSONError) -> [UInt8] {
        var failure: JSONError?
        // The canonical form is never longer than what it was read from: white space goes, escapes get shorter.
        let output = [UInt8](unsafeUninitializedCapacity: tape.bytes.count) { output, count in
            tape.bytes.withUnsafeBufferPointer { bytes in
                guard let start = output.baseAddress else { return }
                var writer = CanonicalWriter(bytes: bytes, nodes: tape.nodes, next: start)
                do throws(JSONError) {
                    try writer.write(index)
                } catch {
                    failure = error
                }
                count = writer.next - start
            }
        }
        if let failure { throw failure }
        return output
    }
}

private struct CanonicalWriter {
    let bytes: UnsafeBufferPointer<UInt8>
    let nodes: UnsafeBufferPointer<JSONTape.Node>
    /// Where the next byte goes. There is room: see `canonical()`.
    var next: UnsafeMutablePointer<UInt8>

    private mutating func put(_ byte: UInt8) {
        next.pointee = byte
        next += 1
    }

    private mutating func put(_ text: UnsafeBufferPointer<UInt8>) {
        guard let start = text.baseAddress else { return }
        next.update(from: start, count: text.count)
        next += text.count
    }

    mutating func write(_ index: Int) throws(JSONError) {
        let node = nodes[index]
        switch node.kind {
        case .null, .bool: put(TapeOrder.slice(node, bytes))
        case .integer:
            // `-0` is `0`; every other integer has one spelling only.
            let text = TapeOrder.slice(node, bytes)
            if text.count == 2, text[0] == 0x2D, text[1] == 0x30 { put(0x30) } else { put(text) }
        case .fraction: throw JSONError(reason: .float, offset: Int(node.start))
        case .string:
            put(0x22)
            put(TapeOrder.slice(node, bytes))
            put(0x22)
        case .escapedString:
            put(0x22)
            for byte in TapeOrder.decoded(node, bytes) {
                if byte == 0x22 || byte == 0x5C { put(0x5C) }
                put(byte)
            }
            put(0x22)
        case .array:
            put(0x5B)
            var position = index + 1
            for element in 0..<node.length {
                if element > 0 { put(0x2C) }
                try write(position)
                position = Int(nodes[position].next)
            }
            put(0x5D)
        case .object: try writeObject(index, node)
        }
    }

    private mutating func writeObject(_ index: Int, _ node: JSONTape.Node) throws(JSONError) {
        put(0x7B)
        if node.isSorted {
            var position = index + 1
            for member in 0..<node.length {
                if member > 0 { put(0x2C) }
                try write(position)
                put(0x3A)
                try write(position + 1)
                position = Int(nodes[position + 1].next)
            }
        } else {
            for (place, member) in TapeOrder.sortedMembers(of: index, nodes: nodes, bytes).enumerated() {
                if place > 0 { put(0x2C) }
                try write(Int(member))
                put(0x3A)
                try write(Int(member) + 1)
            }
        }
        put(0x7D)
    }
}

// MARK: - Escapes

enum JSONEscapes {
    /// Resolves the escapes of a string's inside; nil for an unknown escape or a lone surrogate.
    static func decode(_ bytes: some Collection<UInt8>) -> [UInt8]? {
        var output: [UInt8] = []
        var iterator = bytes.makeIterator()
        while let byte = iterator.next() {
            guard byte == 0x5C else {
                output.append(byte)
                continue
            }
            guard let escape = iterator.next() else { return nil }
            switch escape {
            case 0x22, 0x5C, 0x2F: output.append(escape)
            case 0x62: output.append(0x08)
            case 0x66: output.append(0x0C)
            case 0x6E: output.append(0x0A)
            case 0x72: output.append(0x0D)
            case 0x74: output.append(0x09)
            case 0x75:
                guard let scalar = unicode(&iterator) else { return nil }
                output.append(contentsOf: String(Character(scalar)).utf8)
            default: return nil
            }
        }
        return output
    }

    private static func unicode(_ iterator: inout some IteratorProtocol<UInt8>) -> Unicode.Scalar? {
        guard let first = quad(&iterator) else { return nil }
        guard (0xD800..<0xDC00).contains(first) else { return Unicode.Scalar(first) }
        guard iterator.next() == 0x5C, iterator.next() == 0x75, let second = quad(&iterator),
            (0xDC00..<0xE000).contains(second)
        else { return nil }
        return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
    }

    private static func quad(_ iterator: inout some IteratorProtocol<UInt8>) -> UInt32? {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = iterator.next() else { return nil }
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt32(byte - 0x30)
            case 0x41...0x46: value = value << 4 | UInt32(byte - 0x41 + 10)
            case 0x61...0x66: value = value << 4 | UInt32(byte - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }
}
