import Base
import Model
import SQLite

extension Journal {
    /// Damaged files kept for a person to look at.
    static let damagedFilesKept = 3

    /// Opens the journal, and never fails for damage: a damaged file is moved aside and the last good copy, or an
    /// empty journal, takes its place. Fails for what a copy cannot mend: no permission, no space, a newer schema.
    ///
    /// On a full disk the reserve is given up first: even to read it, SQLite must write.
    public static func open(
        layout: StateLayout, fileSystem: FileSystem, clock: SystemClock
    ) throws -> (journal: Journal, condition: JournalCondition) {
        do {
            return try openOrReplace(layout, fileSystem, clock)
        } catch let error as any CodedError where error is SQLiteError || error is FileSystemError {
            guard try isFull(layout, fileSystem), try fileSystem.status(layout.reserve) != nil else { throw error }
            try fileSystem.unlink(layout.reserve, op: "reserve.release")
            return try openOrReplace(layout, fileSystem, clock)
        }
    }

    /// Bytes below which a disk counts as full: less than a commit and its log may need.
    private static let fullBelow: Int64 = 256 << 10

    private static func isFull(_ layout: StateLayout, _ fileSystem: FileSystem) throws -> Bool {
        try fileSystem.freeSpace(layout.root) < fullBelow || fileSystem.freeInodes(layout.root) == 0
    }

    private static func openOrReplace(
        _ layout: StateLayout, _ fileSystem: FileSystem, _ clock: SystemClock
    ) throws -> (journal: Journal, condition: JournalCondition) {
        try fileSystem.makeDirectories(layout.root, mode: 0o700, op: "journal.directory")
        let isNew = try fileSystem.status(layout.journal) == nil
        do {
            let database = try connect(layout, fileSystem)
            if isNew, try fileSystem.status(layout.journalBackup) != nil {
                // The file went missing and its copy did not: as good as damaged.
                throw SQLiteError(reason: .corrupt, path: layout.journal, detail: "the file is missing")
            }
            let journal = try Journal(database, layout: layout, fileSystem: fileSystem, clock: clock)
            return (journal, isNew ? .new : .sound)
        } catch let error as SQLiteError where error.reason == .corrupt {
            return try replaceDamaged(layout, fileSystem, clock, problem: error.detail)
        } catch let error as SQLiteError where error.reason == .schema {
            // A newer agent was here on trial and was given up; without its trial this is for a person to solve.
            guard isSound(layout.journalBeforeTrial, fileSystem) else { throw error }
            return try returnFromTrial(layout, fileSystem, clock)
        }
    }

    /// While an agent is on trial nothing is adopted and no trust moves, so that the copy is as good as the file.
    private static func returnFromTrial(
        _ layout: StateLayout, _ fileSystem: FileSystem, _ clock: SystemClock
    ) throws -> (journal: Journal, condition: JournalCondition) {
        // The copy for damage first, which is of the newer form too: after a power cut on the way it takes over.
        try copyFile(
            layout.journalBeforeTrial, to: layout.journalBackup, by: unfinishedCopy(layout), fileSystem)
        let aside = try setAside(layout, fileSystem, as: "journal.newer")
        try copyFile(layout.journalBeforeTrial, to: layout.journal, by: unfinishedJournal(layout), fileSystem)
        let journal = try Journal(
            connect(layout, fileSystem), layout: layout, fileSystem: fileSystem, clock: clock)
        return (journal, .returned(movedTo: aside))
    }

    /// Renames the journal away, its log with it; one file of each kind is kept.
    private static func setAside(_ layout: StateLayout, _ fileSystem: FileSystem, as name: String) throws -> String {
        let aside = Path.join(layout.root, name + ".db")
        for suffix in ["", "-wal", "-shm"] {
            try fileSystem.unlink(aside + suffix, op: "journal.set-aside")
        }
        for suffix in ["", "-wal", "-shm"] where try fileSystem.status(layout.journal + suffix) != nil {
            try fileSystem.rename(layout.journal + suffix, to: aside + suffix, op: "journal.set-aside")
        }
        return aside
    }

    /// Keeps the journal as it is for the agent that may come back, and drops that copy again.
    public func keepForReturn() throws {
        for path in unfinishedReturnCopies { try fileSystem.unlink(path, op: "journal.backup") }
        try fileSystem.makeDirectories(layout.agent, mode: 0o700, op: "journal.backup")
        try copy(to: layout.journalBeforeTrial, by: layout.journalBeforeTrial + ".tmp")
    }

    /// Once the trial is over, however it ended: a copy that stayed would one day bring lower floors back.
    public func dropReturnCopy() throws {
        for path in [layout.journalBeforeTrial] + unfinishedReturnCopies where try fileSystem.status(path) != nil {
            try fileSystem.unlink(path, op: "journal.trial-ended")
        }
    }

    private var unfinishedReturnCopies: [String] {
        ["", "-wal", "-shm", "-journal"].map { layout.journalBeforeTrial + ".tmp" + $0 }
    }

    private static func connect(_ layout: StateLayout, _ fileSystem: FileSystem) throws -> Connection {
        let database = try Connection(path: layout.journal, monitor: fileSystem.monitor)
        if let problem = try database.integrityProblems().first {
            throw SQLiteError(reason: .corrupt, path: layout.journal, detail: problem)
        }
        try database.migrate(JournalSchema.migrations)
        return database
    }

    private static func replaceDamaged(
        _ layout: StateLayout, _ fileSystem: FileSystem, _ clock: SystemClock, problem: String
    ) throws -> (journal: Journal, condition: JournalCondition) {
        let aside = Path.join(layout.root, "journal.damaged-\(clock.now().seconds).db")
        for suffix in ["", "-wal", "-shm"] where try fileSystem.status(layout.journal + suffix) != nil {
            try fileSystem.rename(layout.journal + suffix, to: aside + suffix, op: "journal.set-aside")
        }
        try dropOldDamaged(layout, fileSystem)
        let copy = isSound(layout.journalBackup, fileSystem)
        if copy {
            // The copy is a whole file without a log beside it; it is streamed, not held in memory.
            try copyFile(layout.journalBackup, to: layout.journal, by: unfinishedJournal(layout), fileSystem)
        }
        let database = try connect(layout, fileSystem)
        let journal = try Journal(database, layout: layout, fileSystem: fileSystem, clock: clock)
        let condition: JournalCondition =
            copy ? .restored(problem: problem, movedTo: aside) : .lost(problem: problem, movedTo: aside)
        return (journal, condition)
    }

    private static func isSound(_ path: String, _ fileSystem: FileSystem) -> Bool {
        guard (try? fileSystem.status(path)) != nil, let database = try? Connection(path: path),
            let problems = try? database.integrityProblems()
        else { return false }
        return problems.isEmpty
    }

    private static func copyFile(
        _ source: String, to destination: String, by temporary: String, _ fileSystem: FileSystem
    ) throws {
        let input = try ReadableFile(path: source)
        let output = try fileSystem.create(temporary, mode: 0o600, truncate: true, op: "journal.restore")
        var offset: Int64 = 0
        while true {
            let bytes = try input.read(at: offset, count: 1 << 16)
            if bytes.isEmpty { break }
            try output.write(bytes)
            offset += Int64(bytes.count)
        }
        try output.sync()
        try fileSystem.rename(temporary, to: destination, op: "journal.restore")
    }

    private static func dropOldDamaged(_ layout: StateLayout, _ fileSystem: FileSystem) throws {
        let names = try fileSystem.list(layout.root).filter { $0.hasPrefix("journal.damaged-") && $0.hasSuffix(".db") }
        for name in names.dropLast(damagedFilesKept) {
            for suffix in ["", "-wal", "-shm"] {
                try fileSystem.unlink(Path.join(layout.root, name + suffix), op: "journal.drop-damaged")
            }
        }
    }

    /// Writes a whole copy beside the journal: what ``open(layout:fileSystem:clock:)`` falls back to.
    ///
    /// Called after a commit, which stands whatever becomes of the copy: a copy that fails is made again by
    /// ``refreshCopy()``.
    func backUp() {
        isCopyStale = true
        try? refreshCopy()
    }

    /// Makes the copy again if it may be older than the journal: its last write failed, or the process before this one
    /// ended between a commit and its copy.
    public func refreshCopy() throws {
        guard isCopyStale else { return }
        try Self.dropUnfinishedCopies(layout, fileSystem)
        do {
            try writeCopy()
        } catch {
            // On a full disk the half-written copy would take the room that the journal needs.
            try? Self.dropUnfinishedCopies(layout, fileSystem)
            throw error
        }
        isCopyStale = false
    }

    private func writeCopy() throws { try copy(to: layout.journalBackup, by: Self.unfinishedCopy(layout)) }

    private func copy(to path: String, by temporary: String) throws {
        try database.vacuum(into: temporary)
        // The copy is made without a sync of its own.
        let file = try fileSystem.append(temporary, mode: 0o600, op: "journal.backup")
        try file.sync()
        try fileSystem.rename(temporary, to: path, op: "journal.backup")
    }

    private static func unfinishedCopy(_ layout: StateLayout) -> String { layout.journalBackup + ".tmp" }
    private static func unfinishedJournal(_ layout: StateLayout) -> String { layout.journal + ".restoring" }

    /// Removes what a process that ended in the midst of copying left.
    private static func dropUnfinishedCopies(_ layout: StateLayout, _ fileSystem: FileSystem) throws {
        let paths = ["", "-wal", "-shm", "-journal"].map { unfinishedCopy(layout) + $0 } + [unfinishedJournal(layout)]
        for path in paths where try fileSystem.status(path) != nil {
            try fileSystem.unlink(path, op: "journal.backup")
        }
    }
}
