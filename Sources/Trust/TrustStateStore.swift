import Base
import SQLite

/// Keeps a ``TrustState`` in tables `trust_*` of the caller's database, inside the caller's transaction.
///
/// Trust and the adoption that rests on it are then one commit: after a crash both are as before, or both are new.
public struct TrustStateStore: Sendable {
    /// The schema, for the caller's list of migrations.
    public static let migration = Migration(
        "trust state",
        """
        CREATE TABLE trust_metadata (
            repository TEXT NOT NULL,
            role TEXT NOT NULL,
            bytes BLOB NOT NULL,
            PRIMARY KEY (repository, role)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE trust_floor (
            app TEXT PRIMARY KEY,
            ctr INTEGER NOT NULL,
            epoch INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE trust_clock (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            floor INTEGER NOT NULL,
            nonce BLOB
        )
        """)

    public init() {}

    /// Nil when the device is not provisioned.
    public func load(_ database: Connection) throws -> TrustState? {
        var metadata: [RepositoryName: ExactMap<[UInt8]>] = [:]
        let rows = try database.query("SELECT repository, role, bytes FROM trust_metadata") { row in
            (try row.text(0), try row.text(1), try row.blob(2))
        }
        for (repository, role, bytes) in rows {
            guard let name = RepositoryName(rawValue: repository) else {
                throw TrustError(.stateCorrupt, repository, "an unknown repository in the trust tables")
            }
            metadata[name, default: [:]][role] = bytes
        }
        guard !metadata.isEmpty else { return nil }
        guard let release = try metadata[.release].map(Self.assemble) else {
            throw TrustError(.stateCorrupt, "release", "the trust tables have no release root")
        }
        let clock = try database.first("SELECT floor, nonce FROM trust_clock WHERE id = 1") { row in
            (try row.timestamp(0), try row.optionalBlob(1))
        }
        guard let clock else { throw TrustError(.stateCorrupt, "clock", "the trust tables have no time floor") }
        let floors = try database.query("SELECT app, ctr, epoch FROM trust_floor") { row in
            (try row.text(0), TrustState.Floor(ctr: try row.integer(1), epoch: try row.integer(2)))
        }
        return TrustState(
            release: release, director: try metadata[.director].map(Self.assemble), timeFloor: clock.0,
            floors: Dictionary(floors, uniquingKeysWith: { first, _ in first }), nonce: clock.1)
    }

    private static func assemble(_ roles: ExactMap<[UInt8]>) throws -> TrustedMetadata {
        guard let root = roles[TopLevel.root] else {
            throw TrustError(.stateCorrupt, TopLevel.root, "the trust tables have no root")
        }
        return TrustedMetadata(
            root: root, timestamp: roles[TopLevel.timestamp], snapshot: roles[TopLevel.snapshot],
            targets: roles[TopLevel.targets], delegated: roles.filter { !TopLevel.all.contains($0.key) })
    }

    /// Writes what differs from what is stored. Call it inside a transaction.
    public func save(_ state: TrustState, in database: Connection) throws {
        for repository in RepositoryName.allCases {
            try save(state[repository], of: repository, in: database)
        }
        for (app, floor) in state.floors {
            try database.run(
                """
                INSERT INTO trust_floor (app, ctr, epoch) VALUES (?, ?, ?)
                ON CONFLICT (app) DO UPDATE SET ctr = max(ctr, excluded.ctr), epoch = max(epoch, excluded.epoch)
                """, .text(app), .integer(floor.ctr), .integer(floor.epoch))
        }
        try database.run(
            """
            INSERT INTO trust_clock (id, floor, nonce) VALUES (1, ?, ?)
            ON CONFLICT (id) DO UPDATE SET floor = max(floor, excluded.floor)
            """, SQLiteValue(state.timeFloor), SQLiteValue(state.nonce))
        if let answered = state.answeredNonce {
            try database.run("UPDATE trust_clock SET nonce = NULL WHERE nonce = ?", .blob(answered))
        }
    }

    /// Writes the nonce of a provisioned device alone. Saving a state, which may be an older one, leaves it as it is.
    public func saveNonce(of state: TrustState, in database: Connection) throws {
        try database.run("UPDATE trust_clock SET nonce = ? WHERE id = 1", SQLiteValue(state.nonce))
    }

    private func save(
        _ metadata: TrustedMetadata?, of repository: RepositoryName, in database: Connection
    ) throws {
        let stored = try database.query(
            "SELECT role, bytes FROM trust_metadata WHERE repository = ?", .text(repository.rawValue)
        ) { row in (try row.text(0), try row.blob(1)) }
        var old = ExactMap(stored)
        for role in metadata?.roles ?? [] {
            guard let bytes = metadata?[role] else { continue }
            if old.removeValue(forKey: role) == bytes { continue }
            try database.run(
                """
                INSERT INTO trust_metadata (repository, role, bytes) VALUES (?, ?, ?)
                ON CONFLICT (repository, role) DO UPDATE SET bytes = excluded.bytes
                """, .text(repository.rawValue), .text(role), .blob(bytes))
        }
        for role in old.keys {
            try database.run(
                "DELETE FROM trust_metadata WHERE repository = ? AND role = ?", .text(repository.rawValue),
                .text(role))
        }
    }
}
