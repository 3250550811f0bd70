/// Makes tar archives that are the same bytes for the same input: ustar headers, pax records only where
/// ustar has no room, no names of users, no times but those given.
public enum TarEncoder {
    /// The header blocks of a member: what precedes its content.
    public static func header(_ header: TarHeader) throws(ArchiveError) -> [UInt8] {
        guard !header.path.isEmpty, !header.path.contains(0), !header.linkPath.contains(0) else {
            throw ArchiveError(.unrepresentable, subject: "tar entry", detail: "empty path or NUL")
        }
        var records = header.records
        let (prefix, name) = split(header.path) ?? ([], Array(header.path.prefix(100)))
        if split(header.path) == nil { records["path"] = header.path }
        if header.linkPath.count > 100 { records["linkpath"] = header.linkPath }
        func field(_ value: Int64, _ width: Int, _ key: String) -> [UInt8] {
            if let octal = TarNumber.octal(value, width: width) { return octal }
            records[key] = Array(String(value).utf8)
            return Array(repeating: 0x30, count: width - 1) + [0]
        }
        var body: [UInt8] = padded(name, 100)
        body += field(Int64(header.mode), 8, "mode")
        body += field(header.uid, 8, "uid")
        body += field(header.gid, 8, "gid")
        body += field(header.size, 12, "size")
        body += field(header.modified, 12, "mtime")
        body += Array(repeating: 0x20, count: 8)
        body.append(flag(header.kind))
        body += padded(Array(header.linkPath.prefix(100)), 100)
        body += Array("ustar\u{0}00".utf8)
        body += padded(Array(header.userName.prefix(31)), 32)
        body += padded(Array(header.groupName.prefix(31)), 32)
        body += field(header.deviceMajor, 8, "SCHILY.devmajor")
        body += field(header.deviceMinor, 8, "SCHILY.devminor")
        body += padded(prefix, 155)
        body += Array(repeating: 0, count: 12)
        seal(&body)
        guard !records.isEmpty else { return body }
        return try extended(records) + body
    }

    /// Zero bytes after content of `size` bytes.
    public static func padding(_ size: Int64) -> [UInt8] {
        Array(repeating: 0, count: Int(Tar.padding(size)))
    }

    /// The end-of-archive marker: two zero blocks.
    public static var trailer: [UInt8] { Array(repeating: 0, count: 2 * Tar.blockSize) }

    private static func extended(_ records: [String: [UInt8]]) throws(ArchiveError) -> [UInt8] {
        var payload: [UInt8] = []
        for key in records.keys.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
            payload += record(key, records[key] ?? [])
        }
        var meta = TarHeader(path: "pax-header", size: Int64(payload.count))
        meta.kind = .other(UInt8(ascii: "x"))
        return try header(meta) + payload + padding(Int64(payload.count))
    }

    static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let fixed = key.utf8.count + value.count + 3
        var length = fixed + 1
        // The length counts its own digits.
        while fixed + String(length).utf8.count != length { length = fixed + String(length).utf8.count }
        return Array("\(length) \(key)=".utf8) + value + [0x0A]
    }

    private static func padded(_ bytes: [UInt8], _ width: Int) -> [UInt8] {
        bytes + Array(repeating: 0, count: width - bytes.count)
    }

    /// The ustar prefix and name fields for a path; nil when no slash splits it to fit.
    private static func split(_ path: [UInt8]) -> (prefix: [UInt8], name: [UInt8])? {
        if path.count <= 100 { return ([], path) }
        for index in path.indices.reversed()
        where path[index] == 0x2F && index <= 155 && index > 0 && (1...100).contains(path.count - index - 1) {
            return (Array(path[..<index]), Array(path[(index + 1)...]))
        }
        return nil
    }

    private static func flag(_ kind: TarHeader.Kind) -> UInt8 {
        switch kind {
        case .file: UInt8(ascii: "0")
        case .hardLink: UInt8(ascii: "1")
        case .symlink: UInt8(ascii: "2")
        case .characterDevice: UInt8(ascii: "3")
        case .blockDevice: UInt8(ascii: "4")
        case .directory: UInt8(ascii: "5")
        case .fifo: UInt8(ascii: "6")
        case .other(let flag): flag
        }
    }

    private static func seal(_ block: inout [UInt8]) {
        let sum = block.reduce(0) { $0 + Int64($1) }
        let digits = TarNumber.octal(sum, width: 7) ?? []
        block.replaceSubrange(148..<156, with: digits + [0x20])
    }
}

/// Writes an archive to a sink, member by member.
public struct TarWriter {
    private let sink: (UnsafeRawBufferPointer) throws -> Void

    public init(sink: @escaping (UnsafeRawBufferPointer) throws -> Void) { self.sink = sink }

    public func add(_ header: TarHeader, content: [UInt8] = []) throws {
        try add(header, content: MemorySource(content))
    }

    /// Copies exactly `header.size` bytes from `content`; any other length is an error.
    public func add(_ header: TarHeader, content: any ByteSource) throws {
        try put(try TarEncoder.header(header))
        let count = try content.forEachChunk { try sink($0) }
        guard count == header.size else {
            throw ArchiveError(
                .unrepresentable, subject: header.name ?? "tar entry",
                detail: "\(count) bytes of content for a declared size of \(header.size)")
        }
        try put(TarEncoder.padding(header.size))
    }

    /// Writes the end-of-archive marker.
    public func finish() throws { try put(TarEncoder.trailer) }

    private func put(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { if $0.count > 0 { try sink($0) } }
    }
}
