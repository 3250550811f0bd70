import Base
import CSQLite
import Glibc
import Synchronization

/// SQLite's own file operations under a monitor: each write, sync, truncation, creation and removal inside a commit
/// counts as a durable operation, so that a fault can strike between a log's frames and its sync.
///
/// The process's default file layer becomes SQLite's unix layer with those methods exchanged; databases outside the
/// watched folders are left as they are.
public enum MonitoredVFS {
    private static let label = "sqlite.file"
    private static let monitors = Mutex<[String: DurabilityMonitor]>([:])
    /// By the address of SQLite's open file.
    private static let openFiles = Mutex<[UInt: OpenFile]>([:])

    /// Databases opened below `root` from now on are monitored.
    public static func watch(_ root: String, _ monitor: DurabilityMonitor) {
        _ = layer
        monitors.withLock { $0[root] = monitor }
    }
    public static func unwatch(_ root: String) { monitors.withLock { $0[root] = nil } }

    private static func monitor(of path: String) -> DurabilityMonitor? {
        monitors.withLock { monitors in monitors.first { path.hasPrefix($0.key + "/") }?.value }
    }

    private struct OpenFile: @unchecked Sendable {
        // Sendable: the pointer is to SQLite's constant table of methods, which nobody writes.
        let methods: UnsafePointer<sqlite3_io_methods>
        let path: String
        let monitor: DurabilityMonitor
        /// SQLite syncs the folder of a new log with the log's first sync.
        var syncsFolder: Bool

        func verdict(_ kind: DurableOperation.Kind) -> DurabilityVerdict {
            monitor.willPerform(DurableOperation(kind: kind, label: label, subject: path))
        }
    }
    private typealias File = UnsafeMutablePointer<sqlite3_file>

    private static func openFile(_ file: File?) -> OpenFile? {
        openFiles.withLock { $0[UInt(bitPattern: file)] }
    }

    // MARK: The layer

    // Written once before any thread reads it, and never again.
    nonisolated(unsafe) private static let layer: UnsafeMutablePointer<sqlite3_vfs>? = {
        guard let unix = sqlite3_vfs_find(nil) else { return nil }
        let made = UnsafeMutablePointer<sqlite3_vfs>.allocate(capacity: 1)
        made.initialize(to: unix.pointee)
        made.pointee.pNext = nil
        made.pointee.zName = UnsafePointer(strdup("holdfast-monitored"))
        made.pointee.xOpen = { MonitoredVFS.open($1, $2, $3, $4) }
        made.pointee.xDelete = { MonitoredVFS.delete($1, $2) }
        unixLayer = unix
        sqlite3_vfs_register(made, 1)
        return made
    }()
    // Set once, by what makes `layer`.
    nonisolated(unsafe) private static var unixLayer: UnsafeMutablePointer<sqlite3_vfs>?
    // Filled by the first file that is opened, under the lock of `openFiles`; all files of the unix layer share them.
    nonisolated(unsafe) private static var exchanged: [UInt: UnsafePointer<sqlite3_io_methods>] = [:]

    /// The unix layer's methods with ours in the places that matter.
    private static func exchange(_ original: UnsafePointer<sqlite3_io_methods>) -> UnsafePointer<sqlite3_io_methods> {
        if let known = exchanged[UInt(bitPattern: original)] { return known }
        let made = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)
        made.initialize(to: original.pointee)
        made.pointee.xClose = { MonitoredVFS.close($0) }
        made.pointee.xWrite = { MonitoredVFS.write($0, $1, $2, $3) }
        made.pointee.xTruncate = { MonitoredVFS.truncate($0, $1) }
        made.pointee.xSync = { MonitoredVFS.sync($0, $1) }
        exchanged[UInt(bitPattern: original)] = UnsafePointer(made)
        return UnsafePointer(made)
    }

    private static func open(
        _ name: UnsafePointer<CChar>?, _ file: File?, _ flags: Int32, _ outFlags: UnsafeMutablePointer<Int32>?
    ) -> Int32 {
        guard let unix = unixLayer, let file else { return SQLITE_ERROR }
        let path = name.map { String(cString: $0) } ?? ""
        let monitor = monitor(of: path)
        file.pointee.pMethods = nil
        if let monitor, flags & SQLITE_OPEN_CREATE != 0, access(path, F_OK) != 0 {
            let creation = DurableOperation(kind: .create, label: label, subject: path)
            guard case .perform = monitor.willPerform(creation) else { return SQLITE_CANTOPEN }
        }
        let code = unix.pointee.xOpen(unix, name, file, flags, outFlags)
        guard let monitor, let methods = file.pointee.pMethods else { return code }
        let isLog = flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL) != 0
        openFiles.withLock {
            $0[UInt(bitPattern: file)] = OpenFile(
                methods: methods, path: path, monitor: monitor, syncsFolder: isLog && flags & SQLITE_OPEN_CREATE != 0)
            file.pointee.pMethods = exchange(methods)
        }
        return code
    }

    private static func delete(_ name: UnsafePointer<CChar>?, _ syncsFolder: Int32) -> Int32 {
        guard let unix = unixLayer, let name else { return SQLITE_ERROR }
        let path = String(cString: name)
        guard let monitor = monitor(of: path), access(path, F_OK) == 0 else {
            return unix.pointee.xDelete(unix, name, syncsFolder)
        }
        let removal = DurableOperation(kind: .unlink, label: label, subject: path)
        guard case .perform = monitor.willPerform(removal) else { return ioError(10) }
        let code = unix.pointee.xDelete(unix, name, syncsFolder)
        if syncsFolder != 0 { announceFolderSync(of: path, monitor) }
        return code
    }

    private static func announceFolderSync(of path: String, _ monitor: DurabilityMonitor) {
        _ = monitor.willPerform(
            DurableOperation(kind: .syncDirectory, label: label, subject: Path.parent(path)))
    }

    /// SQLite's extended codes of an I/O error are macros that Swift does not import.
    /// Source: sqlite3.h, `SQLITE_IOERR | (number << 8)`.
    private static func ioError(_ number: Int32) -> Int32 { SQLITE_IOERR | (number << 8) }

    // MARK: An open file

    private static func write(_ file: File?, _ bytes: UnsafeRawPointer?, _ count: Int32, _ offset: Int64) -> Int32 {
        guard let open = openFile(file) else { return SQLITE_ERROR }
        switch open.verdict(.write) {
        case .perform: return open.methods.pointee.xWrite(file, bytes, count, offset)
        case .fail(let errno): return errno == ENOSPC ? SQLITE_FULL : ioError(3)
        case .tear(let torn):
            _ = open.methods.pointee.xWrite(file, bytes, min(count, Int32(torn)), offset)
            return ioError(3)
        }
    }

    private static func sync(_ file: File?, _ flags: Int32) -> Int32 {
        guard let open = openFile(file) else { return SQLITE_ERROR }
        guard case .perform = open.verdict(.sync) else { return ioError(4) }
        let code = open.methods.pointee.xSync(file, flags)
        if open.syncsFolder {
            openFiles.withLock { $0[UInt(bitPattern: file)]?.syncsFolder = false }
            announceFolderSync(of: open.path, open.monitor)
        }
        return code
    }

    private static func truncate(_ file: File?, _ size: Int64) -> Int32 {
        guard let open = openFile(file) else { return SQLITE_ERROR }
        guard case .perform = open.verdict(.write) else { return ioError(6) }
        return open.methods.pointee.xTruncate(file, size)
    }

    private static func close(_ file: File?) -> Int32 {
        guard let open = openFiles.withLock({ $0.removeValue(forKey: UInt(bitPattern: file)) }) else {
            return SQLITE_ERROR
        }
        file?.pointee.pMethods = open.methods
        return open.methods.pointee.xClose(file)
    }
}
