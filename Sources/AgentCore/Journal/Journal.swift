import Base
import Model
import SQLite
import Trust

/// The device's memory: what it trusts, what it is to run, what it did. One SQLite file, every commit synced.
public actor Journal {
    /// Rows kept of each bounded table.
    public static let stepLimit: Int64 = 2_000
    public static let eventLimit: Int64 = 2_000
    /// Superseded desired states kept per device, for people; the releases they name go with them.
    public static let desiredLimit: Int64 = 200

    let database: Connection
    let layout: StateLayout
    let fileSystem: FileSystem
    let clock: SystemClock
    private let trust = TrustStateStore()
    /// The copy beside the journal may be older than it. True at first: nobody knows how the process before ended.
    var isCopyStale = true
    /// Decoded documents of the releases in use.
    private var decoded: [Digest: Release] = [:]

    init(_ database: sending Connection, layout: StateLayout, fileSystem: FileSystem, clock: SystemClock) throws {
        self.database = database
        self.layout = layout
        self.fileSystem = fileSystem
        self.clock = clock
    }

    // MARK: Identity and trust

    public func device() throws -> DeviceRecord? {
        guard let id = try setting("device.id") else { return nil }
        var labels: [String: String] = [:]
        for (key, value) in try database.query(
            "SELECT key, value FROM setting WHERE key GLOB 'label.*'", map: Self.pair)
        {
            labels[String(key.dropFirst("label.".count))] = value
        }
        return DeviceRecord(id: id, labels: labels, requiresDirector: try setting("device.director") == "required")
    }

    private static func pair(_ row: borrowing Row) throws -> (String, String) { (try row.text(0), try row.text(1)) }

    public func trustState() throws -> TrustState? { try trust.load(database) }

    /// First trust and identity, in one commit.
    ///
    /// - Throws: `agent.already-provisioned`, unless `replace`: then trust begins anew and only the floors stay.
    public func provision(_ device: DeviceRecord, trust state: TrustState, replace: Bool = false) throws {
        var state = state
        if let old = try trust.load(database) {
            guard replace else {
                throw AgentError(
                    .alreadyProvisioned, "this device already trusts a root",
                    hint: "a new root comes by rotation; --replace begins trust anew")
            }
            state.raiseTimeFloor(to: old.timeFloor)
            for (app, floor) in old.floors { state.raiseFloors(app: app, ctr: floor.ctr, epoch: floor.epoch) }
        }
        try database.transaction("journal.provision") {
            try trust.save(state, in: database)
            try write(device)
            try insertEvent(app: "", code: "device.provisioned", message: "provisioned as \(device.id)")
        }
        backUp()
    }

    /// Writes the identity; call it inside a transaction.
    func write(_ device: DeviceRecord) throws {
        try database.run("DELETE FROM setting WHERE key GLOB 'label.*'")
        try set("device.id", device.id)
        try set("device.director", device.requiresDirector ? "required" : "none")
        for (key, value) in device.labels { try set("label." + key, value) }
    }

    /// Writes the trust; call it inside a transaction.
    func saveTrust(_ state: TrustState) throws { try trust.save(state, in: database) }

    /// Keeps a trust state that a refresh reached before anything was adopted by it.
    public func persist(_ state: TrustState) throws {
        try database.transaction("journal.trust") { try trust.save(state, in: database) }
    }

    /// The nonce that the next freshness ticket must answer, durable.
    ///
    /// - Parameter anew: Makes another and voids the one that is out; else that one is given again.
    /// - Throws: `agent.not-provisioned`.
    public func nonce(anew: Bool) throws -> [UInt8] {
        guard var state = try trust.load(database) else { throw AgentError.notProvisioned() }
        if !anew, let nonce = state.nonce { return nonce }
        var generator = SystemRandomNumberGenerator()
        let nonce = state.makeNonce(using: &generator)
        try database.transaction("journal.nonce") { try trust.saveNonce(of: state, in: database) }
        return nonce
    }

    private func setting(_ key: String) throws -> String? {
        try database.first("SELECT value FROM setting WHERE key = ?", .text(key)) { try $0.text(0) }
    }

    private func set(_ key: String, _ value: String) throws {
        try database.run(
            "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            .text(key), .text(value))
    }

    // MARK: Desired states

    public enum Adoption: Sendable, Equatable {
        case adopted
        /// The release is already the target.
        case unchanged
    }

    /// Makes a verified release the candidate of its app, with the trust that it rests on, in one commit.
    ///
    /// Only Trust makes a `Verified`: what was not verified cannot be written here.
    ///
    /// - Parameter retry: takes a release that failed here before.
    /// - Throws: `agent.failed-before`.
    public func adopt(_ verified: Verified<Release>, retry: Bool = false) throws -> Adoption {
        let release = verified.value
        let active = try activeRow(release.app)
        if let active, active.release == verified.digest, active.phase != .degraded || !retry {
            try database.transaction("journal.trust") {
                try trust.save(verified.newState, in: database)
                // The same release with a proof as good or better; a worse one takes none away.
                let known = try database.first(
                    "SELECT freshness FROM release WHERE digest = ?", SQLiteValue(verified.digest)
                ) { Freshness(rawValue: try $0.text(0)) }
                if let known, let known, verified.freshness <= known {
                    try database.run(
                        "UPDATE release SET freshness = ?, verified_at = ? WHERE digest = ?",
                        .text(verified.freshness.rawValue), SQLiteValue(clock.now()), SQLiteValue(verified.digest))
                }
            }
            return .unchanged
        }
        if !retry { try refuseFailed(verified) }
        let previous = active.flatMap { $0.phase == .committed ? $0.release : $0.previous }
        try database.transaction("journal.adopt") {
            try trust.save(verified.newState, in: database)
            try database.run(
                """
                INSERT INTO release (digest, app, version, ctr, epoch, document, freshness, verified_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (digest) DO UPDATE SET freshness = excluded.freshness, verified_at = excluded.verified_at
                """, SQLiteValue(verified.digest), .text(release.app), .text(release.version.description),
                .integer(release.ctr), .integer(release.epoch), .blob(verified.bytes),
                .text(verified.freshness.rawValue), SQLiteValue(clock.now()))
            try database.run("DELETE FROM failed_release WHERE release = ?", SQLiteValue(verified.digest))
            try activate(
                release.app, verified.digest, previous: previous == verified.digest ? nil : previous, phase: .candidate,
                cause: .imported)
            try insertEvent(
                app: release.app, code: "release.adopted",
                message: "adopted \(release.version) (\(verified.digest.short)), \(verified.freshness.rawValue)")
            try trim()
        }
        backUp()
        return .adopted
    }

    /// Refuses (`agent.failed-before`) a release that failed on this device, but keeps the trust it brought.
    public func refuseFailed(_ verified: Verified<Release>) throws {
        guard let failure = try failure(of: verified.digest) else { return }
        try persist(verified.newState)
        throw AgentError(
            .failedBefore,
            "release \(verified.value.app) \(verified.value.version) failed on this device before: \(failure)",
            hint: "import a corrected release, or try this one again with --retry")
    }

    /// Every app's target with what it came from.
    public func desired() throws -> [DesiredApp] {
        var apps: [DesiredApp] = []
        for row in try activeRows() {
            apps.append(
                DesiredApp(
                    app: row.app, target: try pinned(row.release), phase: row.phase,
                    previous: try row.previous.map { try pinned($0) }, trialStarts: row.trialStarts, detail: row.detail)
            )
        }
        let used = Set(apps.flatMap { [$0.target.digest, $0.previous?.digest].compactMap { $0 } })
        decoded = decoded.filter { used.contains($0.key) }
        return apps
    }

    /// Counts a process that begins or resumes the trial of a candidate; answers the count.
    public func beginTrial(_ app: String) throws {
        try database.run(
            "UPDATE desired SET trial_starts = trial_starts + 1 WHERE app = ? AND active = 1 AND phase = 'candidate'",
            .text(app))
    }

    /// Makes the candidate the release to come back to, and raises the floors to it.
    public func commit(_ app: String, _ release: Digest) throws {
        guard let row = try activeRow(app), row.release == release, row.phase != .committed else { return }
        let target = try pinned(release)
        try database.transaction("journal.commit") {
            try database.run(
                "UPDATE desired SET phase = 'committed', detail = '', settled_at = ? WHERE id = ?",
                SQLiteValue(clock.now()), .integer(row.id))
            if var state = try trust.load(database) {
                state.raiseFloors(app: app, ctr: target.release.ctr, epoch: target.release.epoch)
                try trust.save(state, in: database)
            }
            try database.run("DELETE FROM failed_release WHERE release = ?", SQLiteValue(release))
            try database.run("DELETE FROM update_now WHERE app = ?", .text(app))
            try insertEvent(
                app: app, code: "release.committed", message: "committed \(target.release.version) (\(release.short))")
        }
        backUp()
    }

    /// Gives a candidate up, remembers it by its digest, and makes the release before the target again.
    /// With none, or where the release switches rollback off, the app is degraded.
    public func fail(_ app: String, _ release: Digest, _ failure: TrialFailure) throws {
        guard let row = try activeRow(app), row.release == release, row.phase == .candidate else { return }
        let target = try pinned(release)
        try database.transaction("journal.fail") {
            try database.run(
                """
                INSERT INTO failed_release (release, code, message, at) VALUES (?, ?, ?, ?)
                ON CONFLICT (release) DO UPDATE SET code = excluded.code, message = excluded.message, at = excluded.at
                """, SQLiteValue(release), .text(failure.code), .text(failure.description), SQLiteValue(clock.now()))
            try insertEvent(
                app: app, code: "release.failed",
                message: "\(target.release.version) (\(release.short)) failed: \(failure.description)")
            if let previous = row.previous, target.release.update.rollback {
                try settle(row.id, phase: "failed", detail: failure.description)
                try activate(
                    app, previous, previous: try pinBefore(previous, app, below: row.id), phase: .committed,
                    cause: .rollback)
                try insertEvent(app: app, code: "release.rolled-back", message: "back to \(try pinned(previous))")
            } else if target.release.agent != nil {
                // The program that the device was installed with runs, and no release names it.
                try settle(row.id, phase: "failed", detail: failure.description)
            } else {
                try database.run(
                    "UPDATE desired SET phase = 'degraded', detail = ?, settled_at = ? WHERE id = ?",
                    .text(failure.description), SQLiteValue(clock.now()), .integer(row.id))
            }
        }
        backUp()
    }

    /// Makes the release before the candidate, on a person's request; the present one is then the one to go back to.
    ///
    /// - Throws: `agent.unknown-app`, `agent.nothing-to-roll-back-to`, `agent.epoch-floor`.
    public func rollBack(_ app: String) throws -> PinnedRelease {
        guard let row = try activeRow(app) else { throw AgentError(.unknownApp, "no app \(app) on this device") }
        guard let previous = row.previous else {
            throw AgentError(
                .nothingToRollBackTo, "\(app) has no release before the present one",
                hint: "import the bundle of the release you want")
        }
        let target = try pinned(previous)
        if let floor = try trust.load(database)?.floors[app], target.release.epoch < floor.epoch {
            throw AgentError(
                .epochFloor,
                "\(target) has epoch \(target.release.epoch), and this device has committed epoch \(floor.epoch)",
                hint: "the later release forbids all before it; import a newer one")
        }
        try database.transaction("journal.rollback") {
            try settle(row.id, phase: "superseded", detail: "rolled back by command")
            try database.run("DELETE FROM failed_release WHERE release = ?", SQLiteValue(previous))
            try activate(
                app, previous, previous: row.phase == .committed ? row.release : nil, phase: .candidate,
                cause: .rollbackCommand)
            try insertEvent(app: app, code: "release.rollback-asked", message: "a person asked for \(target)")
        }
        backUp()
        return target
    }

    /// Ends the active row of an app and appends the next one.
    private func activate(
        _ app: String, _ release: Digest, previous: Digest?, phase: DesiredApp.Phase, cause: AdoptionCause
    ) throws {
        try database.run(
            """
            UPDATE desired SET active = 0, settled_at = coalesce(settled_at, ?),
                phase = CASE phase WHEN 'failed' THEN 'failed' ELSE 'superseded' END
            WHERE app = ? AND active = 1
            """, SQLiteValue(clock.now()), .text(app))
        try database.run(
            """
            INSERT INTO desired (app, release, previous, phase, cause, adopted_at, active) VALUES (?, ?, ?, ?, ?, ?, 1)
            """, .text(app), SQLiteValue(release), SQLiteValue(previous?.description), .text(phase.rawValue),
            .text(cause.rawValue), SQLiteValue(clock.now()))
    }

    private func settle(_ id: Int64, phase: String, detail: String) throws {
        try database.run(
            "UPDATE desired SET phase = ?, detail = ?, settled_at = ?, active = 0 WHERE id = ?", .text(phase),
            .text(detail), SQLiteValue(clock.now()), .integer(id))
    }

    /// What was pinned behind `release` when it was last the target: stays pinned after a rollback to it.
    private func pinBefore(_ release: Digest, _ app: String, below id: Int64) throws -> Digest? {
        try database.first(
            "SELECT previous FROM desired WHERE app = ? AND release = ? AND id < ? ORDER BY id DESC LIMIT 1",
            .text(app), SQLiteValue(release), .integer(id)
        ) { row in row.isNull(0) ? nil : try row.digest(0) } ?? nil
    }

    private struct ActiveRow {
        var id: Int64
        var app: String
        var release: Digest
        var previous: Digest?
        var phase: DesiredApp.Phase
        var trialStarts: Int
        var detail: String
    }

    private func activeRow(_ app: String) throws -> ActiveRow? { try activeRows().first { $0.app == app } }

    private func activeRows() throws -> [ActiveRow] {
        try database.query(
            "SELECT id, app, release, previous, phase, trial_starts, detail FROM desired WHERE active = 1 ORDER BY app"
        ) { row in
            guard let phase = DesiredApp.Phase(rawValue: try row.text(4)) else {
                throw AgentError(.journal, "desired state \(try row.integer(0)) is in no known phase")
            }
            return ActiveRow(
                id: try row.integer(0), app: try row.text(1), release: try row.digest(2),
                previous: row.isNull(3) ? nil : try row.digest(3), phase: phase,
                trialStarts: Int(try row.integer(5)), detail: try row.text(6))
        }
    }

    /// The release of that digest, from its stored document, whose digest is checked again.
    public func pinned(_ digest: Digest) throws -> PinnedRelease {
        if let release = decoded[digest] { return PinnedRelease(digest: digest, release: release) }
        guard
            let document = try database.first(
                "SELECT document FROM release WHERE digest = ?", SQLiteValue(digest), map: { try $0.blob(0) })
        else { throw AgentError(.journal, "the journal names release \(digest.short) and does not hold it") }
        guard Digest.sha256(document) == digest else {
            throw AgentError(.journal, "the journal's copy of release \(digest.short) is damaged")
        }
        let release = try Release(decoding: document)
        decoded[digest] = release
        return PinnedRelease(digest: digest, release: release)
    }

    private func failure(of release: Digest) throws -> String? {
        try database.first("SELECT message FROM failed_release WHERE release = ?", SQLiteValue(release)) {
            try $0.text(0)
        }
    }

    // MARK: Steps

    /// A step is about to act; answers the row for its outcome.
    public func begin(_ step: Step, app: String, release: Digest) throws -> Int64 {
        try database.run(
            "INSERT INTO step (app, release, key, description, started_at) VALUES (?, ?, ?, ?, ?)", .text(app),
            SQLiteValue(release), .text(step.key), .text(step.description), SQLiteValue(clock.now()))
        return database.lastInsertedRow
    }

    public func finish(_ id: Int64, failure: (any CodedError)?) throws {
        try database.transaction("journal.outcome") {
            try database.run(
                "UPDATE step SET finished_at = ?, outcome = ?, code = ?, message = ? WHERE id = ?",
                SQLiteValue(clock.now()), .text(failure == nil ? "done" : "failed"), SQLiteValue(failure?.code),
                SQLiteValue(failure?.message), .integer(id))
            try database.run("DELETE FROM step WHERE id <= ?", .integer(id - Self.stepLimit))
        }
    }

    /// Marks what a process that ended left unfinished; answers how many.
    public func markInterrupted() throws -> Int {
        guard try database.first("SELECT 1 FROM step WHERE outcome IS NULL LIMIT 1", map: { _ in true }) == true else {
            return 0
        }
        return try database.run("UPDATE step SET outcome = 'interrupted' WHERE outcome IS NULL")
    }

    // MARK: Events

    public func record(app: String, code: String, message: String) throws {
        try database.transaction("journal.event") { try insertEvent(app: app, code: code, message: message) }
    }

    func insertEvent(app: String, code: String, message: String) throws {
        try database.run(
            "INSERT INTO event (at, app, code, message) VALUES (?, ?, ?, ?)", SQLiteValue(clock.now()), .text(app),
            .text(code), .text(String(message.prefix(2_000))))
        try database.run("DELETE FROM event WHERE id <= ?", .integer(database.lastInsertedRow - Self.eventLimit))
    }

    /// Drops the oldest superseded desired states, and documents that nothing names any more.
    private func trim() throws {
        try database.run(
            "DELETE FROM desired WHERE active = 0 AND id <= (SELECT max(id) FROM desired) - ?",
            .integer(Self.desiredLimit))
        try database.run(
            """
            DELETE FROM release WHERE digest NOT IN (SELECT release FROM desired)
                AND digest NOT IN (SELECT previous FROM desired WHERE previous IS NOT NULL)
                AND digest NOT IN (SELECT release FROM failed_release)
            """)
    }

    // MARK: Observed state

    /// Keeps what was seen, writing only what changed.
    public func observe(_ containers: [ManagedContainer]) throws {
        let seen = Dictionary(
            containers.map { ($0.id, Self.record($0)) }, uniquingKeysWith: { first, _ in first })
        let stored = Dictionary(try observed().map { ($0.container, $0) }, uniquingKeysWith: { first, _ in first })
        guard seen != stored else { return }
        try database.transaction("journal.observe") {
            for id in stored.keys where seen[id] == nil {
                try database.run("DELETE FROM observed WHERE container = ?", .text(id))
                try database.run("DELETE FROM fingerprint WHERE container = ?", .text(id))
            }
            for (id, record) in seen where stored[id] != record {
                try database.run(
                    """
                    INSERT OR REPLACE INTO observed (container, app, service, name, state, health, exit_code, restarts, at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """, .text(id), .text(record.app), .text(record.service), .text(record.name), .text(record.state),
                    .text(record.health), .integer(record.exitCode), .integer(record.restarts),
                    SQLiteValue(clock.now()))
            }
            for container in containers {
                try database.run(
                    "INSERT OR IGNORE INTO fingerprint (container, fingerprint) VALUES (?, ?)", .text(container.id),
                    .text(container.fingerprint))
            }
        }
    }

    private static func record(_ container: ManagedContainer) -> ObservedRecord {
        ObservedRecord(
            container: container.id, app: container.app, service: container.service, name: container.name,
            state: container.state.rawValue, health: container.health.rawValue, exitCode: Int64(container.exitCode),
            restarts: Int64(container.restartCount))
    }

    public func observed() throws -> [ObservedRecord] {
        try database.query(
            "SELECT container, app, service, name, state, health, exit_code, restarts FROM observed ORDER BY app, name"
        ) { row in
            ObservedRecord(
                container: try row.text(0), app: try row.text(1), service: try row.text(2), name: try row.text(3),
                state: try row.text(4), health: try row.text(5), exitCode: try row.integer(6),
                restarts: try row.integer(7))
        }
    }

    public func fingerprints() throws -> [String: String] {
        Dictionary(
            try database.query("SELECT container, fingerprint FROM fingerprint", map: Self.pair),
            uniquingKeysWith: { first, _ in first })
    }

    // MARK: Reading

    public func desiredHistory(limit: Int = 50) throws -> [DesiredRecord] {
        try database.query(
            """
            SELECT d.id, d.app, d.release, r.version, d.phase, d.cause, d.detail, d.adopted_at, d.settled_at, d.active
            FROM desired d JOIN release r ON r.digest = d.release ORDER BY d.id DESC LIMIT ?
            """, SQLiteValue(limit)
        ) { row in
            DesiredRecord(
                id: try row.integer(0), app: try row.text(1), release: try row.digest(2), version: try row.text(3),
                phase: try row.text(4), cause: try row.text(5), detail: try row.text(6),
                adoptedAt: try row.timestamp(7),
                settledAt: try row.optionalInteger(8).map { Timestamp(seconds: $0) }, isActive: try row.bool(9))
        }
    }

    public func steps(limit: Int = 50) throws -> [StepRecord] {
        try database.query(
            """
            SELECT id, app, release, key, description, started_at, finished_at, outcome, code, message
            FROM step ORDER BY id DESC LIMIT ?
            """, SQLiteValue(limit)
        ) { row in
            StepRecord(
                id: try row.integer(0), app: try row.text(1), release: try row.text(2), key: try row.text(3),
                description: try row.text(4), startedAt: try row.timestamp(5),
                finishedAt: try row.optionalInteger(6).map { Timestamp(seconds: $0) },
                outcome: try row.optionalText(7), code: try row.optionalText(8), message: try row.optionalText(9))
        }
    }

    public func events(limit: Int = 50) throws -> [EventRecord] {
        try database.query(
            "SELECT id, at, app, code, message FROM event ORDER BY id DESC LIMIT ?", SQLiteValue(limit)
        ) { row in
            EventRecord(
                id: try row.integer(0), at: try row.timestamp(1), app: try row.text(2), code: try row.text(3),
                message: try row.text(4))
        }
    }

    public func releases() throws -> [ReleaseRecord] {
        let active = try activeRows()
        return try database.query(
            """
            SELECT r.digest, r.app, r.version, r.ctr, r.epoch, r.freshness, r.verified_at, coalesce(f.message, '')
            FROM release r LEFT JOIN failed_release f ON f.release = r.digest ORDER BY r.app, r.ctr DESC
            """
        ) { row in
            let digest = try row.digest(0)
            let failure = try row.text(7)
            return ReleaseRecord(
                digest: digest, app: try row.text(1), version: try row.text(2), ctr: try row.integer(3),
                epoch: try row.integer(4), freshness: try row.text(5), verifiedAt: try row.timestamp(6),
                role: Self.role(digest, active, failed: !failure.isEmpty), failure: failure)
        }
    }

    private static func role(_ digest: Digest, _ active: [ActiveRow], failed: Bool) -> ReleaseRecord.Role {
        if let row = active.first(where: { $0.release == digest }) {
            switch row.phase {
            case .candidate: return .candidate
            case .committed: return .current
            case .degraded: return .degraded
            }
        }
        if active.contains(where: { $0.previous == digest }) { return .previous }
        return failed ? .failed : .old
    }

    /// Gives cache memory back; called when nothing is going on.
    public func releaseMemory() { database.releaseMemory() }
}
