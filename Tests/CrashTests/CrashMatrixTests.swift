import AgentTestSupport
import Base
import CrashTestSupport
import Glibc
import TestSupport
import Testing

/// Every scenario with every fault, against an engine in memory: a seeded sample of the operations of each cell of the
/// table. All of them are `tools/crash-matrix --full`.
@Suite struct CrashMatrixTests {
    /// Operations tried in one cell of the table, the first and the last always among them.
    private static let sampleSize = 16

    private static func sample(of count: Int, seed: UInt64) -> [Int] {
        guard count > sampleSize else { return Array(0..<count) }
        var generator = SeededGenerator(seed: seed)
        var chosen: Set<Int> = [0, count - 1]
        while chosen.count < sampleSize { chosen.insert(Int.random(in: 0..<count, using: &generator)) }
        return chosen.sorted()
    }

    @Test(arguments: Scenario.all)
    func everyFaultIsSurvived(_ scenario: Scenario) async throws {
        let log = getenv("HOLDFAST_CRASH_RESULTS").map { CrashLog(path: String(cString: $0)) }
        var seed: UInt64 = 1
        for kind in CrashMatrix.FaultKind.allCases {
            let cell = try await CrashCell(scenario, kind)
            #expect(cell.problems.isEmpty, "\(scenario.name) fails without a fault: \(cell.problems)")
            #expect(cell.operations > 15)
            seed += 1
            var struck = 0
            for index in Self.sample(of: cell.operations, seed: seed) {
                let run = try await cell.play(at: index)
                if run.hasStruck { struck += 1 }
                #expect(!run.hasFailed, "\(run.description)")
                try log?.append(run)
            }
            #expect(struck > 0, "\(scenario.name): \(kind.rawValue) never struck")
        }
    }

    @Test func aLogThatWasCutOffIsGoneOnWith() throws {
        let directory = try TemporaryDirectory()
        let log = CrashLog(path: directory.file("runs"))
        #expect(try log.done().isEmpty)
        var run = CrashRun(
            scenario: "update", fault: "EIO", operations: 9, syncs: 2, index: 3, operation: "sync", hasStruck: true,
            problems: [])
        try log.append(run)
        run.index = 4
        run.problems = ["runs nothing"]
        try log.append(run)
        run.index = 5
        run.hasStruck = false
        run.problems = []
        try log.append(run)
        #expect(Set(try log.done().map(\.index)) == [3, 5], "what failed is played again")
        run.index = 4
        run.hasStruck = true
        try log.append(run)
        let file = try FileSystem().append(directory.file("runs"), op: "test")
        try file.write(Array(#"{"tier":"mod"#.utf8))
        #expect(Set(try log.done().map(\.index)) == [3, 4, 5])
    }
}
