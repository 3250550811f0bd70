import Base
import CSQLite
import Glibc

/// Owner of one `sqlite3*`. Not thread-safe: it lives inside one actor.
///
/// SQL is a `StaticString`: the compiler refuses a statement with a value pasted in, so that values
/// travel as parameters only.
public final class Connection {
    /// Prepared statements kept for reuse.
    public static let statementCacheLimit = 64
    /// How long a lock held by another process is waited for, in milliseconds.
    public static let busyTimeout: Int32 = 5_000

    public struct Options: Sendable {
        public var readOnly = false
        /// KiB of page cache.
        public var pageCache: Int64 = 256
        /// Pages of the write-ahead log after which a commit moves it into the database.
        public var checkpointPages = 1_000
        public init() {}
    }

    public let path: String
    private let handle: OpaquePointer
    private let monitor: DurabilityMonitor
    private var cache: [UnsafeRawPointer: Statement] = [:]
    private var uses: UInt64 = 0
    private var transactionDepth = 0

    /// Opens or creates the database with WAL and `synchronous=FULL`: a commit that returned survives
    /// a power cut. `:memory:` is allowed.
    public init(
        path: String, options: Options = Options(), monitor: DurabilityMonitor = .passthrough
    ) throws(SQLiteError) {
        var opened: OpaquePointer?
        let flags =
            (options.readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
            | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = sqlite3_open_v2(path, &opened, flags, nil)
        guard code == SQLITE_OK, let opened else {
            let error = SQLiteError(code: code, handle: opened, path: path)
            sqlite3_close_v2(opened)
            throw error
        }
        handle = opened
        self.path = path
        self.monitor = monitor
        sqlite3_busy_timeout(handle, Self.busyTimeout)
        if !options.readOnly { _ = try pragma("PRAGMA journal_mode=WAL") }
        _ = try pragma("PRAGMA synchronous=FULL")
        _ = try pragma("PRAGMA foreign_keys=ON")
        _ = try pragma("PRAGMA trusted_schema=OFF")
        _ = try pragma("PRAGMA cache_size=-\(options.pageCache)")
        _ = try pragma("PRAGMA wal_autocheckpoint=\(options.checkpointPages)")
    }

    deinit {
        cache.removeAll()
        sqlite3_close_v2(handle)
    }

    // MARK: Statements

    /// Runs one statement and answers how many rows it changed.
    ///
    /// Outside a transaction a writing statement is a commit of its own and passes the monitor as one.
    @discardableResult
    public func run(_ sql: StaticString, _ values: SQLiteValue...) throws(SQLiteError) -> Int {
        try run(sql, values: values)
    }

    @discardableResult
    public func run(_ sql: StaticString, values: [SQLiteValue]) throws(SQLiteError) -> Int {
        let statement = try take(sql)
        defer { release(statement) }
        try statement.bind(values)
        if transactionDepth == 0, !statement.isReadOnly { try admitCommit("sqlite.autocommit") }
        while try statement.step() {}
        return Int(sqlite3_changes64(handle))
    }

    /// Every row of a query, each mapped by `map`.
    public func query<Value>(
        _ sql: StaticString, _ values: SQLiteValue..., map: (borrowing Row) throws -> Value
    ) throws -> [Value] {
        var rows: [Value] = []
        try each(sql, values) { row in
            rows.append(try map(row))
            return true
        }
        return rows
    }

    /// The first row of a query, nil when there is none.
    public func first<Value>(
        _ sql: StaticString, _ values: SQLiteValue..., map: (borrowing Row) throws -> Value
    ) throws -> Value? {
        var found: Value?
        try each(sql, values) { row in
            found = try map(row)
            return false
        }
        return found
    }

    /// Steps a query until `body` answers false; holds one row at a time.
    public func each(
        _ sql: StaticString, _ values: [SQLiteValue] = [], body: (borrowing Row) throws -> Bool
    ) throws {
        let statement = try take(sql)
        defer { release(statement) }
        try statement.bind(values)
        if transactionDepth == 0, !statement.isReadOnly { try admitCommit("sqlite.autocommit") }
        while try statement.step() {
            guard try body(Row(statement: statement)) else { return }
        }
    }

    public var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(handle) }

    // MARK: Transactions

    /// Runs `body` in one immediate transaction; any error rolls all of it back. Transactions do not nest.
    ///
    /// `label` names the commit to the monitor: it is one durable operation.
    @discardableResult
    public func transaction<Value>(_ label: String, _ body: () throws -> Value) throws -> Value {
        guard transactionDepth == 0 else {
            throw SQLiteError(reason: .misuse, path: path, detail: "a transaction inside a transaction")
        }
        transactionDepth = 1
        defer { transactionDepth = 0 }
        try run("BEGIN IMMEDIATE")
        do {
            let value = try body()
            try admitCommit(label)
            try run("COMMIT")
            return value
        } catch {
            // After some errors (full, I/O) SQLite has rolled back by itself.
            if sqlite3_get_autocommit(handle) == 0 { _ = try? run("ROLLBACK") }
            throw error
        }
    }

    private func admitCommit(_ label: String) throws(SQLiteError) {
        switch monitor.willPerform(DurableOperation(kind: .sqliteCommit, label: label, subject: path)) {
        case .perform: return
        // A torn commit is a frame without its checksum, which recovery drops: the same as not done.
        case .tear: throw SQLiteError(injected: EIO, path: path)
        case .fail(let errno): throw SQLiteError(injected: errno, path: path)
        }
    }

    // MARK: Care

    /// Problems found by SQLite's own check, empty when the database is sound. `quick` skips the indexes.
    public func integrityProblems(quick: Bool = false) throws -> [String] {
        let map: (borrowing Row) throws -> String = { try $0.text(0) }
        do {
            let lines =
                quick
                ? try query("PRAGMA quick_check(20)", map: map) : try query("PRAGMA integrity_check(20)", map: map)
            return lines == ["ok"] ? [] : lines
        } catch let error as SQLiteError where error.reason == .corrupt {
            // Damage to the schema's own pages stops the check itself.
            return [error.detail]
        }
    }

    /// Writes a compact copy of the whole database to `destination`, which must not exist.
    /// The caller syncs and renames it.
    public func vacuum(into destination: String) throws(SQLiteError) {
        // SQLite calls this statement read-only, since this database does not change.
        try admitCommit("sqlite.copy")
        try run("VACUUM INTO ?", .text(destination))
    }

    /// Moves the write-ahead log into the database and truncates the log.
    public func checkpoint() throws {
        _ = try query("PRAGMA wal_checkpoint(TRUNCATE)") { _ in }
    }

    /// Gives unused cache memory back to the system.
    public func releaseMemory() {
        cache = cache.filter { $0.value.inUse }
        sqlite3_db_release_memory(handle)
    }

    public var userVersion: Int {
        get throws { try first("PRAGMA user_version") { Int(try $0.integer(0)) } ?? 0 }
    }

    func setUserVersion(_ version: Int) throws(SQLiteError) { _ = try pragma("PRAGMA user_version=\(version)") }

    /// Pragmas take no parameters; the text is this module's own, from integers and literals.
    private func pragma(_ text: String) throws(SQLiteError) {
        let code = sqlite3_exec(handle, text, nil, nil, nil)
        guard code == SQLITE_OK else { throw SQLiteError(code: code, handle: handle, path: path) }
    }

    // MARK: Statement cache

    private func take(_ sql: StaticString) throws(SQLiteError) -> Statement {
        uses += 1
        // A literal's address names it: one literal, one key, no hashing of text.
        let key = UnsafeRawPointer(sql.utf8Start)
        if let cached = cache[key], !cached.inUse {
            cached.inUse = true
            cached.lastUse = uses
            return cached
        }
        let statement = try Statement(sql: sql, database: handle, path: path)
        statement.inUse = true
        statement.lastUse = uses
        if cache[key] == nil {
            evictIfFull()
            cache[key] = statement
        }
        return statement
    }

    private func release(_ statement: Statement) {
        statement.reset()
        statement.inUse = false
    }

    private func evictIfFull() {
        guard cache.count >= Self.statementCacheLimit,
            let oldest = cache.filter({ !$0.value.inUse }).min(by: { $0.value.lastUse < $1.value.lastUse })
        else { return }
        cache[oldest.key] = nil
    }

    /// For tests of the bound.
    var cachedStatements: Int { cache.count }
}
