import Glibc

/// A regular file open for reading; the last path component is never a followed symlink.
/// Closed when the last reference goes.
public final class ReadableFile: Sendable {
    public let descriptor: Int32
    public let path: String

    public init(path: String) throws(FileSystemError) {
        // Without O_NONBLOCK a pipe of that name would hold the caller until somebody writes; a regular file ignores it.
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        self.path = path
        guard descriptor >= 0 else { throw FileSystemError(operation: "open", path: path, errno: errno) }
        guard try status().kind == .file else {
            throw FileSystemError(operation: "read", path: path, errno: EINVAL)
        }
    }

    /// Takes ownership of an open descriptor.
    public init(adopting descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    public func status() throws(FileSystemError) -> FileSystem.Status {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else {
            throw FileSystemError(operation: "stat", path: path, errno: errno)
        }
        return FileSystem.Status(info)
    }

    /// Up to `buffer.count` bytes at `offset`; 0 at the end of the file.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(FileSystemError) -> Int {
        var total = 0
        while total < buffer.count {
            let count = pread(
                descriptor, buffer.baseAddress.map { $0 + total }, buffer.count - total, off_t(offset) + off_t(total))
            if count < 0 {
                if errno == EINTR { continue }
                throw FileSystemError(operation: "read", path: path, errno: errno)
            }
            if count == 0 { break }
            total += count
        }
        return total
    }

    /// Up to `count` bytes at `offset`; shorter only at the end of the file.
    public func read(at offset: Int64, count: Int) throws(FileSystemError) -> [UInt8] {
        var failure: FileSystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            do throws(FileSystemError) {
                initialized = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// The whole file, at most `limit` bytes; more is `EFBIG`.
    public func readAll(limit: Int) throws(FileSystemError) -> [UInt8] {
        let size = try status().size
        guard size <= limit else { throw FileSystemError(operation: "read", path: path, errno: EFBIG) }
        // One byte more than there should be: a file that does not grow is then read in one piece.
        var bytes = try read(at: 0, count: Int(size) + 1)
        guard bytes.count > size else { return bytes }
        guard bytes.count <= limit else { throw FileSystemError(operation: "read", path: path, errno: EFBIG) }
        while true {
            let chunk = try read(at: Int64(bytes.count), count: min(1 << 20, limit - bytes.count + 1))
            if chunk.isEmpty { return bytes }
            bytes += chunk
            guard bytes.count <= limit else { throw FileSystemError(operation: "read", path: path, errno: EFBIG) }
        }
    }
}

/// A file open for writing. Each write and sync passes through the monitor. Closed with the last reference.
public final class WritableFile: Sendable {
    public let descriptor: Int32
    public let path: String
    private let label: String
    private let monitor: DurabilityMonitor

    init(descriptor: Int32, path: String, label: String, monitor: DurabilityMonitor) {
        self.descriptor = descriptor
        self.path = path
        self.label = label
        self.monitor = monitor
    }

    deinit { close(descriptor) }

    public func write(_ bytes: [UInt8]) throws(FileSystemError) {
        try bytes.span.bytes.withUnsafeBytes { buffer throws(FileSystemError) in try write(buffer) }
    }

    public func write(_ buffer: UnsafeRawBufferPointer) throws(FileSystemError) {
        switch monitor.willPerform(DurableOperation(kind: .write, label: label, subject: path)) {
        case .perform:
            try writeAll(buffer)
        case .tear(let count):
            try writeAll(UnsafeRawBufferPointer(rebasing: buffer.prefix(max(0, count))))
            throw FileSystemError(operation: "write", path: path, errno: EIO)
        case .fail(let errno):
            throw FileSystemError(operation: "write", path: path, errno: errno)
        }
    }

    private func writeAll(_ buffer: UnsafeRawBufferPointer) throws(FileSystemError) {
        var done = 0
        while done < buffer.count {
            let count = Glibc.write(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done)
            if count < 0 {
                if errno == EINTR { continue }
                throw FileSystemError(operation: "write", path: path, errno: errno)
            }
            done += count
        }
    }

    /// Cuts the file off after `size` bytes.
    public func truncate(to size: Int64) throws(FileSystemError) {
        if case .fail(let errno) = monitor.willPerform(
            DurableOperation(kind: .write, label: label, subject: path))
        {
            throw FileSystemError(operation: "truncate", path: path, errno: errno)
        }
        guard ftruncate(descriptor, off_t(size)) == 0 else {
            throw FileSystemError(operation: "truncate", path: path, errno: errno)
        }
    }

    /// Makes the file `size` bytes long with disk space behind every one of them.
    public func allocate(_ size: Int64) throws(FileSystemError) {
        if case .fail(let errno) = monitor.willPerform(
            DurableOperation(kind: .write, label: label, subject: path))
        {
            throw FileSystemError(operation: "allocate", path: path, errno: errno)
        }
        let code = posix_fallocate(descriptor, 0, off_t(size))
        guard code == 0 else { throw FileSystemError(operation: "allocate", path: path, errno: code) }
    }

    /// Returns once the content is on stable storage (`fsync`).
    public func sync() throws(FileSystemError) {
        if case .fail(let errno) = monitor.willPerform(
            DurableOperation(kind: .sync, label: label, subject: path))
        {
            throw FileSystemError(operation: "fsync", path: path, errno: errno)
        }
        guard fsync(descriptor) == 0 else {
            throw FileSystemError(operation: "fsync", path: path, errno: errno)
        }
    }
}
