import Archive
import Base
import Glibc
import Model

/// Plain files by relative path: a folder or an archive, seen alike. Nothing is extracted or changed.
///
/// A path handed in is ``Path/isPlainRelative(_:)``; a link or special file in its way is an error.
public protocol FileTree: Sendable {
    /// What to call it in messages.
    var location: String { get }
    /// Bytes of a file; nil when there is none.
    func size(_ path: String) throws -> Int64?
    /// The file's bytes from an offset to its end.
    func open(_ path: String, from offset: Int64) throws -> any ByteSource
    /// Names of the files directly in a folder, sorted; none when there is no such folder.
    func list(_ folder: String) throws -> [String]
}

extension FileTree {
    /// A whole file of at most `limit` bytes; nil when there is none.
    public func read(_ path: String, limit: Int) throws -> [UInt8]? {
        guard let size = try size(path) else { return nil }
        guard size <= limit else {
            throw OCIError(.limit, "\(location): \(path)", "\(size) bytes, at most \(limit)")
        }
        return try open(path, from: 0).read(count: Int(size))
    }
}

/// A folder whose files are opened component by component, so that no symlink is ever followed,
/// not even one that is put there in between.
public struct ConfinedDirectory: FileTree {
    public let location: String

    public init(_ path: String) { location = path }

    public func size(_ path: String) throws -> Int64? {
        try openFile(path)?.status().size
    }

    public func open(_ path: String, from offset: Int64) throws -> any ByteSource {
        guard let file = try openFile(path) else {
            throw FileSystemError(operation: "open", path: Path.join(location, path), errno: ENOENT)
        }
        return FileSource(file, range: offset..<max(offset, try file.status().size))
    }

    public func list(_ folder: String) throws -> [String] {
        guard let descriptor = try descend(Path.components(folder)[...], whole: folder) else { return [] }
        // fdopendir takes the descriptor over.
        guard let handle = fdopendir(descriptor) else {
            close(descriptor)
            throw FileSystemError(operation: "list", path: Path.join(location, folder), errno: errno)
        }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." { continue }
            guard names.count < OCILimits.entries else {
                throw OCIError(.limit, Path.join(location, folder), "more than \(OCILimits.entries) files")
            }
            names.append(name)
        }
        return names.sorted()
    }

    private func openFile(_ path: String) throws -> ReadableFile? {
        guard Path.isPlainRelative(path) else { throw OCIError(.pathEscape, location, path) }
        let components = Path.components(path)
        guard let name = components.last,
            let folder = try descend(components.dropLast(), whole: path)
        else { return nil }
        defer { close(folder) }
        // Without O_NONBLOCK the open of a pipe would wait for its writer.
        let descriptor = openat(folder, String(name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return try absent(path) }
        let file = ReadableFile(adopting: descriptor, path: Path.join(location, path))
        guard try file.status().kind == .file else { throw OCIError(.notRegular, "\(location): \(path)") }
        return file
    }

    /// A descriptor of the folder; nil when it does not exist.
    private func descend(_ components: ArraySlice<Substring>, whole path: String) throws -> Int32? {
        var current = Glibc.open(location, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard current >= 0 else { throw FileSystemError(operation: "open", path: location, errno: errno) }
        for component in components {
            let next = openat(current, String(component), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
            let failure = errno
            close(current)
            guard next >= 0 else {
                errno = failure
                return try absent(path)
            }
            current = next
        }
        return current
    }

    private func absent<T>(_ path: String) throws -> T? {
        switch errno {
        case ENOENT: return nil
        // O_DIRECTORY with O_NOFOLLOW answers ENOTDIR for a symlink; ENXIO is a socket.
        case ELOOP, ENOTDIR, ENXIO: throw OCIError(.notRegular, "\(location): \(path)")
        default: throw FileSystemError(operation: "open", path: Path.join(location, path), errno: errno)
        }
    }
}

/// A tar file read in place: its members found in one bounded pass over the headers, their content read
/// by offset. Only plain files and folders may be in it, each once; symlinks only where the caller says so.
public struct ArchiveTree: FileTree {
    private enum Member: Sendable {
        case file(Range<Int64>)
        case link(String)
    }

    public let location: String
    private let file: ReadableFile
    private let members: [String: Member]
    /// Names of files and links, in the order of the archive.
    public let names: [String]
    /// Bytes of the archive, padding and all.
    public let size: Int64

    public enum Links: Sendable {
        case refuse
        /// A symlink to another member, as `docker save` writes for a layer that occurs twice.
        case withinArchive
    }

    public init(
        _ file: ReadableFile, links: Links = .refuse, limits: TarLimits = ArchiveTree.limits
    ) throws {
        location = file.path
        self.file = file
        size = try file.status().size
        var members: [String: Member] = [:]
        var folders: Set<String> = []
        var names: [String] = []
        try Self.scan(file, size: size, limits: limits) { header in
            guard let name = try Self.memberName(header, location: file.path) else { return }
            switch header.kind {
            case .directory:
                // Repeating a folder changes nothing; one in the place of a file would.
                guard members[name] == nil else { throw OCIError(.duplicateEntry, file.path, name) }
                folders.insert(name)
                return
            case .file:
                members[name] = try Self.unique(
                    .file(header.span.content..<header.span.contentEnd), name, members, folders, file.path)
            case .symlink where links == .withinArchive:
                let target = String(decoding: header.linkPath, as: UTF8.self)
                members[name] = try Self.unique(
                    .link(try Self.resolve(target, from: name, location: file.path)), name, members, folders, file.path)
            default: throw OCIError(.notRegular, "\(file.path): \(name)")
            }
            names.append(name)
        }
        self.names = names
        self.members = members
    }

    /// What an image or bundle archive may have.
    public static let limits = TarLimits(
        entries: OCILimits.entries, nameBytes: OCILimits.nameBytes, extendedBytes: 64 << 10,
        entryBytes: OCILimits.layerBytes, totalBytes: 1 << 42)

    private static func unique(
        _ member: Member, _ name: String, _ members: [String: Member], _ folders: Set<String>, _ location: String
    ) throws -> Member {
        guard members[name] == nil, !folders.contains(name) else {
            throw OCIError(.duplicateEntry, location, name)
        }
        return member
    }

    /// The name without `./` before and `/` after; nil for the archive's own root.
    private static func memberName(_ header: TarHeader, location: String) throws -> String? {
        guard var name = header.name else {
            throw OCIError(.pathEscape, location, "a name that is not UTF-8")
        }
        while name.hasPrefix("./") { name.removeFirst(2) }
        if header.kind == .directory, name.hasSuffix("/") { name.removeLast() }
        if header.kind == .directory, name.isEmpty || name == "." { return nil }
        guard Path.isPlainRelative(name) else { throw OCIError(.pathEscape, location, name) }
        return name
    }

    private static func resolve(_ target: String, from name: String, location: String) throws -> String {
        guard !Path.isAbsolute(target) else { throw OCIError(.pathEscape, location, "\(name) -> \(target)") }
        var parts = Path.components(name).dropLast().map(String.init)
        for part in Path.components(target) {
            switch part {
            case ".": continue
            case "..":
                guard parts.popLast() != nil else { throw OCIError(.pathEscape, location, "\(name) -> \(target)") }
            default: parts.append(String(part))
            }
        }
        return parts.joined(separator: "/")
    }

    /// Reads headers only, jumping over content.
    private static func scan(
        _ file: ReadableFile, size: Int64, limits: TarLimits, _ body: (TarHeader) throws -> Void
    ) throws {
        var parser = TarParser(limits: limits, subject: file.path)
        let window = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { window.deallocate() }
        var windowStart: Int64 = 0
        var windowCount = 0
        while true {
            // Skips may have left the window behind.
            if parser.offset >= windowStart + Int64(windowCount) {
                windowStart = parser.offset
                windowCount = try file.read(into: window, at: windowStart)
                if windowCount == 0 {
                    // A skip past the end of the file is a member cut short.
                    guard parser.offset <= size else {
                        throw ArchiveError(.truncated, subject: file.path, offset: size)
                    }
                    return try parser.finish()
                }
            }
            let start = Int(parser.offset - windowStart)
            var consumed = 0
            let input = UnsafeRawBufferPointer(rebasing: window[start..<windowCount])
            if case .header(let header) = try parser.next(input, consumed: &consumed) {
                try body(header)
                _ = try parser.skipMember()
            }
        }
    }

    public func size(_ path: String) throws -> Int64? {
        guard let range = try range(path) else { return nil }
        return range.upperBound - range.lowerBound
    }

    public func open(_ path: String, from offset: Int64) throws -> any ByteSource {
        guard let range = try range(path) else {
            throw FileSystemError(operation: "open", path: "\(location): \(path)", errno: ENOENT)
        }
        return FileSource(file, range: min(range.lowerBound + offset, range.upperBound)..<range.upperBound)
    }

    public func list(_ folder: String) throws -> [String] {
        return members.keys.filter { folder.isEmpty ? !$0.utf8.contains(0x2F) : Path.parent($0) == folder }
            .map { Path.name($0) }.sorted()
    }

    private func range(_ path: String) throws -> Range<Int64>? {
        guard Path.isPlainRelative(path) else { throw OCIError(.pathEscape, location, path) }
        switch members[path] {
        case nil: return nil
        case .file(let range): return range
        case .link(let target):
            // One step: what docker save writes, and no loop to follow.
            guard case .file(let range) = members[target] else {
                throw OCIError(.notRegular, "\(location): \(path)", "a link to \(target), which is no file")
            }
            return range
        }
    }
}
