import SQLite
import Trust

/// The journal's tables, step by step. A step that shipped is never edited; a change is a new step.
package enum JournalSchema {
    package static let migrations: [Migration] = [base, TrustStateStore.migration, Journal.reportMigration, locks]

    private static let base = Migration(
        "journal tables",
        """
        CREATE TABLE release (
            digest TEXT PRIMARY KEY,
            app TEXT NOT NULL,
            version TEXT NOT NULL,
            ctr INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            document BLOB NOT NULL,
            freshness TEXT NOT NULL,
            verified_at INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE desired (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            app TEXT NOT NULL,
            release TEXT NOT NULL REFERENCES release (digest),
            previous TEXT REFERENCES release (digest),
            phase TEXT NOT NULL,
            cause TEXT NOT NULL,
            detail TEXT NOT NULL DEFAULT '',
            trial_starts INTEGER NOT NULL DEFAULT 0,
            adopted_at INTEGER NOT NULL,
            settled_at INTEGER,
            active INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE UNIQUE INDEX desired_active ON desired (app) WHERE active = 1",
        """
        CREATE TABLE failed_release (
            release TEXT PRIMARY KEY REFERENCES release (digest),
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            at INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE step (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            app TEXT NOT NULL,
            release TEXT NOT NULL,
            key TEXT NOT NULL,
            description TEXT NOT NULL,
            started_at INTEGER NOT NULL,
            finished_at INTEGER,
            outcome TEXT,
            code TEXT,
            message TEXT
        ) STRICT
        """,
        """
        CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            app TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE observed (
            container TEXT PRIMARY KEY,
            app TEXT NOT NULL,
            service TEXT NOT NULL,
            name TEXT NOT NULL,
            state TEXT NOT NULL,
            health TEXT NOT NULL,
            exit_code INTEGER NOT NULL,
            restarts INTEGER NOT NULL,
            at INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE fingerprint (
            container TEXT PRIMARY KEY,
            fingerprint TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE setting (
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) STRICT
        """)

    private static let locks = Migration(
        "locks and updates that need not wait",
        """
        CREATE TABLE lock (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            app TEXT NOT NULL,
            holder TEXT NOT NULL,
            service TEXT NOT NULL,
            reason TEXT NOT NULL,
            ttl INTEGER NOT NULL,
            spent INTEGER NOT NULL,
            boot TEXT NOT NULL,
            since INTEGER NOT NULL,
            taken_at INTEGER NOT NULL,
            UNIQUE (app, holder)
        ) STRICT
        """,
        """
        CREATE TABLE update_now (
            app TEXT PRIMARY KEY,
            release TEXT NOT NULL
        ) STRICT
        """)
}
