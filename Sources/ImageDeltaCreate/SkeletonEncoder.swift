import ImageDelta

/// Finds the steps by which a device makes a layer's skeleton from its extracted tree.
///
/// It models the tree that extracting the tar gives, walks it as a device does, and writes down where the
/// tar's headers are not what the walk predicts.
struct SkeletonEncoder {
    /// Walk entries passed over to reach a member; beyond this its path is written down.
    private static let skipLimit = 16

    private let file: MappedFile
    private let members: [TarMember]
    private var steps: [UInt8] = []
    private var template = HeaderTemplate()
    private var run: Int64 = 0
    private var pendingLiteral: [UInt8] = []

    private init(file: MappedFile, members: [TarMember]) {
        self.file = file
        self.members = members
    }

    /// The steps, not compressed.
    static func encode(_ file: MappedFile, members: [TarMember]) -> [UInt8] {
        var encoder = SkeletonEncoder(file: file, members: members)
        return encoder.encode()
    }

    private mutating func encode() -> [UInt8] {
        let (walk, shared) = ModelTree.walk(file, members)
        var position: [[UInt8]: Int] = [:]
        for (index, entry) in walk.enumerated() { position[entry.path] = index }
        var next = 0
        for member in members {
            let headers = Array(file.slice(member.headerOffset, member.headerSize))
            let entry = position[ModelTree.normal(member.path)]
            guard let entry, isPredictable(member, headers), isReachable(entry, next, walk[entry].path, shared) else {
                addLiteral(of: member)
                // A member written out leaves its walk entry behind.
                if entry == next {
                    flush()
                    append(.skip, 1)
                    next += 1
                }
                continue
            }
            flushLiteral()
            // Engines do not give a layer's root the mode and time of its header, so that one is always sent.
            let predicted = template.predict(walk[entry])
            if entry >= next, entry - next <= Self.skipLimit {
                if entry > next {
                    flush()
                    append(.skip, Int64(entry - next))
                }
                next = entry + 1
                addWalked(headers, predicted: walk[entry].path.isEmpty ? [] : predicted)
            } else if headers.count == predicted.count {
                flush()
                append(.path, Int64(walk[entry].path.count))
                steps += walk[entry].path
                appendDifferences(headers, predicted)
            } else {
                addLiteral(of: member)
                continue
            }
            template.learn(headers)
        }
        let end = members.last.map { min($0.contentOffset + $0.paddedSize, Int64(file.count)) } ?? 0
        pendingLiteral += file.slice(end, Int64(file.count) - end)
        flush()
        steps.append(SkeletonPatch.Step.end.rawValue)
        return steps
    }

    /// Whether an entry is near in the walk or can be asked for by its path. Which of several names of a file
    /// a device meets first depends on what it asked before, so such a file is sent whole when out of order.
    private func isReachable(_ index: Int, _ next: Int, _ path: [UInt8], _ shared: Set<[UInt8]>) -> Bool {
        if WhiteoutName.isWhiteout(path) { return false }
        if index >= next, index - next <= Self.skipLimit { return true }
        return !path.isEmpty && Int64(path.count) <= SkeletonPatch.pathLimit && !shared.contains(path)
    }

    private func hasPlainPadding(_ member: TarMember) -> Bool {
        guard member.isPlainFile else { return member.contentSize == 0 }
        let end = member.contentOffset + member.contentSize
        let padding = member.paddedSize - member.contentSize
        guard end + padding <= Int64(file.count) else { return false }
        return file.slice(end, padding).allSatisfy { $0 == 0 }
    }

    /// Whether the builder can make these headers: one block, or a pax record with the path before it.
    private func isPredictable(_ member: TarMember, _ headers: [UInt8]) -> Bool {
        guard hasPlainPadding(member), Int64(headers.count) <= SkeletonPatch.headersLimit,
            headers.count == HeaderTemplate.headerBytes || HeaderTemplate.recordedPath(headers) != nil
        else { return false }
        let header = Array(headers.suffix(HeaderTemplate.headerBytes))
        var sealed = header
        HeaderTemplate.seal(&sealed)
        return sealed == header
    }

    private mutating func addWalked(_ header: [UInt8], predicted: [UInt8]) {
        if header == predicted {
            run += 1
            return
        }
        flush()
        if header.count == predicted.count {
            steps.append(SkeletonPatch.Step.differs.rawValue)
            appendDifferences(header, predicted)
        } else {
            append(.headers, Int64(header.count))
            steps += header
        }
    }

    private mutating func appendDifferences(_ header: [UInt8], _ predicted: [UInt8]) {
        var ranges: [Range<Int>] = []
        let checksum = header.count - HeaderTemplate.headerBytes + 148
        for index in 0..<header.count
        where header[index] != predicted[index] && !(checksum..<checksum + 6).contains(index) {
            if let last = ranges.last, index - last.upperBound < 3 {
                ranges[ranges.count - 1] = last.lowerBound..<index + 1
            } else {
                ranges.append(index..<index + 1)
            }
        }
        steps.appendVarint(Int64(ranges.count))
        var at = 0
        for range in ranges {
            steps.appendVarint(Int64(range.lowerBound - at))
            steps.appendVarint(Int64(range.count))
            steps += header[range]
            at = range.upperBound
        }
    }

    /// All bytes of a member that belong to the skeleton.
    private mutating func addLiteral(of member: TarMember) {
        flushRun()
        pendingLiteral += file.slice(member.headerOffset, member.headerSize)
        let end = min(member.contentOffset + member.paddedSize, Int64(file.count))
        let from = member.contentOffset + (member.isPlainFile ? member.contentSize : 0)
        pendingLiteral += file.slice(from, end - from)
    }

    private mutating func append(_ step: SkeletonPatch.Step, _ count: Int64) {
        steps.append(step.rawValue)
        steps.appendVarint(count)
    }

    private mutating func flush() {
        flushRun()
        flushLiteral()
    }

    private mutating func flushRun() {
        guard run > 0 else { return }
        append(.run, run)
        run = 0
    }

    private mutating func flushLiteral() {
        var rest = pendingLiteral[...]
        while !rest.isEmpty {
            let part = rest.prefix(Int(SkeletonPatch.literalLimit))
            append(.literal, Int64(part.count))
            steps += part
            rest = rest.dropFirst(part.count)
        }
        pendingLiteral = []
    }
}

/// The tree that extracting a tar gives, as far as headers tell.
enum ModelTree {
    /// `./a/b`, `/a/b` and `a/b/` are one path.
    static func normal(_ path: [UInt8]) -> [UInt8] {
        var slice = path[...]
        while slice.first == 0x2F || slice.starts(with: [0x2E, 0x2F]) { slice = slice.dropFirst() }
        while slice.last == 0x2F { slice = slice.dropLast() }
        return slice == [0x2E] ? [] : Array(slice)
    }

    /// All entries in the order of ``ExtractedTree``, and the paths that share a file with another.
    static func walk(_ file: MappedFile, _ members: [TarMember]) -> (entries: [TreeEntry], shared: Set<[UInt8]>) {
        var entries: [[UInt8]: TreeEntry] = [[]: TreeEntry(path: [], type: 0x35, mode: 0o755, size: 0, modified: 0)]
        for member in members {
            let path = normal(member.path)
            let header = Array(file.slice(member.contentOffset - 512, 512))
            let isSymlink = member.type == 0x32
            let isLink = member.type == 0x31 || member.type == 0x32
            var link = isLink ? Array(header[157..<257].prefix { $0 != 0 }) : []
            if member.type == 0x31 { link = normal(link) }
            entries[path] = TreeEntry(
                path: path, type: member.type == 0 || member.type == 0x37 ? 0x30 : member.type,
                mode: isSymlink ? 0o777 : UInt32(truncatingIfNeeded: TarScanner.number(header, 100, 8) & 0o7777),
                size: member.isPlainFile ? member.contentSize : 0, modified: TarScanner.number(header, 136, 12),
                link: link, major: UInt32(truncatingIfNeeded: TarScanner.number(header, 329, 8)),
                minor: UInt32(truncatingIfNeeded: TarScanner.number(header, 337, 8)))
            addParents(of: path, to: &entries)
        }
        var children: [[UInt8]: [[UInt8]]] = [:]
        for path in entries.keys where !path.isEmpty {
            let name = Array(path[(path.lastIndex(of: 0x2F).map { $0 + 1 } ?? 0)...])
            if name != WhiteoutName.opaque { children[parent(path), default: []].append(name) }
        }
        var ordered: [TreeEntry] = []
        var pending: [[UInt8]] = [[]]
        while let path = pending.popLast() {
            guard let entry = entries[path] else { continue }
            ordered.append(entry)
            let names = (children[path] ?? []).sorted { WhiteoutName.sortsBefore($1, $0) }
            for name in names { pending.append(path.isEmpty ? name : path + [0x2F] + name) }
        }
        return resolveLinks(ordered)
    }

    private static func parent(_ path: [UInt8]) -> [UInt8] {
        path.lastIndex(of: 0x2F).map { Array(path[..<$0]) } ?? []
    }

    /// A directory that the tar does not name is made by the extraction all the same.
    private static func addParents(of path: [UInt8], to entries: inout [[UInt8]: TreeEntry]) {
        var above = parent(path)
        while entries[above] == nil {
            entries[above] = TreeEntry(path: above, type: 0x35, mode: 0o755, size: 0, modified: 0)
            above = parent(above)
        }
    }

    /// On disk the names of a file are equal: the walk takes the first it meets for the file, the rest for links.
    private static func resolveLinks(_ walk: [TreeEntry]) -> (entries: [TreeEntry], shared: Set<[UInt8]>) {
        var files: [[UInt8]: TreeEntry] = [:]
        for entry in walk where entry.type != 0x31 { files[entry.path] = entry }
        var linked: Set<[UInt8]> = []
        for entry in walk where entry.type == 0x31 { linked.insert(entry.link) }
        var first: [[UInt8]: [UInt8]] = [:]
        var result: [TreeEntry] = []
        var shared: Set<[UInt8]> = []
        for entry in walk {
            let file = entry.type == 0x31 ? entry.link : entry.path
            guard entry.type != 0x35, entry.type == 0x31 || linked.contains(file), var met = files[file] else {
                result.append(entry)
                continue
            }
            met.path = entry.path
            shared.insert(entry.path)
            if let known = first[file] {
                (met.type, met.link, met.size) = (0x31, known, 0)
            } else {
                first[file] = entry.path
            }
            result.append(met)
        }
        return (result, shared)
    }
}

extension TarScanner {
    /// An octal or base-256 field; 0 when it is neither.
    static func number(_ header: [UInt8], _ offset: Int, _ width: Int) -> Int64 {
        fieldValue(header[offset..<offset + width]) ?? 0
    }
}
