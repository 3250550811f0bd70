import Base
import Glibc
import Synchronization
import TestSupport
import Testing

@Suite struct FileSystemTests {
    let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    @Test func replaceLeavesTheOldContentWhenAnyStepFails() throws {
        let path = directory.file("state")
        try FileSystem().replace(path, with: Array("old".utf8), op: "test")
        let counter = OperationCounter()
        try FileSystem(monitor: counter.monitor(failing: nil)).replace(path, with: Array("old".utf8), op: "test")
        let total = counter.count
        #expect(total >= 5)
        for step in 0..<total {
            let failing = OperationCounter()
            let fileSystem = FileSystem(monitor: failing.monitor(failing: step))
            #expect(throws: FileSystemError.self) {
                try fileSystem.replace(path, with: Array("new".utf8), op: "test")
            }
            let content = String(decoding: try FileSystem().read(path, limit: 100), as: UTF8.self)
            // After the rename only the directory's fsync is left, and the new content is whole.
            #expect(content == "old" || (content == "new" && step == total - 1), "step \(step): \(content)")
            try FileSystem().replace(path, with: Array("old".utf8), op: "test")
            #expect(try FileSystem().list(directory.path) == ["state"])
        }
    }

    @Test func readRefusesWhatIsLargerThanItsLimit() throws {
        let path = directory.file("big")
        try FileSystem().replace(path, with: [UInt8](repeating: 7, count: 1001), op: "test")
        #expect(throws: FileSystemError(operation: "read", path: path, errno: EFBIG)) {
            try FileSystem().read(path, limit: 1000)
        }
        #expect(try FileSystem().read(path, limit: 1001).count == 1001)
    }

    @Test func readDoesNotFollowASymlink() throws {
        try FileSystem().replace(directory.file("real"), with: [1], op: "test")
        #expect(symlink("real", directory.file("link")) == 0)
        let error = #expect(throws: FileSystemError.self) { try FileSystem().read(directory.file("link"), limit: 10) }
        #expect(error?.code == "file.symlink")
    }

    @Test func readRefusesAPipeInsteadOfWaitingForAWriter() {
        let path = directory.file("pipe")
        #expect(mkfifo(path, 0o600) == 0)
        let error = #expect(throws: FileSystemError.self) { try FileSystem().read(path, limit: 10) }
        #expect(error?.errno == EINVAL)
    }

    @Test func removeTreeStaysOutOfLinkedDirectories() throws {
        let fileSystem = FileSystem()
        try fileSystem.makeDirectories(directory.file("keep"), op: "test")
        try fileSystem.replace(directory.file("keep/file"), with: [1], op: "test")
        try fileSystem.makeDirectories(directory.file("gone/deep"), op: "test")
        #expect(symlink("../../keep", directory.file("gone/deep/link")) == 0)
        try fileSystem.removeTree(directory.file("gone"), op: "test")
        #expect(try fileSystem.list(directory.path) == ["keep"])
        #expect(try fileSystem.list(directory.file("keep")) == ["file"])
    }

    @Test func aTornWriteLeavesAPrefix() throws {
        let path = directory.file("torn")
        let fileSystem = FileSystem(monitor: DurabilityMonitor { $0.kind == .write ? .tear(count: 3) : .perform })
        let file = try fileSystem.create(path, op: "test")
        #expect(throws: FileSystemError.self) { try file.write(Array("abcdef".utf8)) }
        #expect(try FileSystem().read(path, limit: 10) == Array("abc".utf8))
    }
}

/// Counts operations and fails the one of a given index with EIO.
final class OperationCounter: Sendable {
    private let seen = Mutex(0)
    var count: Int { seen.withLock { $0 } }
    func monitor(failing index: Int?) -> DurabilityMonitor {
        DurabilityMonitor { [self] _ in
            let mine = seen.withLock { count in
                defer { count += 1 }
                return count
            }
            return mine == index ? .fail(errno: EIO) : .perform
        }
    }
}
