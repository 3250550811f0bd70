import Base
import Glibc
import Testing

@testable import SQLite

private final class Scratch {
    let path: String
    init() {
        var template = Array("/tmp/holdfast-sqlite-XXXXXX".utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? "/tmp"
    }
    var database: String { Path.join(path, "db") }
    deinit { try? FileSystem().removeTree(path, op: "test") }
}

@Suite struct ConnectionTests {
    private let scratch = Scratch()

    private func open(_ monitor: DurabilityMonitor = .passthrough) throws -> Connection {
        let connection = try Connection(path: scratch.database, monitor: monitor)
        try connection.run("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v)")
        return connection
    }

    @Test func valuesRoundTripWithTheirTypes() throws {
        let db = try open()
        let values: [SQLiteValue] = [
            .null, .integer(.min), .real(1.5), .text(""), .text("ö'; DROP"), .blob([]), .blob([0, 255]),
        ]
        for value in values { try db.run("INSERT INTO t (v) VALUES (?)", value) }
        #expect(try db.query("SELECT v FROM t ORDER BY id") { try $0.value(0) } == values)
    }

    @Test func durabilityIsFullAndLoggedAhead() throws {
        let db = try open()
        #expect(try db.first("PRAGMA journal_mode") { try $0.text(0) } == "wal")
        #expect(try db.first("PRAGMA synchronous") { try $0.integer(0) } == 2)
    }

    @Test func aWrongTypeIsAnErrorNotAConversion() throws {
        let db = try open()
        try db.run("INSERT INTO t (v) VALUES ('7')")
        let error = #expect(throws: SQLiteError.self) { try db.query("SELECT v FROM t") { try $0.integer(0) } }
        #expect(error?.code == "sqlite.type")
    }

    @Test func constraintViolationsHaveTheirCode() throws {
        let db = try open()
        try db.run("INSERT INTO t (id) VALUES (1)")
        let error = #expect(throws: SQLiteError.self) { try db.run("INSERT INTO t (id) VALUES (1)") }
        #expect(error?.code == "sqlite.constraint")
    }

    @Test func aFileThatIsNoDatabaseIsCorrupt() throws {
        try FileSystem().replace(scratch.database, with: Array(repeating: 0x41, count: 8192), op: "test")
        let error = #expect(throws: SQLiteError.self) { try open() }
        #expect(error?.code == "sqlite.corrupt")
    }

    @Test func aLockHeldElsewhereIsBusy() throws {
        let db = try open()
        let other = try open()
        try other.run("PRAGMA busy_timeout=10")
        try db.transaction("test.hold") {
            let error = #expect(throws: SQLiteError.self) { try other.run("INSERT INTO t (v) VALUES (1)") }
            #expect(error?.code == "sqlite.busy")
        }
    }

    @Test func aFullDatabaseHasItsCodeAndStaysUsable() throws {
        let db = try open()
        try db.run("PRAGMA max_page_count=8")
        let error = #expect(throws: SQLiteError.self) {
            try db.transaction("test.fill") { try db.run("INSERT INTO t (v) VALUES (zeroblob(100000))") }
        }
        #expect(error?.code == "sqlite.full")
        try db.run("INSERT INTO t (v) VALUES (1)")
        #expect(try db.first("SELECT count(*) FROM t") { try $0.integer(0) } == 1)
    }

    @Test func anErrorInTheBodyRollsAllBack() throws {
        struct Stop: Error {}
        let db = try open()
        #expect(throws: Stop.self) {
            try db.transaction("test") {
                try db.run("INSERT INTO t (v) VALUES (1)")
                throw Stop()
            }
        }
        #expect(try db.first("SELECT count(*) FROM t") { try $0.integer(0) } == 0)
    }

    @Test(arguments: [(ENOSPC, "sqlite.full"), (EIO, "sqlite.io")])
    func aCommitTheMonitorFailsLeavesNothing(errno: Int32, code: String) throws {
        let db = try open(
            DurabilityMonitor { $0.label == "test.adopt" ? .fail(errno: errno) : .perform })
        let error = #expect(throws: SQLiteError.self) {
            try db.transaction("test.adopt") { try db.run("INSERT INTO t (v) VALUES (1)") }
        }
        #expect(error?.code == code)
        try db.transaction("test.other") { try db.run("INSERT INTO t (v) VALUES (2)") }
        #expect(try db.query("SELECT v FROM t") { try $0.integer(0) } == [2])
    }

    @Test func transactionsDoNotNest() throws {
        let db = try open()
        let error = #expect(throws: SQLiteError.self) {
            try db.transaction("outer") { try db.transaction("inner") {} }
        }
        #expect(error?.code == "sqlite.misuse")
    }

    @Test func aStatementInUseMayBeNested() throws {
        let db = try open()
        for value in 0..<3 { try db.run("INSERT INTO t (v) VALUES (?)", SQLiteValue(value)) }
        func read(_ depth: Int) throws -> [Int64] {
            try db.query("SELECT v FROM t ORDER BY id") { row in
                depth == 0 ? try row.integer(0) : try read(depth - 1).reduce(0, +)
            }
        }
        #expect(try read(1) == [3, 3, 3])
    }

    @Test func moreValuesThanParametersAreRefused() throws {
        let db = try open()
        let error = #expect(throws: SQLiteError.self) { try db.run("INSERT INTO t (v) VALUES (?)", 1, 2) }
        #expect(error?.code == "sqlite.misuse")
        #expect(throws: SQLiteError.self) { try db.run("SELECT 1; SELECT 2") }
    }

    @Test func aCopyHoldsWhatWasCommitted() throws {
        let db = try open()
        try db.run("INSERT INTO t (v) VALUES ('kept')")
        let copy = Path.join(scratch.path, "copy")
        try db.vacuum(into: copy)
        let other = try Connection(path: copy)
        #expect(try other.query("SELECT v FROM t") { try $0.text(0) } == ["kept"])
        #expect(try other.integrityProblems().isEmpty)
    }

    @Test func damagedPagesAreFound() throws {
        do {
            let db = try open()
            try db.transaction("test.fill") {
                for value in 0..<2000 { try db.run("INSERT INTO t (v) VALUES (?)", .text("row \(value)")) }
            }
            try db.checkpoint()
        }
        let descriptor = Glibc.open(scratch.database, O_WRONLY)
        let noise = [UInt8](repeating: 0xA5, count: 4096)
        #expect(noise.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, 4096, 8192) } == 4096)
        close(descriptor)
        let db = try Connection(path: scratch.database)
        #expect(try !db.integrityProblems().isEmpty)
    }
}

@Suite struct MigrationTests {
    private let scratch = Scratch()
    private let first = Migration("first", "CREATE TABLE a (x INTEGER) STRICT")
    private let second = Migration("second", "ALTER TABLE a ADD COLUMN y INTEGER", "INSERT INTO a VALUES (1, 2)")

    @Test func stepsAreTakenOnceAndInOrder() throws {
        let db = try Connection(path: scratch.database)
        try db.migrate([first])
        try db.migrate([first, second])
        try db.migrate([first, second])
        #expect(try db.userVersion == 2)
        #expect(try db.query("SELECT y FROM a") { try $0.integer(0) } == [2])
    }

    @Test func aFailedStepLeavesTheOldSchema() throws {
        let db = try Connection(path: scratch.database)
        try db.migrate([first])
        #expect(throws: SQLiteError.self) {
            try db.migrate([first, Migration("bad", "CREATE TABLE b (x)", "NONSENSE")])
        }
        #expect(try db.userVersion == 1)
        #expect(try db.first("SELECT count(*) FROM sqlite_schema WHERE name='b'") { try $0.integer(0) } == 0)
    }

    @Test func aNewerSchemaIsRefused() throws {
        let db = try Connection(path: scratch.database)
        try db.migrate([first, second])
        let error = #expect(throws: SQLiteError.self) { try db.migrate([first]) }
        #expect(error?.code == "sqlite.schema")
    }
}
