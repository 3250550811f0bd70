import Base
import CLinux
import Glibc

/// A directory below which nothing can lead outside: paths are opened beneath it, and no symlink is followed.
public final class TreeRoot: Sendable {
    public let path: String
    let descriptor: Int32

    public init(path: String) throws(DeltaError) {
        self.path = path
        descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw DeltaError(.missingBase, "cannot open \(path): \(String(cString: strerror(errno)))")
        }
    }

    /// The directory at a relative path below `parent`: whatever lies between them, no symlink is followed.
    /// `parent` itself may be reached through symlinks, as whoever configured it wished.
    public init(path: String, below parent: String) throws(DeltaError) {
        let root = try TreeRoot(path: parent)
        guard let opened = root.open(Array(path.utf8), flags: O_RDONLY | O_DIRECTORY) else {
            throw DeltaError(
                .missingBase, "cannot open \(Path.join(parent, path)): \(String(cString: strerror(errno)))")
        }
        self.path = Path.join(parent, path)
        descriptor = opened
    }

    deinit { close(descriptor) }

    /// Opens the entry at a relative path of plain components; nil with errno when it cannot be.
    func open(_ path: [UInt8], flags: Int32) -> Int32? {
        guard Path.isPlainRelative(String(decoding: path, as: UTF8.self)) else {
            errno = EINVAL
            return nil
        }
        let all = flags | O_NOFOLLOW | O_CLOEXEC
        let text = path.map { CChar(bitPattern: $0) } + [0]
        let opened = holdfast_open_beneath(descriptor, text, UInt64(all))
        if opened >= 0 { return opened }
        return errno == ENOSYS ? openByComponents(path, flags: all) : nil
    }

    /// Before Linux 5.6: one component at a time, following no symlink at all.
    private func openByComponents(_ path: [UInt8], flags: Int32) -> Int32? {
        var current = dup(descriptor)
        let parts = path.split(separator: 0x2F)
        for (index, part) in parts.enumerated() {
            guard current >= 0 else { return nil }
            let isLast = index + 1 == parts.count
            let name = part.map { CChar(bitPattern: $0) } + [0]
            let next = openat(current, name, isLast ? flags : holdfast_o_path | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            let failure = errno
            close(current)
            errno = failure
            current = next
        }
        return current >= 0 ? current : nil
    }
}

/// The entries of an extracted layer on disk, as `ExtractedTree` orders them.
public final class DiskTree: ExtractedTree {
    /// Names in one directory, and depth of directories.
    static let nameLimit = 1 << 20
    static let depthLimit = 512

    private struct Folder {
        var path: [UInt8]
        /// Descending, so that the next is the last.
        var names: [[UInt8]]
    }

    private let root: TreeRoot
    private var stack: [Folder] = []
    private var hasStarted = false
    /// First path of each file with several names, by device and inode.
    private var linked: [[UInt64]: [UInt8]] = [:]

    public init(root: TreeRoot) { self.root = root }

    public func next() throws(DeltaError) -> TreeEntry? {
        if !hasStarted {
            hasStarted = true
            let entry = try describe(root.descriptor, path: [], name: nil)
            try push([])
            return entry
        }
        while let folder = stack.last {
            guard let name = folder.names.last else {
                stack.removeLast()
                continue
            }
            stack[stack.count - 1].names.removeLast()
            let path = folder.path.isEmpty ? name : folder.path + [0x2F] + name
            guard let entry = try entry(at: path) else {
                throw DeltaError(.missingBase, "\(text(path)) went away")
            }
            if entry.type == 0x35 { try push(path) }
            return entry
        }
        return nil
    }

    public func entry(at path: [UInt8]) throws(DeltaError) -> TreeEntry? {
        if path.isEmpty { return try describe(root.descriptor, path: [], name: nil) }
        guard let descriptor = root.open(path, flags: holdfast_o_path) else {
            // The whiteout of a tar is a device under the hidden name in an overlayfs layer.
            if errno == ENOENT, let hidden = WhiteoutName.hidden(by: path) {
                let entry = try entry(at: hidden)
                return entry?.path == path ? entry : nil
            }
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw DeltaError(.missingBase, "cannot open \(text(path)): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        return try describe(descriptor, path: path, name: path)
    }

    private func text(_ path: [UInt8]) -> String { Path.join(root.path, String(decoding: path, as: UTF8.self)) }

    private func push(_ path: [UInt8]) throws(DeltaError) {
        guard stack.count < Self.depthLimit else { throw DeltaError(.limit, "\(text(path)) is too deep") }
        let opened = path.isEmpty ? openat(root.descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            : root.open(path, flags: O_RDONLY | O_DIRECTORY) ?? -1
        guard opened >= 0, let handle = fdopendir(opened) else {
            throw DeltaError(.missingBase, "cannot list \(text(path)): \(String(cString: strerror(errno)))")
        }
        defer { closedir(handle) }
        var names: [[UInt8]] = []
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: UInt8.self, capacity: 256) { Array(UnsafeBufferPointer(start: $0, count: strlen($0))) }
            }
            if name == [0x2E] || name == [0x2E, 0x2E] || name == WhiteoutName.opaque { continue }
            guard names.count < Self.nameLimit else { throw DeltaError(.limit, "\(text(path)) has too many entries") }
            names.append(name)
        }
        names.sort { WhiteoutName.sortsBefore($1, $0) }
        stack.append(Folder(path: path, names: names))
    }

    private func strlen(_ bytes: UnsafePointer<UInt8>) -> Int {
        var count = 0
        while bytes[count] != 0 { count += 1 }
        return count
    }

    private func describe(_ descriptor: Int32, path: [UInt8], name: [UInt8]?) throws(DeltaError) -> TreeEntry {
        var info = stat()
        guard fstatat(descriptor, "", &info, holdfast_at_empty_path | AT_SYMLINK_NOFOLLOW) == 0 else {
            throw DeltaError(.missingBase, "cannot stat \(text(path)): \(String(cString: strerror(errno)))")
        }
        var entry = TreeEntry(
            path: path, type: 0x30, mode: info.st_mode & 0o7777, size: 0, modified: Int64(info.st_mtim.tv_sec))
        switch info.st_mode & S_IFMT {
        case S_IFDIR: entry.type = 0x35
        case S_IFLNK:
            entry.type = 0x32
            entry.mode = 0o777
            entry.link = try readLink(descriptor, path)
        case S_IFCHR:
            (entry.type, entry.major, entry.minor) = (0x33, Self.major(info.st_rdev), Self.minor(info.st_rdev))
            // How overlayfs hides a file of a lower layer.
            if info.st_rdev == 0 { (entry.type, entry.path) = (0x30, WhiteoutName.hiding(path)) }
        case S_IFBLK:
            (entry.type, entry.major, entry.minor) = (0x34, Self.major(info.st_rdev), Self.minor(info.st_rdev))
        case S_IFIFO: entry.type = 0x36
        default: entry.size = Int64(info.st_size)
        }
        if info.st_nlink > 1, entry.type != 0x35, entry.path == path {
            let key = [UInt64(info.st_dev), UInt64(info.st_ino)]
            if let first = linked[key], first != path {
                (entry.type, entry.link, entry.size) = (0x31, first, 0)
            } else {
                linked[key] = path
            }
        }
        return entry
    }

    /// The kernel's encoding of device numbers, after glibc's sys/sysmacros.h.
    private static func major(_ device: dev_t) -> UInt32 {
        UInt32(truncatingIfNeeded: (device >> 8) & 0xFFF | (device >> 32) & ~0xFFF)
    }

    private static func minor(_ device: dev_t) -> UInt32 {
        UInt32(truncatingIfNeeded: device & 0xFF | (device >> 12) & ~0xFF)
    }

    private func readLink(_ descriptor: Int32, _ path: [UInt8]) throws(DeltaError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes { bytes in
            bytes.baseAddress.map {
                readlinkat(descriptor, "", $0.assumingMemoryBound(to: CChar.self), bytes.count)
            } ?? -1
        }
        guard count >= 0 else {
            throw DeltaError(.missingBase, "cannot read the link \(text(path)): \(String(cString: strerror(errno)))")
        }
        return Array(buffer.prefix(count))
    }
}

/// Names by which a layer hides what lies below it.
public enum WhiteoutName {
    static let prefix: [UInt8] = Array(".wh.".utf8)
    /// Makes a whole directory opaque; overlayfs keeps an attribute instead, so it is no entry of a tree.
    public static let opaque: [UInt8] = Array(".wh..wh..opq".utf8)

    /// The path of the whiteout that hides `path`.
    static func hiding(_ path: [UInt8]) -> [UInt8] {
        let start = path.lastIndex(of: 0x2F).map { $0 + 1 } ?? 0
        return path[..<start] + prefix + path[start...]
    }

    /// The path that a whiteout hides; nil for any other path.
    static func hidden(by path: [UInt8]) -> [UInt8]? {
        let start = path.lastIndex(of: 0x2F).map { $0 + 1 } ?? 0
        guard path[start...].starts(with: prefix), path.count > start + prefix.count else { return nil }
        let rest = path[(start + prefix.count)...]
        // `.wh..wh.x` would be hidden by a whiteout of a whiteout; no such thing exists.
        return rest.starts(with: prefix) ? nil : Array(path[..<start] + rest)
    }

    /// Whether the last component is a whiteout. What a device has in its place says nothing of its header.
    public static func isWhiteout(_ path: [UInt8]) -> Bool {
        path[(path.lastIndex(of: 0x2F).map { $0 + 1 } ?? 0)...].starts(with: prefix)
    }

    /// Order of two names in one directory: by bytes, a whiteout by the name it hides.
    public static func sortsBefore(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        let (a, b) = (key(left), key(right))
        return a.elementsEqual(b) ? left.lexicographicallyPrecedes(right) : a.lexicographicallyPrecedes(b)
    }

    private static func key(_ name: [UInt8]) -> ArraySlice<UInt8> {
        name.starts(with: prefix) ? name.dropFirst(prefix.count) : name[...]
    }
}
