import AgentCore
import Base
import CSQLite
import SQLite

/// A journal as the schema version before the present one had it, with what a present one holds.
enum OldJournal {
    /// Puts the old journal in the place of the new; no process may have it open.
    static func replace(_ layout: StateLayout) throws {
        let fileSystem = FileSystem()
        let old = layout.journal + ".old"
        do {
            let database = try Connection(path: old)
            try database.migrate(Array(JournalSchema.migrations.dropLast()))
        }
        try copyRows(from: layout.journal, to: old)
        for path in [layout.journal, layout.journalBackup] {
            for suffix in ["", "-wal", "-shm"] { try fileSystem.unlink(path + suffix, op: "test") }
        }
        try fileSystem.rename(old, to: layout.journal, op: "test")
    }

    /// Copies every table that the old schema has, column by column.
    private static func copyRows(from new: String, to old: String) throws {
        var handle: OpaquePointer?
        guard sqlite3_open(old, &handle) == SQLITE_OK else { throw Stage.StageError("cannot open \(old)") }
        defer { sqlite3_close_v2(handle) }
        try execute("ATTACH '\(new)' AS present", handle)
        for table in try texts("SELECT name FROM main.sqlite_master WHERE type = 'table'", handle)
        where !table.hasPrefix("sqlite_") {
            let columns = try texts("SELECT name FROM pragma_table_info('\(table)', 'main')", handle)
            let list = columns.joined(separator: ", ")
            try execute("INSERT INTO main.\(table) (\(list)) SELECT \(list) FROM present.\(table)", handle)
        }
        try execute("DETACH present", handle)
        try execute("PRAGMA wal_checkpoint(TRUNCATE)", handle)
    }

    private static func execute(_ sql: String, _ handle: OpaquePointer?) throws {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else {
            throw Stage.StageError("\(sql): \(String(cString: sqlite3_errmsg(handle)))")
        }
    }

    private static func texts(_ sql: String, _ handle: OpaquePointer?) throws -> [String] {
        var statement: OpaquePointer?
        guard sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK else {
            throw Stage.StageError("\(sql): \(String(cString: sqlite3_errmsg(handle)))")
        }
        defer { sqlite3_finalize(statement) }
        var found: [String] = []
        while sqlite3_step(statement) == SQLITE_ROW {
            if let text = sqlite3_column_text(statement, 0) { found.append(String(cString: text)) }
        }
        return found
    }
}
