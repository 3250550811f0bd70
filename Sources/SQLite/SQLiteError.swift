import Base
import CSQLite
import Glibc

/// A refusal by SQLite or by this module, on one database file.
public struct SQLiteError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        case busy, full, corrupt, constraint, io, permission, misuse, schema, limit
        case cannotOpen = "cannot-open"
        case readOnly = "read-only"
        /// A column's type is not the one the reader asked for.
        case type
        /// Refused by the engine for another reason; `detail` has its words.
        case engine
    }
    public var reason: Reason
    public var path: String
    /// SQLite's extended result code; 0 when this module refused.
    public var extendedCode: Int32
    public var detail: String

    public init(reason: Reason, path: String, extendedCode: Int32 = 0, detail: String) {
        self.reason = reason
        self.path = path
        self.extendedCode = extendedCode
        self.detail = detail
    }

    /// The error SQLite reports on `handle` after a call answered `code`.
    init(code: Int32, handle: OpaquePointer?, path: String) {
        let extended = handle.map { sqlite3_extended_errcode($0) } ?? code
        let words = handle.flatMap { sqlite3_errmsg($0) }.map { String(cString: $0) }
        // The shared index of a log is a file too, and finds no room in its own way.
        let isFull = extended == Self.noRoomForIndex
        self.init(
            reason: isFull ? .full : Self.reason(code: code), path: path, extendedCode: extended,
            detail: words ?? String(cString: sqlite3_errstr(code)))
    }

    /// `SQLITE_IOERR_SHMSIZE`, a macro that Swift does not see.
    private static let noRoomForIndex = SQLITE_IOERR | 19 << 8

    /// What a monitor's injected errno looks like to the caller: as if the file system had answered it.
    init(injected errno: Int32, path: String) {
        self.init(
            reason: errno == ENOSPC || errno == EDQUOT ? .full : .io, path: path,
            detail: String(cString: strerror(errno)))
    }

    private static func reason(code: Int32) -> Reason {
        switch code & 0xFF {
        case SQLITE_BUSY, SQLITE_LOCKED: .busy
        case SQLITE_FULL: .full
        case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt
        case SQLITE_CONSTRAINT: .constraint
        case SQLITE_IOERR, SQLITE_PROTOCOL: .io
        case SQLITE_PERM, SQLITE_AUTH: .permission
        case SQLITE_CANTOPEN: .cannotOpen
        case SQLITE_READONLY: .readOnly
        case SQLITE_MISUSE, SQLITE_RANGE: .misuse
        case SQLITE_SCHEMA: .schema
        case SQLITE_TOOBIG, SQLITE_NOMEM: .limit
        default: .engine
        }
    }

    public var code: String { "sqlite.\(reason.rawValue)" }
    public var message: String { "database \(path): \(detail)" }
    public var hint: String? {
        switch reason {
        case .full: "free space on that file system"
        case .busy: "another process holds the database; end it or try again"
        case .permission, .readOnly, .cannotOpen: "check the owner and mode of the file and of its directory"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .busy: .temporaryFailure
        case .corrupt: .dataError
        case .permission, .readOnly: .noPermission
        case .misuse, .type, .constraint, .schema: .software
        default: .ioError
        }
    }
}
