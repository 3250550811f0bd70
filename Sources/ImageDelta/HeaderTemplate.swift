/// What a file system says of one entry of an extracted layer, as far as a tar header repeats it.
public struct TreeEntry: Sendable, Equatable {
    /// Relative to the layer's root, without `./` and without a final slash; empty for the root itself.
    public var path: [UInt8]
    /// The tar type it would have: `0` file, `1` hard link, `2` symlink, `3` `4` devices, `5` directory, `6` fifo.
    public var type: UInt8
    /// Permission bits, `0o7777` masked.
    public var mode: UInt32
    /// Bytes of content; 0 for anything but a file.
    public var size: Int64
    /// Seconds since 1970.
    public var modified: Int64
    /// Target of a symlink, or the path of the first name of a hard-linked file.
    public var link: [UInt8]
    public var major: UInt32
    public var minor: UInt32

    public init(
        path: [UInt8], type: UInt8, mode: UInt32, size: Int64, modified: Int64, link: [UInt8] = [],
        major: UInt32 = 0, minor: UInt32 = 0
    ) {
        self.path = path
        self.type = type
        self.mode = mode
        self.size = size
        self.modified = modified
        self.link = link
        self.major = major
        self.minor = minor
    }
}

/// Predicts the tar header of an entry: the last header of its type with the entry's values put in.
///
/// So the style of whoever wrote the tar (magic, prefixes, owner names, number formats) needs no description:
/// the first header of each type shows it, and what differs later is sent as differences. Owner ids come from
/// the template too, because an unprivileged extraction does not keep them.
public struct HeaderTemplate: Sendable {
    public static let headerBytes = 512
    private var last: [UInt8: [UInt8]] = [:]
    private var latest = [UInt8](repeating: 0, count: headerBytes)
    /// How pax records with long paths are named: the component put before the file's name.
    private var recordComponent: [UInt8]?

    public init() {}

    /// Remembers the headers of one member as they really are: one block, or a pax record with the path before it.
    public mutating func learn(_ headers: [UInt8]) {
        let header = Array(headers.suffix(Self.headerBytes))
        last[header[156]] = header
        latest = header
        guard headers.count > Self.headerBytes, let path = Self.recordedPath(headers) else { return }
        last[0x78] = Array(headers.prefix(Self.headerBytes))
        let name = headers.prefix(100).prefix { $0 != 0 }
        let folder = (path.dropLast(path.last == 0x2F ? 1 : 0).lastIndex(of: 0x2F) ?? -1) + 1
        guard name.prefix(folder).elementsEqual(path.prefix(folder)),
            let end = name.dropFirst(folder).firstIndex(of: 0x2F)
        else { return }
        recordComponent = Array(name[folder..<end])
    }

    /// The path in headers that are a pax header, a record with nothing but the path, and the member's header.
    public static func recordedPath(_ headers: [UInt8]) -> [UInt8]? {
        guard headers.count > 2 * headerBytes, headers[156] == 0x78,
            let size = TarScanner.number(headers[124..<136]), size > 0, size <= headers.count - 2 * headerBytes
        else { return nil }
        let record = headers[headerBytes..<headerBytes + Int(size)]
        guard let equals = record.firstIndex(of: 0x3D) else { return nil }
        let path = Array(record[(equals + 1)...].dropLast())
        return self.record(path) == Array(record) ? path : nil
    }

    private static func record(_ path: [UInt8]) -> [UInt8] {
        let rest = Array(" path=".utf8) + path + [0x0A]
        var length = rest.count + 1
        while String(length).utf8.count + rest.count > length { length += 1 }
        return Array(String(length).utf8) + rest
    }

    /// The headers `entry` most likely has; the checksums are right.
    public func predict(_ entry: TreeEntry) -> [UInt8] {
        let style = last[entry.type] ?? latest
        let isDotted = style[0] == 0x2E && style[1] == 0x2F
        var name = (isDotted ? [0x2E, 0x2F] : []) + entry.path
        if entry.type == 0x35, !entry.path.isEmpty { name.append(0x2F) }
        guard name.count > 100, let recordComponent, var first = last[0x78] else {
            return member(entry, style: style, isDotted: isDotted, name: name)
        }
        let folder = (name.dropLast(name.last == 0x2F ? 1 : 0).lastIndex(of: 0x2F) ?? -1) + 1
        let record = Self.record(name)
        Self.fill(name[..<folder] + recordComponent + [0x2F] + name[folder...], at: 0, width: 100, in: &first)
        Self.octal(Int64(record.count), at: 124, width: 12, in: &first)
        Self.octal(entry.modified, at: 136, width: 12, in: &first)
        Self.seal(&first)
        let padding = [UInt8](repeating: 0, count: (512 - record.count % 512) % 512)
        return first + record + padding
            + member(entry, style: style, isDotted: isDotted, name: Array(name.prefix(100)))
    }

    /// Puts bytes into a field and zeros after them.
    private static func fill(_ bytes: some Collection<UInt8>, at offset: Int, width: Int, in header: inout [UInt8]) {
        var at = offset
        for byte in bytes.prefix(width) {
            header[at] = byte
            at += 1
        }
        while at < offset + width {
            header[at] = 0
            at += 1
        }
    }

    private func member(_ entry: TreeEntry, style: [UInt8], isDotted: Bool, name: [UInt8]) -> [UInt8] {
        var header = style
        header[156] = entry.type
        Self.put(name, in: &header)
        Self.octal(Int64(entry.mode) | (Self.value(style[100..<108]) & ~0o7777), at: 100, width: 8, in: &header)
        Self.octal(entry.size, at: 124, width: 12, in: &header)
        Self.octal(entry.modified, at: 136, width: 12, in: &header)
        let link = entry.type == 0x31 && isDotted ? [0x2E, 0x2F] + entry.link : entry.link
        Self.fill(link, at: 157, width: 100, in: &header)
        if entry.type == 0x33 || entry.type == 0x34 {
            Self.octal(Int64(entry.major), at: 329, width: 8, in: &header)
            Self.octal(Int64(entry.minor), at: 337, width: 8, in: &header)
        }
        Self.seal(&header)
        return header
    }

    /// Puts the right checksum in, six digits; the two bytes after them stay.
    public static func seal(_ header: inout [UInt8]) {
        var sum: Int64 = 8 * 0x20
        for index in 0..<headerBytes where !(148..<156).contains(index) { sum += Int64(header[index]) }
        octal(sum, at: 148, width: 7, in: &header, terminated: false, digits: 6)
    }

    private static func value(_ field: ArraySlice<UInt8>) -> Int64 { TarScanner.number(field) ?? 0 }

    /// Name, split at the last slash that leaves both parts their room when it is longer than 100 bytes.
    private static func put(_ name: [UInt8], in header: inout [UInt8]) {
        var short = name[...]
        var prefix = name[..<0]
        if name.count > 100, let slash = name.prefix(156).dropLast(name.count <= 156 ? 1 : 0).lastIndex(of: 0x2F),
            slash > 0, name.count - slash - 1 <= 100
        {
            prefix = name[..<slash]
            short = name[(slash + 1)...]
        }
        fill(short, at: 0, width: 100, in: &header)
        fill(prefix, at: 345, width: 155, in: &header)
    }

    private static func octal(
        _ value: Int64, at offset: Int, width: Int, in header: inout [UInt8], terminated: Bool = true, digits: Int? = nil
    ) {
        var rest = max(0, value)
        var index = digits ?? width - 1
        if terminated { header[offset + width - 1] = 0 }
        while index > 0 {
            index -= 1
            header[offset + index] = 0x30 + UInt8(rest & 7)
            rest >>= 3
        }
    }
}
