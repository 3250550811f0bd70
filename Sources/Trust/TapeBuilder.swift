import Model

/// The parser behind ``JSONTape``.
struct TapeBuilder {
    let bytes: UnsafeBufferPointer<UInt8>
    let depthLimit: Int
    let nodeLimit: Int
    var position = 0

    init(bytes: UnsafeBufferPointer<UInt8>, depthLimit: Int, nodeLimit: Int) {
        self.bytes = bytes
        self.depthLimit = depthLimit
        self.nodeLimit = nodeLimit
    }

    mutating func document(into nodes: inout [JSONTape.Node]) throws(JSONError) {
        try value(into: &nodes, depth: 0)
        skipSpace()
        guard position == bytes.count else { throw fail(.trailing) }
    }

    private func fail(_ reason: JSONError.Reason) -> JSONError {
        let end = min(position, bytes.count)
        return JSONError(reason: reason, offset: position, line: 1 + bytes[..<end].count { $0 == 0x0A })
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func value(into nodes: inout [JSONTape.Node], depth: Int) throws(JSONError) {
        guard depth <= depthLimit else { throw fail(.depth) }
        guard nodes.count < nodeLimit else { throw fail(.count) }
        skipSpace()
        guard position < bytes.count else { throw fail(.syntax) }
        switch bytes[position] {
        case 0x7B: try container(.object, close: 0x7D, into: &nodes, depth: depth)
        case 0x5B: try container(.array, close: 0x5D, into: &nodes, depth: depth)
        case 0x22: try string(into: &nodes)
        case 0x74: try literal("true", .bool, into: &nodes)
        case 0x66: try literal("false", .bool, into: &nodes)
        case 0x6E: try literal("null", .null, into: &nodes)
        default: try number(into: &nodes)
        }
    }

    private mutating func container(
        _ kind: JSONTape.Kind, close: UInt8, into nodes: inout [JSONTape.Node], depth: Int
    ) throws(JSONError) {
        let index = nodes.count
        nodes.append(.init(kind: kind, start: UInt32(position), length: 0, next: 0))
        position += 1
        var count: UInt32 = 0
        skipSpace()
        if !take(close) {
            while true {
                if kind == .object {
                    skipSpace()
                    guard position < bytes.count, bytes[position] == 0x22 else { throw fail(.syntax) }
                    guard nodes.count < nodeLimit else { throw fail(.count) }
                    try string(into: &nodes)
                    skipSpace()
                    guard take(0x3A) else { throw fail(.syntax) }
                }
                try value(into: &nodes, depth: depth + 1)
                count += 1
                skipSpace()
                if take(0x2C) { continue }
                if take(close) { break }
                throw fail(.syntax)
            }
        }
        nodes[index].length = count
        nodes[index].next = UInt32(nodes.count)
        if kind == .object, count > 1 { try refuseDuplicates(of: index, in: nodes) }
    }

    /// Two readers that pick different duplicates would verify one document and obey another.
    private func refuseDuplicates(of object: Int, in nodes: [JSONTape.Node]) throws(JSONError) {
        var members: [Int] = []
        members.reserveCapacity(Int(nodes[object].length))
        var index = object + 1
        for _ in 0..<Int(nodes[object].length) {
            members.append(index)
            index = Int(nodes[index + 1].next)
        }
        if Self.isSorted(members, nodes: nodes, bytes: bytes) { return }
        members.sort { Self.compare($0, $1, nodes: nodes, bytes: bytes) < 0 }
        for (left, right) in zip(members, members.dropFirst())
        where Self.compare(left, right, nodes: nodes, bytes: bytes) == 0 {
            throw JSONError(reason: .duplicateKey, offset: Int(nodes[right].start))
        }
    }

    /// Strictly ascending, so without duplicates: what canonical writers leave, at one comparison a key.
    static func isSorted(_ members: [Int], nodes: [JSONTape.Node], bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        zip(members, members.dropFirst()).allSatisfy { compare($0, $1, nodes: nodes, bytes: bytes) < 0 }
    }

    /// Order of two string nodes by the UTF-8 bytes of what they mean.
    static func compare(
        _ left: Int, _ right: Int, nodes: [JSONTape.Node], bytes: UnsafeBufferPointer<UInt8>
    ) -> Int {
        let (a, b) = (nodes[left], nodes[right])
        if a.kind == .string, b.kind == .string {
            return order(slice(a, bytes), slice(b, bytes))
        }
        func decoded(_ node: JSONTape.Node) -> [UInt8] {
            let raw = slice(node, bytes)
            return node.kind == .escapedString ? JSONEscapes.decode(raw) ?? [] : Array(raw)
        }
        return decoded(a).withUnsafeBufferPointer { first in
            decoded(b).withUnsafeBufferPointer { second in order(first, second) }
        }
    }

    private static func slice(
        _ node: JSONTape.Node, _ bytes: UnsafeBufferPointer<UInt8>
    ) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(rebasing: bytes[Int(node.start)..<Int(node.start + node.length)])
    }

    static func order(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>) -> Int {
        for index in 0..<min(a.count, b.count) where a[index] != b[index] {
            return a[index] < b[index] ? -1 : 1
        }
        return a.count - b.count
    }

    private mutating func string(into nodes: inout [JSONTape.Node]) throws(JSONError) {
        position += 1
        let start = position
        var isEscaped = false
        var isASCII = true
        while true {
            guard position < bytes.count else { throw fail(.syntax) }
            let byte = bytes[position]
            if byte == 0x22 { break }
            if byte == 0x5C {
                isEscaped = true
                position += 1
            }
            if byte >= 0x80 { isASCII = false }
            position += 1
        }
        let inside = UnsafeBufferPointer(rebasing: bytes[start..<position])
        if !isASCII, String(validating: inside, as: UTF8.self) == nil { throw fail(.utf8) }
        if isEscaped, JSONEscapes.decode(inside) == nil { throw fail(.utf8) }
        position += 1
        nodes.append(
            .init(
                kind: isEscaped ? .escapedString : .string, start: UInt32(start), length: UInt32(inside.count),
                next: UInt32(nodes.count + 1)))
    }

    private mutating func literal(
        _ text: StaticString, _ kind: JSONTape.Kind, into nodes: inout [JSONTape.Node]
    ) throws(JSONError) {
        let length = text.utf8CodeUnitCount
        guard position + length <= bytes.count else { throw fail(.syntax) }
        for index in 0..<length where bytes[position + index] != text.utf8Start[index] { throw fail(.syntax) }
        nodes.append(
            .init(kind: kind, start: UInt32(position), length: UInt32(length), next: UInt32(nodes.count + 1)))
        position += length
    }

    private mutating func number(into nodes: inout [JSONTape.Node]) throws(JSONError) {
        let start = position
        var kind = JSONTape.Kind.integer
        _ = take(0x2D)
        let digits = position
        try takeDigits()
        if position - digits > 1, bytes[digits] == 0x30 { throw fail(.syntax) }
        if take(0x2E) {
            kind = .fraction
            try takeDigits()
        }
        if position < bytes.count, bytes[position] | 0x20 == 0x65 {
            kind = .fraction
            position += 1
            if !take(0x2B) { _ = take(0x2D) }
            try takeDigits()
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let isInRange = kind == .integer ? Int64(text) != nil : Double(text)?.isFinite == true
        guard isInRange else { throw fail(.number) }
        nodes.append(
            .init(kind: kind, start: UInt32(start), length: UInt32(position - start), next: UInt32(nodes.count + 1)))
    }

    private mutating func takeDigits() throws(JSONError) {
        let start = position
        while position < bytes.count, (0x30...0x39).contains(bytes[position]) { position += 1 }
        guard position > start else { throw fail(.syntax) }
    }
}
