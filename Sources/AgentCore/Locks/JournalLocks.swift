import Base
import Model
import SQLite

/// Locks in the journal.
///
/// A lock's lifetime runs while the device runs. What it has spent is written when it has grown by a twentieth of
/// the lifetime (or a minute), and by a reboot only what came since the last such note is forgotten: jumps of the
/// wall clock neither end a lock nor keep it, and rebooting cannot keep it for long. Time without power does not count.
extension Journal {
    private static let noteSeconds: Int64 = 60
    private static let noteShare: Int64 = 20

    /// Takes a lock, or extends the one that the same holder has on the same app.
    ///
    /// - Throws: `agent.too-many-locks`.
    public func takeLock(_ request: UpdateLock.Request, at clock: BootClock, wall: Timestamp) throws -> UpdateLock {
        let held = try locks(at: clock)
        let isHeld = held.contains { $0.app == request.app && $0.holder == request.holder }
        guard isHeld || held.count < UpdateLock.countLimit else {
            throw AgentError(
                .tooManyLocks, "\(held.count) locks are held, at most \(UpdateLock.countLimit)",
                hint: "holdfast-agent lock list")
        }
        try database.transaction("journal.lock") {
            try database.run(
                """
                INSERT INTO lock (app, holder, service, reason, ttl, spent, boot, since, taken_at)
                VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)
                ON CONFLICT (app, holder) DO UPDATE SET service = excluded.service, reason = excluded.reason,
                    ttl = excluded.ttl, spent = 0, boot = excluded.boot, since = excluded.since,
                    taken_at = excluded.taken_at
                """, .text(request.app), .text(request.holder), .text(request.service), .text(request.reason),
                .integer(request.lifetime), .text(clock.boot), .integer(Int64(clock.now / 1_000_000_000)),
                SQLiteValue(wall))
            try insertEvent(
                app: request.app, code: "lock.taken",
                message: "\(request.holder) holds updates back for \(request.lifetime) s: \(request.reason)")
        }
        guard
            let lock = try locks(at: clock).first(where: { $0.app == request.app && $0.holder == request.holder })
        else { throw AgentError(.journal, "the lock was not kept") }
        return lock
    }

    /// Ends a holder's locks, of one app or of all; answers how many.
    public func releaseLocks(holder: String, app: String? = nil, why: String) throws -> Int {
        let gone = try rows().filter { $0.holder == holder && (app == nil || $0.app == app) }
        try drop(gone, code: "lock.released", why: why)
        return gone.count
    }

    /// Ends locks by their ids, all of them when nil; answers those ended.
    public func overrideLocks(_ ids: Set<Int64>?, why: String) throws -> Int {
        let gone = try rows().filter { ids?.contains($0.id) ?? true }
        try drop(gone, code: "lock.overridden", why: why)
        return gone.count
    }

    /// The locks that hold, those that have run out dropped.
    public func locks(at clock: BootClock) throws -> [UpdateLock] {
        let now = Int64(clock.now / 1_000_000_000)
        var held: [UpdateLock] = []
        var expired: [LockRow] = []
        for row in try rows() {
            // Of another boot: what was noted counts, and from now on this boot's time.
            let grown = row.boot == clock.boot ? max(0, now - row.since) : 0
            let spent = row.spent + grown
            guard spent < row.lifetime else {
                expired.append(row)
                continue
            }
            if row.boot != clock.boot || grown >= max(Self.noteSeconds, row.lifetime / Self.noteShare) {
                try database.run(
                    "UPDATE lock SET spent = ?, boot = ?, since = ? WHERE id = ?", .integer(spent), .text(clock.boot),
                    .integer(now), .integer(row.id))
            }
            held.append(
                UpdateLock(
                    id: row.id, app: row.app, holder: row.holder, service: row.service, reason: row.reason,
                    secondsLeft: row.lifetime - spent, takenAt: row.takenAt))
        }
        try drop(expired, code: "lock.expired", why: "its time ran out")
        return held
    }

    /// Ends the locks of services none of whose containers runs; answers the locks that hold.
    public func locks(at clock: BootClock, running: [ManagedContainer]) throws -> [UpdateLock] {
        let held = try locks(at: clock)
        let orphaned = held.filter { lock in
            !lock.service.isEmpty
                && !running.contains { $0.app == lock.app && $0.service == lock.service && $0.state == .running }
        }
        guard !orphaned.isEmpty else { return held }
        let ids = Set(orphaned.map(\.id))
        try drop(try rows().filter { ids.contains($0.id) }, code: "lock.orphaned", why: "its container does not run")
        return held.filter { !ids.contains($0.id) }
    }

    private struct LockRow {
        var id: Int64
        var app: String
        var holder: String
        var service: String
        var reason: String
        var lifetime: Int64
        var spent: Int64
        var boot: String
        /// Seconds of the boot's clock.
        var since: Int64
        var takenAt: Timestamp
    }

    private func rows() throws -> [LockRow] {
        try database.query(
            "SELECT id, app, holder, service, reason, ttl, spent, boot, since, taken_at FROM lock ORDER BY id"
        ) { row in
            LockRow(
                id: try row.integer(0), app: try row.text(1), holder: try row.text(2), service: try row.text(3),
                reason: try row.text(4), lifetime: try row.integer(5), spent: try row.integer(6),
                boot: try row.text(7), since: try row.integer(8), takenAt: try row.timestamp(9))
        }
    }

    private func drop(_ gone: [LockRow], code: String, why: String) throws {
        guard !gone.isEmpty else { return }
        try database.transaction("journal.unlock") {
            for row in gone {
                try database.run("DELETE FROM lock WHERE id = ?", .integer(row.id))
                try insertEvent(app: row.app, code: code, message: "\(row.holder): \(why)")
            }
        }
    }

    // MARK: Updates that need not wait

    /// Lets the present candidate of an app go on whatever the windows say.
    public func updateNow(_ app: String, _ release: Digest) throws {
        try database.transaction("journal.update-now") {
            try database.run(
                "INSERT INTO update_now (app, release) VALUES (?, ?) ON CONFLICT (app) DO UPDATE SET release = excluded.release",
                .text(app), SQLiteValue(release))
            try insertEvent(app: app, code: "release.update-now", message: "a person lets \(release.short) go on now")
        }
    }

    /// By app, the releases that need not wait.
    public func updatesNow() throws -> [String: Digest] {
        Dictionary(
            try database.query("SELECT app, release FROM update_now") { (try $0.text(0), try $0.digest(1)) },
            uniquingKeysWith: { $1 })
    }
}
