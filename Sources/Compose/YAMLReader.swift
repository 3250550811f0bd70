import Base
// Yams has no other way to hand out nodes; its types stay inside this file.
import Yams

/// Turns bytes that nobody has vouched for into a ``YAMLValue``.
///
/// Yams keeps aliases as shared values, so a few lines can stand for billions of nodes; everything here
/// counts what it visits and stops at the limits of ``ComposeLimits``.
struct YAMLReader {
    let file: String
    /// Substitutes variables in a scalar.
    let substitute: (String, SourceLocation) throws(ComposeError) -> String
    private var values = 0
    private var size = 0

    init(file: String, substitute: @escaping (String, SourceLocation) throws(ComposeError) -> String) {
        self.file = file
        self.substitute = substitute
    }

    mutating func read(_ bytes: [UInt8]) throws(ComposeError) -> YAMLValue {
        let start = SourceLocation(file: file, line: 1, column: 1)
        guard bytes.count <= ComposeLimits.fileSize else {
            throw ComposeError(.limit, start, "the file is larger than \(ByteCount(ComposeLimits.fileSize))")
        }
        let text = try text(bytes)
        try refuseAliasedKeys(text)
        let node: Node?
        do {
            node = try Parser(yaml: text, resolver: .basic, encoding: .utf8).singleRoot()
        } catch {
            throw convert(error, text: text)
        }
        guard let node else { throw ComposeError(.yaml, start, "the file is empty") }
        return try value(node, depth: 0, near: start)
    }

    /// UTF-8 without NULs, with the line of what is wrong.
    private func text(_ bytes: [UInt8]) throws(ComposeError) -> String {
        func line(before index: Int) -> SourceLocation {
            SourceLocation(file: file, line: 1 + bytes[..<index].count { $0 == 0x0A }, column: 0)
        }
        if let index = bytes.firstIndex(of: 0) { throw ComposeError(.yaml, line(before: index), "a NUL byte") }
        var content = bytes[...]
        // A byte order mark is allowed at the start of a YAML stream.
        if content.starts(with: [0xEF, 0xBB, 0xBF]) { content = content.dropFirst(3) }
        guard let text = String(validating: content, as: UTF8.self) else {
            var decoder = UTF8()
            var iterator = content.makeIterator()
            var valid = content.startIndex
            while case .scalarValue(let scalar) = decoder.decode(&iterator) { valid += UTF8.width(scalar) }
            throw ComposeError(
                .yaml, line(before: min(valid, bytes.count)), "the file is not UTF-8",
                hint: "save it with the encoding UTF-8")
        }
        return text
    }

    /// The parser compares keys by content, so an alias or collection as a key makes it walk all that the
    /// alias stands for. No Compose file has one; with many aliases it is refused before parsing.
    private func refuseAliasedKeys(_ text: String) throws(ComposeError) {
        var aliases = 0
        var complexKey: Int?
        var line = 1
        var previous: UInt8 = 0x0A
        var word: UInt8 = 0
        for byte in text.utf8 {
            let isSpace = byte == 0x20 || byte == 0x0A || byte == 0x09
            let opens = !isSpace && (previous == 0x20 || previous == 0x0A || "\t[{,-?".utf8.contains(previous))
            if byte == UInt8(ascii: ":") {
                let follows = previous == UInt8(ascii: "]") || previous == UInt8(ascii: "}")
                if follows || word == UInt8(ascii: "*") { complexKey = complexKey ?? line }
            } else if opens {
                word = byte
                if byte == UInt8(ascii: "*") { aliases += 1 }
                if byte == UInt8(ascii: "?") { complexKey = complexKey ?? line }
            }
            if byte == 0x0A {
                line += 1
                word = 0
            }
            previous = byte
        }
        if aliases > ComposeLimits.aliasesWithComplexKeys, let complexKey {
            throw ComposeError(
                .limit, SourceLocation(file: file, line: complexKey, column: 0),
                "an alias, a list or a mapping as a key, in a file with \(aliases) aliases")
        }
    }

    private func convert(_ error: any Error, text: String) -> ComposeError {
        func at(_ mark: Mark) -> SourceLocation {
            SourceLocation(file: file, line: max(1, mark.line), column: max(0, mark.column))
        }
        switch error as? YamlError {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let detail = context.map { "\(problem) (\($0.text))" } ?? problem
            let usesTabs = problem.contains("cannot start any token")
            return ComposeError(.yaml, at(mark), detail, hint: usesTabs ? "indent with spaces, not tabs" : nil)
        case .reader(let problem, let offset, _, _):
            let line = offset.map { 1 + text.prefix($0).count { $0 == "\n" } } ?? 1
            return ComposeError(.yaml, SourceLocation(file: file, line: line, column: 0), problem)
        case .duplicatedKeysInMapping(let keys, let context):
            return ComposeError(.yaml, at(context.mark), "the key \"\(keys.first ?? "")\" is there twice")
        default:
            return ComposeError(.yaml, SourceLocation(file: file, line: 1, column: 0), "cannot be read as YAML")
        }
    }

    // MARK: Nodes

    private mutating func value(
        _ node: Node, depth: Int, near: SourceLocation
    ) throws(ComposeError) -> YAMLValue {
        let location = node.mark.map { SourceLocation(file: file, line: $0.line, column: $0.column) } ?? near
        values += 1
        guard values <= ComposeLimits.values else {
            throw ComposeError(.limit, location, "more than \(ComposeLimits.values) values, aliases followed")
        }
        guard depth <= ComposeLimits.depth else {
            throw ComposeError(.limit, location, "nested deeper than \(ComposeLimits.depth) levels")
        }
        switch node {
        case .scalar(let scalar):
            return try self.scalar(scalar, location)
        case .sequence(let sequence):
            try checkTag(sequence.tag, allowed: [.seq], location)
            var elements: [YAMLValue] = []
            for element in sequence { elements.append(try value(element, depth: depth + 1, near: location)) }
            return YAMLValue(content: .list(elements), location: location)
        case .mapping(let mapping):
            try checkTag(mapping.tag, allowed: [.map], location)
            return YAMLValue(content: .map(try entries(mapping, depth: depth, location)), location: location)
        case .alias:
            throw ComposeError(.yaml, location, "an alias without an anchor")
        }
    }

    private mutating func scalar(_ scalar: Node.Scalar, _ location: SourceLocation) throws(ComposeError) -> YAMLValue {
        try checkTag(scalar.tag, allowed: [.str, .int, .bool, .float, .null], location)
        let text = try substitute(scalar.string, location)
        size += text.utf8.count
        guard text.utf8.count <= ComposeLimits.scalarSize, size <= ComposeLimits.totalSize else {
            throw ComposeError(.limit, location, "more than \(ByteCount(ComposeLimits.totalSize)) of text")
        }
        // YAML escapes can make a NUL where the file has none.
        guard !text.utf8.contains(0) else { throw ComposeError(.yaml, location, "a NUL character") }
        let isPlain = scalar.style == .plain && text == scalar.string && scalar.tag.description != Tag.Name.str.rawValue
        return YAMLValue(content: .scalar(text, isPlain: isPlain), location: location)
    }

    /// Own keys win over merged ones, an earlier merged mapping over a later.
    private mutating func entries(
        _ mapping: Node.Mapping, depth: Int, _ location: SourceLocation
    ) throws(ComposeError) -> [YAMLValue.Entry] {
        var own: [YAMLValue.Entry] = []
        var merged: [YAMLValue.Entry] = []
        for (key, node) in mapping {
            let place = key.mark.map { SourceLocation(file: file, line: $0.line, column: $0.column) } ?? location
            guard case .scalar(let scalar) = key else {
                throw ComposeError(.yaml, place, "a key must be a word, not a list or mapping")
            }
            let value = try value(node, depth: depth + 1, near: place)
            if scalar.string == "<<", scalar.style == .plain {
                merged += try mergeSources(value)
            } else {
                own.append(YAMLValue.Entry(key: scalar.string, location: place, value: value))
            }
        }
        var seen = Set(own.map(\.key))
        guard seen.count == own.count else {
            let twice = Dictionary(grouping: own, by: \.key).values.first { $0.count > 1 }?.last
            throw ComposeError(.yaml, twice?.location ?? location, "the key \"\(twice?.key ?? "")\" is there twice")
        }
        for entry in merged where seen.insert(entry.key).inserted { own.append(entry) }
        return own
    }

    private func mergeSources(_ value: YAMLValue) throws(ComposeError) -> [YAMLValue.Entry] {
        switch value.content {
        case .map(let entries): return entries
        case .list(let elements):
            var result: [YAMLValue.Entry] = []
            for element in elements {
                guard case .map(let entries) = element.content else {
                    throw ComposeError(.yaml, element.location, "<< takes mappings, found \(element.kindName)")
                }
                result += entries
            }
            return result
        case .scalar:
            if value.isNull { return [] }
            throw ComposeError(.yaml, value.location, "<< takes a mapping or a list of mappings")
        }
    }

    private func checkTag(_ tag: Tag, allowed: [Tag.Name], _ location: SourceLocation) throws(ComposeError) {
        let name = tag.description
        guard name.isEmpty || name == "!" || allowed.contains(where: { $0.rawValue == name }) else {
            throw ComposeError(
                .yaml, location, "the tag \(name) is not supported",
                hint: name == "!reset" || name == "!override"
                    ? "one file has nothing to override; write the value" : nil)
        }
    }
}
