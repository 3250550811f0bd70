/// A scenario played with one fault at one operation.
package struct CrashRun: Sendable {
    package var scenario: String
    package var fault: String
    /// Durable operations of the scenario without a fault.
    package var operations: Int
    /// Syncs of files and directories among them.
    package var syncs: Int
    /// The operation that the fault strikes, from 0.
    package var index: Int
    /// What that operation is.
    package var operation: String
    package var hasStruck: Bool
    package var problems: [String]

    package init(
        scenario: String, fault: String, operations: Int, syncs: Int, index: Int, operation: String, hasStruck: Bool,
        problems: [String]
    ) {
        self.scenario = scenario
        self.fault = fault
        self.operations = operations
        self.syncs = syncs
        self.index = index
        self.operation = operation
        self.hasStruck = hasStruck
        self.problems = problems
    }

    package var hasFailed: Bool { !problems.isEmpty }

    package var description: String {
        "\(scenario), \(fault) at operation \(index) of \(operations) (\(operation)): \(problems.joined(separator: "; "))"
    }
}
