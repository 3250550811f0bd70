import Base
import Glibc

/// A file that holds space back. Given up when the disk is full, so that the journal can be written and a
/// rollback done; made again when there is room.
struct DiskReserve: Sendable {
    let path: String
    /// Bytes; 0 switches it off.
    let size: Int64
    let fileSystem: FileSystem

    var isHeld: Bool { ((try? fileSystem.status(path))??.size ?? 0) >= size }

    /// Answers whether anything was freed.
    func release() -> Bool {
        guard size > 0, isHeld else { return false }
        return (try? fileSystem.unlink(path, op: "reserve.release")) != nil
    }

    /// Makes the file when at least four times its size is free, so that it never causes the want it is for.
    func restore() {
        guard size > 0, !isHeld, let free = try? fileSystem.freeSpace(Path.parent(path)), free > 4 * size,
            let file = try? fileSystem.create(path, mode: 0o600, truncate: true, op: "reserve.restore")
        else { return }
        // A file that fell short is no reserve and must not take the space either.
        if (try? file.allocate(size)) == nil { try? fileSystem.unlink(path, op: "reserve.restore") }
    }
}
