import AgentTestSupport
import Base
import Testing

/// Every scenario with every fault, against an engine in memory.
///
/// Each cell of the table tries a seeded sample of the scenario's operations; with `HOLDFAST_CRASH_FULL` set, all.
@Suite struct CrashMatrixTests {
    /// Operations tried in one cell of the table, the first and the last always among them.
    private static let sampleSize = 16

    private static func sample(of count: Int, seed: UInt64) -> [Int] {
        guard !Scenario.isFull, count > sampleSize else { return Array(0..<count) }
        var generator = SeededGenerator(seed: seed)
        var chosen: Set<Int> = [0, count - 1]
        while chosen.count < sampleSize { chosen.insert(Int.random(in: 0..<count, using: &generator)) }
        return chosen.sorted()
    }

    @Test(arguments: Scenario.all)
    func everyFaultIsSurvived(_ scenario: Scenario) async throws {
        var seed: UInt64 = 1
        for kind in CrashMatrix.FaultKind.allCases {
            let matrix = try await CrashMatrix(scenario, kind)
            let quiet = try await matrix.play(at: nil)
            #expect(quiet.problems.isEmpty, "\(scenario.name) fails without a fault: \(quiet.problems)")
            #expect(quiet.count > 15)
            var row = CrashRow(
                tier: "model", scenario: scenario.name, fault: kind.rawValue, operations: quiet.count,
                syncs: quiet.names.filter { $0.hasPrefix("sync") }.count)
            seed += 1
            for index in Self.sample(of: quiet.count, seed: seed) {
                let outcome = try await matrix.play(at: index, wanted: quiet.state)
                guard outcome.hasStruck else { continue }
                row.tried += 1
                if outcome.problems.isEmpty { row.survived += 1 }
                #expect(
                    outcome.problems.isEmpty,
                    """
                    \(scenario.name), \(kind.rawValue) at operation \(index) of \(quiet.count) \
                    (\(outcome.names.dropFirst(index).first ?? "?")): \(outcome.problems.joined(separator: "; "))
                    """)
            }
            #expect(row.tried > 0, "\(scenario.name): \(kind.rawValue) never struck")
            try row.record()
        }
    }
}
