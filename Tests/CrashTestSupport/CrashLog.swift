import Base
import Model

/// The runs that were made, a line of JSON each, in a file that a later start goes on with.
package struct CrashLog: Sendable {
    private let path: String
    /// Bytes of a file that is read; a whole matrix is a tenth of it.
    private static let limit = 256 << 20

    package init(path: String) { self.path = path }

    package func append(_ run: CrashRun) throws {
        let line: JSONValue = [
            "tier": "model", "scenario": .string(run.scenario), "fault": .string(run.fault),
            "operations": .integer(Int64(run.operations)), "syncs": .integer(Int64(run.syncs)),
            "index": .integer(Int64(run.index)), "operation": .string(run.operation),
            "tried": .integer(run.hasStruck ? 1 : 0), "survived": .integer(run.hasStruck && !run.hasFailed ? 1 : 0),
            "problems": .array(run.problems.map { .string($0) }),
        ]
        // One write to a file opened to append: lines of several workers do not mix.
        try FileSystem().append(path, op: "test.results").write(try line.serialized(.compact) + [0x0A])
    }

    /// Runs that need not be made again: those that were survived, and those that did not strike.
    package func done() throws -> Set<Key> {
        guard try FileSystem().status(path) != nil else { return [] }
        var found: Set<Key> = []
        for line in try FileSystem().read(path, limit: Self.limit).split(separator: 0x0A) {
            // The last line of a run that was ended may be half.
            guard let run = try? JSONValue(parsing: Array(line)), run["tier"]?.string == "model",
                let scenario = run["scenario"]?.string, let fault = run["fault"]?.string,
                let operations = run["operations"]?.integer, let index = run["index"]?.integer
            else { continue }
            let key = Key(scenario: scenario, fault: fault, operations: Int(operations), index: Int(index))
            if run["tried"]?.integer == run["survived"]?.integer { found.insert(key) } else { found.remove(key) }
        }
        return found
    }

    /// What makes two runs the same. A scenario that came to have other operations is played anew.
    package struct Key: Hashable, Sendable {
        package var scenario: String
        package var fault: String
        package var operations: Int
        package var index: Int

        package init(scenario: String, fault: String, operations: Int, index: Int) {
            self.scenario = scenario
            self.fault = fault
            self.operations = operations
            self.index = index
        }
    }
}
