/// A cell of the table: a scenario and a fault.
package struct CrashCell {
    package let operations: Int
    /// What is wrong with the scenario without a fault.
    package let problems: [String]
    private let matrix: CrashMatrix
    private let quiet: CrashMatrix.Outcome

    package init(_ scenario: Scenario, _ kind: CrashMatrix.FaultKind) async throws {
        matrix = try await CrashMatrix(scenario, kind)
        quiet = try await matrix.play(at: nil)
        operations = quiet.count
        problems = quiet.problems
    }

    package func play(at index: Int) async throws -> CrashRun {
        let outcome = try await matrix.play(at: index, wanted: quiet.state)
        return CrashRun(
            scenario: matrix.scenario.name, fault: matrix.kind.rawValue, operations: quiet.count, syncs: quiet.syncs,
            index: index, operation: outcome.names.dropFirst(index).first ?? "?", hasStruck: outcome.hasStruck,
            problems: outcome.hasStruck ? outcome.problems : [])
    }
}
