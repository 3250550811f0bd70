import Base
import CSQLite

/// One prepared statement; finalised when the last reference goes.
final class Statement {
    let handle: OpaquePointer
    let path: String
    private let database: OpaquePointer
    /// Set while rows are being stepped; a second use in that time takes another statement.
    var inUse = false
    /// The connection's use counter at the last use, for evicting the one unused longest.
    var lastUse: UInt64 = 0

    init(sql: StaticString, database: OpaquePointer, path: String) throws(SQLiteError) {
        var prepared: OpaquePointer?
        var tail: UnsafePointer<CChar>?
        // StaticString is UTF-8 and zero-terminated.
        let code = sql.utf8Start.withMemoryRebound(to: CChar.self, capacity: sql.utf8CodeUnitCount + 1) {
            let code = sqlite3_prepare_v3(
                database, $0, Int32(sql.utf8CodeUnitCount) + 1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, &tail)
            return code
        }
        guard code == SQLITE_OK else { throw SQLiteError(code: code, handle: database, path: path) }
        guard let prepared else {
            throw SQLiteError(reason: .misuse, path: path, detail: "an empty SQL statement")
        }
        handle = prepared
        self.database = database
        self.path = path
        // A second statement behind the first would be dropped in silence.
        if let tail, String(cString: tail).contains(where: { !$0.isWhitespace && $0 != ";" }) {
            throw SQLiteError(reason: .misuse, path: path, detail: "more than one SQL statement in \(sql)")
        }
    }

    deinit { sqlite3_finalize(handle) }

    var isReadOnly: Bool { sqlite3_stmt_readonly(handle) != 0 }

    func bind(_ values: [SQLiteValue]) throws(SQLiteError) {
        let expected = Int(sqlite3_bind_parameter_count(handle))
        guard expected == values.count else {
            throw SQLiteError(
                reason: .misuse, path: path, detail: "\(values.count) values for \(expected) parameters")
        }
        // SQLITE_TRANSIENT, a C macro that Swift does not import: SQLite copies the bytes at once.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        for (offset, value) in values.enumerated() {
            let index = Int32(offset + 1)
            let code: Int32
            switch value {
            case .null: code = sqlite3_bind_null(handle, index)
            case .integer(let number): code = sqlite3_bind_int64(handle, index, number)
            case .real(let number): code = sqlite3_bind_double(handle, index, number)
            case .text(var text):
                code = text.withUTF8 { buffer in
                    buffer.withMemoryRebound(to: CChar.self) {
                        // A null pointer would bind NULL; an empty text is not NULL.
                        $0.baseAddress.map { sqlite3_bind_text(handle, index, $0, Int32(buffer.count), transient) }
                            ?? sqlite3_bind_text(handle, index, "", 0, transient)
                    }
                }
            case .blob(let bytes):
                code =
                    bytes.isEmpty
                    ? sqlite3_bind_zeroblob(handle, index, 0)
                    : bytes.withUnsafeBytes {
                        sqlite3_bind_blob64(handle, index, $0.baseAddress, UInt64($0.count), transient)
                    }
            }
            guard code == SQLITE_OK else { throw SQLiteError(code: code, handle: database, path: path) }
        }
    }

    /// True when there is a row, false when the statement is done.
    func step() throws(SQLiteError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw SQLiteError(code: code, handle: database, path: path)
        }
    }

    func reset() {
        sqlite3_reset(handle)
        sqlite3_clear_bindings(handle)
    }
}

/// The row a query stands on; valid only inside the closure it is handed to.
///
/// Reading a column as a type that it is not is an error, never a silent conversion.
public struct Row: ~Copyable {
    private let statement: Statement

    init(statement: Statement) { self.statement = statement }

    public var columnCount: Int { Int(sqlite3_column_count(statement.handle)) }

    public func value(_ column: Int) throws(SQLiteError) -> SQLiteValue {
        guard (0..<columnCount).contains(column) else {
            throw SQLiteError(reason: .misuse, path: statement.path, detail: "no column \(column)")
        }
        let index = Int32(column)
        switch sqlite3_column_type(statement.handle, index) {
        case SQLITE_INTEGER: return .integer(sqlite3_column_int64(statement.handle, index))
        case SQLITE_FLOAT: return .real(sqlite3_column_double(statement.handle, index))
        case SQLITE_TEXT:
            let count = Int(sqlite3_column_bytes(statement.handle, index))
            let text = sqlite3_column_text(statement.handle, index).map {
                String(decoding: UnsafeBufferPointer(start: $0, count: count), as: UTF8.self)
            }
            return .text(text ?? "")
        case SQLITE_BLOB:
            let count = Int(sqlite3_column_bytes(statement.handle, index))
            let bytes = sqlite3_column_blob(statement.handle, index).map {
                Array(UnsafeRawBufferPointer(start: $0, count: count))
            }
            return .blob(bytes ?? [])
        default: return .null
        }
    }

    public func isNull(_ column: Int) -> Bool {
        sqlite3_column_type(statement.handle, Int32(column)) == SQLITE_NULL
    }

    public func integer(_ column: Int) throws(SQLiteError) -> Int64 {
        guard case .integer(let number) = try value(column) else { throw mismatch(column, "an integer") }
        return number
    }
    public func optionalInteger(_ column: Int) throws(SQLiteError) -> Int64? {
        isNull(column) ? nil : try integer(column)
    }
    public func bool(_ column: Int) throws(SQLiteError) -> Bool { try integer(column) != 0 }
    public func text(_ column: Int) throws(SQLiteError) -> String {
        guard case .text(let text) = try value(column) else { throw mismatch(column, "a text") }
        return text
    }
    public func optionalText(_ column: Int) throws(SQLiteError) -> String? {
        isNull(column) ? nil : try text(column)
    }
    public func blob(_ column: Int) throws(SQLiteError) -> [UInt8] {
        guard case .blob(let bytes) = try value(column) else { throw mismatch(column, "a blob") }
        return bytes
    }
    /// A blob's bytes where they lie, as long as `body` runs.
    public func withBlob<Value>(_ column: Int, _ body: (UnsafeRawBufferPointer) throws -> Value) throws -> Value {
        let index = Int32(column)
        guard (0..<columnCount).contains(column), sqlite3_column_type(statement.handle, index) == SQLITE_BLOB else {
            throw mismatch(column, "a blob")
        }
        let start = sqlite3_column_blob(statement.handle, index)
        let count = Int(sqlite3_column_bytes(statement.handle, index))
        return try body(UnsafeRawBufferPointer(start: start, count: count))
    }
    public func optionalBlob(_ column: Int) throws(SQLiteError) -> [UInt8]? {
        isNull(column) ? nil : try blob(column)
    }
    public func timestamp(_ column: Int) throws(SQLiteError) -> Timestamp {
        Timestamp(seconds: try integer(column))
    }
    public func digest(_ column: Int) throws(SQLiteError) -> Digest {
        guard let digest = Digest(try text(column)) else { throw mismatch(column, "a digest") }
        return digest
    }

    private func mismatch(_ column: Int, _ wanted: String) -> SQLiteError {
        let name = sqlite3_column_name(statement.handle, Int32(column)).map { String(cString: $0) } ?? "?"
        return SQLiteError(reason: .type, path: statement.path, detail: "column \(name) is not \(wanted)")
    }
}
