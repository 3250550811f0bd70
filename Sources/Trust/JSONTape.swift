import Base
import Model

/// A JSON document as one flat array of nodes over its bytes.
///
/// Metadata may list ten thousand targets of which a device wants one. A tree of dictionaries costs
/// a hundred allocations for each; the tape costs 16 bytes a value and materialises what is asked for.
/// The parser is strict: RFC 8259, bounded depth and count, no duplicate keys, valid UTF-8, except that
/// control characters may stand literally in strings, as OLPC canonical JSON writes them.
final class JSONTape: Sendable {
    enum Kind: UInt8, Sendable { case null, bool, integer, fraction, string, escapedString, array, object }

    struct Node: Sendable {
        var kind: Kind
        /// First byte of the value; for strings, the first byte after the quote.
        var start: UInt32
        /// Bytes of the value; for strings, without quotes; for arrays and objects, elements or members.
        var length: UInt32
        /// Index of the node after this value and all it holds.
        var next: UInt32
    }

    let bytes: [UInt8]
    let nodes: [Node]

    init(parsing bytes: [UInt8], limits: TrustLimits = .standard) throws(JSONError) {
        guard bytes.count <= Int(UInt32.max) >> 1 else { throw JSONError(reason: .size, offset: bytes.count) }
        var nodes: [Node] = []
        nodes.reserveCapacity(min(bytes.count / 12 + 16, limits.jsonNodes))
        var failure: JSONError?
        bytes.withUnsafeBufferPointer { buffer in
            var builder = TapeBuilder(bytes: buffer, depthLimit: limits.jsonDepth, nodeLimit: limits.jsonNodes)
            do throws(JSONError) {
                try builder.document(into: &nodes)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        self.bytes = bytes
        self.nodes = nodes
    }

    var root: JSONNode { JSONNode(tape: self, index: 0) }
}

/// The members of one object in key order, for many look-ups: built once, then a binary search each.
struct JSONIndex: Sendable {
    private let tape: JSONTape
    private let members: [UInt32]

    init(_ object: JSONNode) {
        tape = object.tape
        members = object.isObject ? object.tape.sortedMembers(of: object.index).map(UInt32.init) : []
    }

    subscript(key: String) -> JSONNode? {
        let wanted = Array(key.utf8)
        var (low, high) = (0, members.count)
        while low < high {
            let middle = (low + high) / 2
            let order = JSONNode(tape: tape, index: Int(members[middle])).compare(wanted)
            if order == 0 { return JSONNode(tape: tape, index: Int(members[middle]) + 1) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return nil
    }
}

/// One value on a tape.
struct JSONNode: Sendable {
    let tape: JSONTape
    let index: Int

    var kind: JSONTape.Kind { tape.nodes[index].kind }

    var string: String? {
        let node = tape.nodes[index]
        switch node.kind {
        case .string:
            return String(decoding: tape.bytes[Int(node.start)..<Int(node.start + node.length)], as: UTF8.self)
        case .escapedString: return String(decoding: decodedBytes(), as: UTF8.self)
        default: return nil
        }
    }

    /// The bytes of a string as they stand in the document when it holds no escape.
    func equals(_ text: [UInt8]) -> Bool {
        let node = tape.nodes[index]
        switch node.kind {
        case .string:
            guard Int(node.length) == text.count else { return false }
            return tape.bytes[Int(node.start)..<Int(node.start + node.length)].elementsEqual(text)
        case .escapedString: return decodedBytes() == text
        default: return false
        }
    }

    /// Order of a string's UTF-8 bytes against `text`: negative, zero or positive.
    fileprivate func compare(_ text: [UInt8]) -> Int {
        let node = tape.nodes[index]
        if node.kind == .escapedString {
            return decodedBytes().withUnsafeBufferPointer { own in
                text.withUnsafeBufferPointer { TapeBuilder.order(own, $0) }
            }
        }
        return tape.bytes.withUnsafeBufferPointer { bytes in
            let own = UnsafeBufferPointer(rebasing: bytes[Int(node.start)..<Int(node.start + node.length)])
            return text.withUnsafeBufferPointer { TapeBuilder.order(own, $0) }
        }
    }

    var integer: Int64? {
        let node = tape.nodes[index]
        guard node.kind == .integer else { return nil }
        return Int64(String(decoding: tape.bytes[Int(node.start)..<Int(node.start + node.length)], as: UTF8.self))
    }

    var bool: Bool? {
        let node = tape.nodes[index]
        return node.kind == .bool ? node.length == 4 : nil
    }

    /// Number of elements or members; 0 for scalars.
    var count: Int {
        switch kind {
        case .array, .object: Int(tape.nodes[index].length)
        default: 0
        }
    }

    var isObject: Bool { kind == .object }
    var isArray: Bool { kind == .array }

    /// Member of an object, found by walking it.
    subscript(key: String) -> JSONNode? {
        guard kind == .object else { return nil }
        let wanted = Array(key.utf8)
        var position = index + 1
        for _ in 0..<count {
            let name = JSONNode(tape: tape, index: position)
            if name.equals(wanted) { return JSONNode(tape: tape, index: position + 1) }
            position = Int(tape.nodes[position + 1].next)
        }
        return nil
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

    fileprivate func decodedBytes() -> [UInt8] {
        let node = tape.nodes[index]
        return JSONEscapes.decode(tape.bytes[Int(node.start)..<Int(node.start + node.length)]) ?? []
    }

    /// The value as a tree, for what is kept or handed on.
    var value: JSONValue {
        switch kind {
        case .null: return .null
        case .bool: return .bool(bool ?? false)
        case .integer: return .integer(integer ?? 0)
        case .fraction:
            let node = tape.nodes[index]
            let text = String(decoding: tape.bytes[Int(node.start)..<Int(node.start + node.length)], as: UTF8.self)
            return .double(Double(text) ?? 0)
        case .string, .escapedString: return .string(string ?? "")
        case .array: return .array(elements.map(\.value))
        case .object:
            var members: [String: JSONValue] = [:]
            forEachMember { key, value in members[key.string ?? ""] = value.value }
            return .object(members)
        }
    }
}

// MARK: - Canonical form

extension JSONNode {
    /// OLPC canonical JSON of this value: what TUF signs.
    func canonical() throws(JSONError) -> [UInt8] {
        var output: [UInt8] = []
        let node = tape.nodes[index]
        output.reserveCapacity(kind == .object ? tape.bytes.count : Int(node.length) + 2)
        try writeCanonical(to: &output)
        return output
    }

    private func writeCanonical(to output: inout [UInt8]) throws(JSONError) {
        let node = tape.nodes[index]
        let range = Int(node.start)..<Int(node.start + (node.kind == .object || node.kind == .array ? 0 : node.length))
        switch node.kind {
        case .null, .bool: output += tape.bytes[range]
        // Written from its value, so that `-0` becomes `0`.
        case .integer: output += String(integer ?? 0).utf8
        case .fraction: throw JSONError(reason: .float, offset: Int(node.start))
        case .string:
            output.append(0x22)
            output += tape.bytes[range]
            output.append(0x22)
        case .escapedString:
            output.append(0x22)
            for byte in decodedBytes() {
                if byte == 0x22 || byte == 0x5C { output.append(0x5C) }
                output.append(byte)
            }
            output.append(0x22)
        case .array:
            output.append(0x5B)
            var position = index + 1
            for element in 0..<Int(node.length) {
                if element > 0 { output.append(0x2C) }
                try JSONNode(tape: tape, index: position).writeCanonical(to: &output)
                position = Int(tape.nodes[position].next)
            }
            output.append(0x5D)
        case .object:
            output.append(0x7B)
            for (place, member) in tape.sortedMembers(of: index).enumerated() {
                if place > 0 { output.append(0x2C) }
                try JSONNode(tape: tape, index: member).writeCanonical(to: &output)
                output.append(0x3A)
                try JSONNode(tape: tape, index: member + 1).writeCanonical(to: &output)
            }
            output.append(0x7D)
        }
    }
}

extension JSONTape {
    /// Indices of an object's keys in UTF-8 order.
    fileprivate func sortedMembers(of object: Int) -> [Int] {
        let count = Int(nodes[object].length)
        var members: [Int] = []
        members.reserveCapacity(count)
        var position = object + 1
        for _ in 0..<count {
            members.append(position)
            position = Int(nodes[position + 1].next)
        }
        bytes.withUnsafeBufferPointer { buffer in
            if !TapeBuilder.isSorted(members, nodes: nodes, bytes: buffer) {
                members.sort { TapeBuilder.compare($0, $1, nodes: nodes, bytes: buffer) < 0 }
            }
        }
        return members
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
