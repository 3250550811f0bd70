import Glibc

/// A failed system call: which, on what, and errno.
public struct FileSystemError: CodedError, Equatable {
    public var operation: String
    public var path: String
    public var errno: Int32

    public init(operation: String, path: String, errno: Int32) {
        self.operation = operation
        self.path = path
        self.errno = errno
    }

    public var code: String {
        switch errno {
        case ENOENT: "file.not-found"
        case EACCES, EPERM: "file.permission"
        case ENOSPC, EDQUOT: "file.no-space"
        case EEXIST: "file.exists"
        case EFBIG: "file.too-large"
        case ELOOP: "file.symlink"
        default: "file.io"
        }
    }
    public var message: String { "cannot \(operation) \(path): \(String(cString: strerror(errno)))" }
    public var hint: String? {
        switch errno {
        case ENOSPC, EDQUOT: "free space on that file system"
        case EACCES, EPERM: "check the owner and mode of the path, or run as the right user"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch errno {
        case ENOENT: .noInput
        case EACCES, EPERM: .noPermission
        default: .ioError
        }
    }
}

/// File operations under one monitor. All paths are as given; nothing is expanded.
///
/// Each mutating call names what it is for (`op`), so that a test can fail exactly that one.
public struct FileSystem: Sendable {
    public var monitor: DurabilityMonitor

    public init(monitor: DurabilityMonitor = .passthrough) {
        self.monitor = monitor
    }

    // MARK: Reading

    public enum Kind: Sendable { case file, directory, symlink, other }

    public struct Status: Sendable {
        public var kind: Kind
        public var size: Int64
        /// Permission bits, `0o7777` masked.
        public var mode: UInt32
        public var owner: UInt32
        public var modified: Timestamp
        public var inode: UInt64
        public var device: UInt64
        public var linkCount: UInt64
    }

    /// Status of `path` itself: a symlink is not followed. Nil when there is nothing.
    public func status(_ path: String) throws(FileSystemError) -> Status? {
        var info = stat()
        guard lstat(path, &info) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw FileSystemError(operation: "stat", path: path, errno: errno)
        }
        return Status(info)
    }

    /// Reads a whole regular file of at most `limit` bytes; a larger one is `EFBIG`, a symlink `ELOOP`.
    public func read(_ path: String, limit: Int) throws(FileSystemError) -> [UInt8] {
        let file = try ReadableFile(path: path)
        return try file.readAll(limit: limit)
    }

    /// Names in a directory, sorted, without `.` and `..`; more than `limit` is `E2BIG`.
    public func list(_ path: String, limit: Int = 100_000) throws(FileSystemError) -> [String] {
        guard let handle = opendir(path) else {
            throw FileSystemError(operation: "list", path: path, errno: errno)
        }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." { continue }
            guard names.count < limit else {
                throw FileSystemError(operation: "list", path: path, errno: E2BIG)
            }
            names.append(name)
        }
        return names.sorted()
    }

    /// Bytes an unprivileged writer may still use on the file system that holds `path`.
    public func freeSpace(_ path: String) throws(FileSystemError) -> Int64 {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else {
            throw FileSystemError(operation: "statvfs", path: path, errno: errno)
        }
        return Int64(info.f_bavail) * Int64(info.f_frsize)
    }

    /// Files an unprivileged writer may still make on the file system that holds `path`; nil where it sets no limit.
    public func freeInodes(_ path: String) throws(FileSystemError) -> Int64? {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else {
            throw FileSystemError(operation: "statvfs", path: path, errno: errno)
        }
        return info.f_files == 0 ? nil : Int64(clamping: info.f_favail)
    }

    // MARK: Durable operations

    /// Replaces `path` whole or not at all: temporary file beside it, fsync, rename, fsync of the directory.
    public func replace(_ path: String, with bytes: [UInt8], mode: UInt32 = 0o644, op: String) throws(FileSystemError) {
        let temporary = path + ".tmp-\(getpid())"
        do {
            let file = try create(temporary, mode: mode, truncate: true, op: op)
            try file.write(bytes)
            try file.sync()
        } catch {
            // Best effort: the error that stopped the write is the one to report.
            try? unlink(temporary, op: op)
            throw error
        }
        try rename(temporary, to: path, op: op)
    }

    /// Creates a file for writing. Fails with `EEXIST` when there is one, unless `truncate`.
    public func create(
        _ path: String, mode: UInt32 = 0o644, truncate: Bool = false, op: String
    ) throws(FileSystemError) -> WritableFile {
        try admit(.create, op, path)
        let flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (truncate ? O_TRUNC : O_EXCL)
        let descriptor = Glibc.open(path, flags, mode_t(mode))
        guard descriptor >= 0 else { throw FileSystemError(operation: "create", path: path, errno: errno) }
        return WritableFile(descriptor: descriptor, path: path, label: op, monitor: monitor)
    }

    /// Opens a file to append to, creating it if need be; resumable downloads write through this.
    public func append(_ path: String, mode: UInt32 = 0o644, op: String) throws(FileSystemError) -> WritableFile {
        try admit(.create, op, path)
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, mode_t(mode))
        guard descriptor >= 0 else { throw FileSystemError(operation: "open", path: path, errno: errno) }
        return WritableFile(descriptor: descriptor, path: path, label: op, monitor: monitor)
    }

    /// Renames and syncs the directory of `destination`, so that the new name survives a power cut.
    public func rename(_ source: String, to destination: String, op: String) throws(FileSystemError) {
        try admit(.rename, op, destination)
        guard Glibc.rename(source, destination) == 0 else {
            throw FileSystemError(operation: "rename \(source) to", path: destination, errno: errno)
        }
        try syncDirectory(Path.parent(destination), op: op)
    }

    /// Hard link; the directory is not synced.
    public func link(_ source: String, to destination: String, op: String) throws(FileSystemError) {
        try admit(.link, op, destination)
        guard Glibc.link(source, destination) == 0 else {
            throw FileSystemError(operation: "link \(source) to", path: destination, errno: errno)
        }
    }

    /// Removes a file; a missing one is not an error.
    public func unlink(_ path: String, op: String) throws(FileSystemError) {
        try admit(.unlink, op, path)
        guard Glibc.unlink(path) == 0 || errno == ENOENT else {
            throw FileSystemError(operation: "remove", path: path, errno: errno)
        }
    }

    /// Makes a directory and its missing parents, each with its name synced; an existing one is left as it is.
    public func makeDirectories(_ path: String, mode: UInt32 = 0o755, op: String) throws(FileSystemError) {
        if let status = try status(path), status.kind == .directory { return }
        let parent = Path.parent(path)
        if parent != path { try makeDirectories(parent, mode: mode, op: op) }
        try admit(.makeDirectory, op, path)
        guard Glibc.mkdir(path, mode_t(mode)) == 0 || errno == EEXIST else {
            throw FileSystemError(operation: "make directory", path: path, errno: errno)
        }
        try syncDirectory(parent, op: op)
    }

    /// Removes a file or a whole tree, never following symlinks; a missing one is not an error.
    public func removeTree(_ path: String, op: String) throws(FileSystemError) {
        guard let status = try status(path) else { return }
        guard status.kind == .directory else { return try unlink(path, op: op) }
        for name in try list(path, limit: .max) { try removeTree(Path.join(path, name), op: op) }
        try admit(.unlink, op, path)
        guard Glibc.rmdir(path) == 0 || errno == ENOENT else {
            throw FileSystemError(operation: "remove", path: path, errno: errno)
        }
    }

    public func syncDirectory(_ path: String, op: String) throws(FileSystemError) {
        try admit(.syncDirectory, op, path)
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileSystemError(operation: "open", path: path, errno: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw FileSystemError(operation: "fsync", path: path, errno: errno) }
    }

    private func admit(_ kind: DurableOperation.Kind, _ op: String, _ path: String) throws(FileSystemError) {
        switch monitor.willPerform(DurableOperation(kind: kind, label: op, subject: path)) {
        case .perform: return
        case .tear: throw FileSystemError(operation: kind.rawValue, path: path, errno: EIO)
        case .fail(let errno): throw FileSystemError(operation: kind.rawValue, path: path, errno: errno)
        }
    }
}

extension FileSystem.Status {
    init(_ info: stat) {
        kind =
            switch info.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .directory
            case S_IFLNK: .symlink
            default: .other
            }
        size = Int64(info.st_size)
        mode = UInt32(info.st_mode) & 0o7777
        owner = info.st_uid
        modified = Timestamp(seconds: Int64(info.st_mtim.tv_sec))
        inode = UInt64(info.st_ino)
        device = UInt64(info.st_dev)
        linkCount = UInt64(info.st_nlink)
    }
}
