import Base

/// One step of a schema, in the order of a list; `PRAGMA user_version` counts the steps taken.
public struct Migration: Sendable {
    /// For messages: `journal tables`.
    public var name: String
    public var statements: [StaticString]

    public init(_ name: String, _ statements: StaticString...) {
        self.name = name
        self.statements = statements
    }
}

extension Connection {
    /// Takes the steps that the database lacks, all in one transaction: after a crash it is as before or done.
    ///
    /// A database of a later version than the list is refused (`sqlite.schema`): an older program must
    /// not write into it.
    public func migrate(_ migrations: [Migration]) throws {
        let current = try userVersion
        guard current <= migrations.count else {
            throw SQLiteError(
                reason: .schema, path: path,
                detail: "schema version \(current) is newer than this program's \(migrations.count)")
        }
        guard current < migrations.count else { return }
        try transaction("sqlite.migrate") {
            for migration in migrations[current...] {
                for statement in migration.statements { try run(statement) }
            }
            try setUserVersion(migrations.count)
        }
    }
}
