import Base
import Glibc
import Model

/// The agent's own directory of configs and secrets, which containers see read-only.
///
/// A file is written whole or not at all, under a name made of its digest and mode, and never changed.
struct ConfigFiles: Sendable {
    let layout: StateLayout
    let fileSystem: FileSystem

    /// What was last found sound, so that a look hashes only what changed since.
    struct Memory: Sendable {
        fileprivate struct Stamp: Equatable {
            var modified: Timestamp
            var size: Int64
            var inode: UInt64
        }
        fileprivate var sound: [String: Stamp] = [:]
    }

    func makeDirectories() throws(FileSystemError) {
        // Containers of other users reach the files through the mount, not through these directories.
        try fileSystem.makeDirectories(layout.files, mode: 0o700, op: "config.directory")
        try fileSystem.makeDirectories(layout.secrets, mode: 0o700, op: "config.directory")
    }

    func isSound(_ file: ConfigFileKey, memory: inout Memory) -> Bool {
        let path = layout.path(file)
        guard let status = try? fileSystem.status(path), status.kind == .file, status.size == file.blob.size,
            status.mode == file.mode, !mayChown || status.owner == file.uid
        else {
            memory.sound[path] = nil
            return false
        }
        let stamp = Memory.Stamp(modified: status.modified, size: status.size, inode: status.inode)
        if memory.sound[path] == stamp { return true }
        guard let bytes = try? fileSystem.read(path, limit: Int(ReleaseSpecs.configFileLimit)),
            Digest.sha256(bytes) == file.blob.digest
        else { return false }
        memory.sound[path] = stamp
        return true
    }

    private var mayChown: Bool { geteuid() == 0 }

    func write(_ file: ConfigFileKey, _ bytes: [UInt8]) throws(FileSystemError) {
        try makeDirectories()
        let path = layout.path(file)
        let temporary = path + ".new"
        let output = try fileSystem.create(temporary, mode: 0o600, truncate: true, op: "config.write")
        // Owner before mode: a change of owner clears set-id bits, and the content comes last of all.
        if mayChown, fchown(output.descriptor, file.uid, file.gid) != 0 {
            throw FileSystemError(operation: "change owner of", path: temporary, errno: errno)
        }
        guard fchmod(output.descriptor, file.mode) == 0 else {
            throw FileSystemError(operation: "change mode of", path: temporary, errno: errno)
        }
        try output.write(bytes)
        try output.sync()
        try fileSystem.rename(temporary, to: path, op: "config.write")
    }

    /// Removes what no kept release mounts.
    func prune(keeping kept: Set<ConfigFileKey>) throws(FileSystemError) {
        let paths = Set(kept.map { layout.path($0) })
        for directory in [layout.files, layout.secrets] {
            guard try fileSystem.status(directory) != nil else { continue }
            for name in try fileSystem.list(directory) where !paths.contains(Path.join(directory, name)) {
                try fileSystem.unlink(Path.join(directory, name), op: "config.prune")
            }
        }
    }
}
