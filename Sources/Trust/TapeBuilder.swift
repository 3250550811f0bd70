import Glibc
import Model

/// The parser behind ``JSONTape``. Owns the nodes it makes until ``document()`` has given them away.
struct TapeBuilder: ~Copyable {
    private let bytes: UnsafeBufferPointer<UInt8>
    private let depthLimit: Int
    private let nodeLimit: Int
    private var position = 0
    private var nodes: UnsafeMutablePointer<JSONTape.Node>
    private var count = 0
    private var capacity = 0
    private var isTaken = false

    init(bytes: UnsafeBufferPointer<UInt8>, depthLimit: Int, nodeLimit: Int) {
        self.bytes = bytes
        self.depthLimit = depthLimit
        self.nodeLimit = nodeLimit
        // Metadata has a value every ten bytes or so, white space counted.
        capacity = max(16, min(bytes.count / 10, nodeLimit))
        nodes = Self.reallocated(nil, capacity)
    }

    deinit { if !isTaken { free(nodes) } }

    /// Parses the whole document and hands its nodes over; the caller frees them.
    mutating func document() throws(JSONError) -> UnsafeBufferPointer<JSONTape.Node> {
        try value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw fail(.trailing) }
        // Shrunk where it lies: a copy would touch as much memory again.
        resize(to: count)
        let result = UnsafeBufferPointer(start: nodes, count: count)
        isTaken = true
        return result
    }

    private func fail(_ reason: JSONError.Reason) -> JSONError {
        let end = min(position, bytes.count)
        return JSONError(reason: reason, offset: position, line: 1 + bytes[..<end].count { $0 == 0x0A })
    }

    private mutating func append(_ kind: JSONTape.Kind, start: Int, length: Int) {
        if count == capacity { resize(to: capacity * 2) }
        (nodes + count).initialize(
            to: .init(
                kind: kind, isSorted: true, start: UInt32(truncatingIfNeeded: start),
                length: UInt32(truncatingIfNeeded: length), next: UInt32(truncatingIfNeeded: count + 1)))
        count += 1
    }

    private mutating func resize(to capacity: Int) {
        nodes = Self.reallocated(nodes, capacity)
        self.capacity = capacity
    }

    private static func reallocated(
        _ nodes: UnsafeMutablePointer<JSONTape.Node>?, _ capacity: Int
    ) -> UnsafeMutablePointer<JSONTape.Node> {
        guard let memory = realloc(nodes, capacity * MemoryLayout<JSONTape.Node>.stride) else {
            preconditionFailure("out of memory")
        }
        return memory.assumingMemoryBound(to: JSONTape.Node.self)
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

    private mutating func value(depth: Int) throws(JSONError) {
        guard depth <= depthLimit else { throw fail(.depth) }
        guard count < nodeLimit else { throw fail(.count) }
        skipSpace()
        guard position < bytes.count else { throw fail(.syntax) }
        switch bytes[position] {
        case 0x7B: try object(depth: depth)
        case 0x5B: try array(depth: depth)
        case 0x22: try string()
        case 0x74: try literal("true", .bool)
        case 0x66: try literal("false", .bool)
        case 0x6E: try literal("null", .null)
        default: try number()
        }
    }

    private mutating func array(depth: Int) throws(JSONError) {
        let index = count
        append(.array, start: position, length: 0)
        position += 1
        var elements: UInt32 = 0
        skipSpace()
        if !take(0x5D) {
            while true {
                try value(depth: depth + 1)
                elements += 1
                skipSpace()
                if take(0x2C) { continue }
                if take(0x5D) { break }
                throw fail(.syntax)
            }
        }
        nodes[index].length = elements
        nodes[index].next = UInt32(count)
    }

    private mutating func object(depth: Int) throws(JSONError) {
        let index = count
        append(.object, start: position, length: 0)
        position += 1
        var members: UInt32 = 0
        var last: Int?
        var isSorted = true
        skipSpace()
        if !take(0x7D) {
            while true {
                skipSpace()
                guard position < bytes.count, bytes[position] == 0x22 else { throw fail(.syntax) }
                guard count < nodeLimit else { throw fail(.count) }
                let key = count
                try string()
                // Strictly ascending, so without duplicates: what canonical writers leave, at one comparison a key.
                if let last, isSorted { isSorted = TapeOrder.compare(nodes[last], nodes[key], bytes) < 0 }
                last = key
                skipSpace()
                guard take(0x3A) else { throw fail(.syntax) }
                try value(depth: depth + 1)
                members += 1
                skipSpace()
                if take(0x2C) { continue }
                if take(0x7D) { break }
                throw fail(.syntax)
            }
        }
        nodes[index].length = members
        nodes[index].next = UInt32(count)
        nodes[index].isSorted = isSorted
        if !isSorted { try refuseDuplicates(of: index) }
    }

    /// Two readers that pick different duplicates would verify one document and obey another.
    private func refuseDuplicates(of object: Int) throws(JSONError) {
        let members = TapeOrder.sortedMembers(of: object, nodes: UnsafeBufferPointer(start: nodes, count: count), bytes)
        for (left, right) in zip(members, members.dropFirst())
        where TapeOrder.compare(nodes[Int(left)], nodes[Int(right)], bytes) == 0 {
            throw JSONError(reason: .duplicateKey, offset: Int(nodes[Int(right)].start))
        }
    }

    private mutating func string() throws(JSONError) {
        position += 1
        let start = position
        var isEscaped = false
        var isASCII = true
        while true {
            skipPlain()
            guard position < bytes.count else { throw fail(.syntax) }
            let byte = bytes[position]
            if byte == 0x22 { break }
            if byte == 0x5C {
                isEscaped = true
                position += 1
                guard position < bytes.count else { throw fail(.syntax) }
                if bytes[position] >= 0x80 { isASCII = false }
            } else if byte >= 0x80 {
                isASCII = false
            }
            position += 1
        }
        let inside = UnsafeBufferPointer(rebasing: bytes[start..<position])
        if !isASCII, String(validating: inside, as: UTF8.self) == nil { throw fail(.utf8) }
        if isEscaped, JSONEscapes.decode(inside) == nil { throw fail(.utf8) }
        position += 1
        append(isEscaped ? .escapedString : .string, start: start, length: inside.count)
    }

    /// Goes on to the next byte that is a quote, a backslash or not ASCII, eight bytes at a time while there are as
    /// many; short of that, by less than eight.
    private mutating func skipPlain() {
        guard let base = UnsafeRawPointer(bytes.baseAddress) else { return }
        let low: UInt64 = 0x0101_0101_0101_0101
        let high: UInt64 = 0x8080_8080_8080_8080
        while position + 8 <= bytes.count {
            let word = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            // A byte that is zero after the exclusive or was the one looked for; bytes above it may be marked
            // wrongly, never the lowest mark.
            let quote = word ^ (low &* 0x22)
            let slash = word ^ (low &* 0x5C)
            let marks = (((quote &- low) & ~quote) | ((slash &- low) & ~slash) | word) & high
            guard marks == 0 else {
                position += marks.trailingZeroBitCount >> 3
                return
            }
            position += 8
        }
    }

    private mutating func literal(_ text: StaticString, _ kind: JSONTape.Kind) throws(JSONError) {
        let length = text.utf8CodeUnitCount
        guard position + length <= bytes.count else { throw fail(.syntax) }
        for index in 0..<length where bytes[position + index] != text.utf8Start[index] { throw fail(.syntax) }
        append(kind, start: position, length: length)
        position += length
    }

    private mutating func number() throws(JSONError) {
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
        let text = UnsafeBufferPointer(rebasing: bytes[start..<position])
        let isInRange =
            kind == .integer
            ? TapeOrder.integer(text) != nil : Double(String(decoding: text, as: UTF8.self))?.isFinite == true
        guard isInRange else { throw fail(.number) }
        append(kind, start: start, length: position - start)
    }

    private mutating func takeDigits() throws(JSONError) {
        let start = position
        while position < bytes.count, (0x30...0x39).contains(bytes[position]) { position += 1 }
        guard position > start else { throw fail(.syntax) }
    }
}

/// What a tape's bytes mean: the order of its keys, and its integers.
enum TapeOrder {
    typealias Bytes = UnsafeBufferPointer<UInt8>

    static func order(_ a: Bytes, _ b: Bytes) -> Int {
        let shared = min(a.count, b.count)
        if shared > 0, let first = a.baseAddress, let second = b.baseAddress {
            let order = memcmp(first, second, shared)
            if order != 0 { return Int(order) }
        }
        return a.count - b.count
    }

    static func slice(_ node: JSONTape.Node, _ bytes: Bytes) -> Bytes {
        UnsafeBufferPointer(rebasing: bytes[Int(node.start)..<Int(node.start) + Int(node.length)])
    }

    /// Order of two string nodes by the UTF-8 bytes of what they mean.
    static func compare(_ a: JSONTape.Node, _ b: JSONTape.Node, _ bytes: Bytes) -> Int {
        if a.kind == .string, b.kind == .string { return order(slice(a, bytes), slice(b, bytes)) }
        return decoded(a, bytes).withUnsafeBufferPointer { first in
            decoded(b, bytes).withUnsafeBufferPointer { second in order(first, second) }
        }
    }

    static func decoded(_ node: JSONTape.Node, _ bytes: Bytes) -> [UInt8] {
        let raw = slice(node, bytes)
        return node.kind == .escapedString ? JSONEscapes.decode(raw) ?? [] : Array(raw)
    }

    /// Indices of an object's keys in UTF-8 order.
    static func sortedMembers(of object: Int, nodes: UnsafeBufferPointer<JSONTape.Node>, _ bytes: Bytes) -> [UInt32] {
        let count = Int(nodes[object].length)
        var members: [UInt32] = []
        members.reserveCapacity(count)
        var position = object + 1
        for _ in 0..<count {
            members.append(UInt32(position))
            position = Int(nodes[position + 1].next)
        }
        if !nodes[object].isSorted {
            members.sort { compare(nodes[Int($0)], nodes[Int($1)], bytes) < 0 }
        }
        return members
    }

    /// The value of an integer as the grammar has it; nil beyond 64 bits.
    static func integer(_ text: Bytes) -> Int64? {
        // Eighteen digits always fit.
        guard text.count <= 18 else { return Int64(String(decoding: text, as: UTF8.self)) }
        var value: Int64 = 0
        let isNegative = text.first == 0x2D
        for byte in text.dropFirst(isNegative ? 1 : 0) { value = value &* 10 &+ Int64(byte &- 0x30) }
        return isNegative ? -value : value
    }
}
