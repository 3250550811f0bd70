import Base
import Glibc
import NIOCore

/// A file that an answer sends, opened before the answer's head goes out; closed with the last reference.
public final class OpenedFile: Sendable {
    public let size: Int64
    private let file: ReadableFile

    /// - Throws: what opening throws; a link is not followed.
    public init(path: String) throws(FileSystemError) {
        file = try ReadableFile(path: path)
        size = try file.status().size
    }

    /// A handle of its own for one transfer, which the transfer closes.
    func handle() throws(FileSystemError) -> NIOFileHandle {
        let descriptor = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw FileSystemError(operation: "open", path: file.path, errno: errno) }
        return NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: descriptor)
    }

    /// For connections that cannot use sendfile.
    func read(at offset: Int64, count: Int) throws(FileSystemError) -> [UInt8] {
        try file.read(at: offset, count: count)
    }
}
