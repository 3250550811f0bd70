import Base
import Glibc
import Model

/// One cell of the crash table, for `tools/crash-matrix`.
public struct CrashRow: Sendable {
    public var tier: String
    public var scenario: String
    public var fault: String
    /// Durable operations of the scenario without a fault.
    public var operations: Int
    /// Syncs of files and directories among them.
    public var syncs: Int
    public var tried = 0
    public var survived = 0

    public init(tier: String, scenario: String, fault: String, operations: Int, syncs: Int) {
        self.tier = tier
        self.scenario = scenario
        self.fault = fault
        self.operations = operations
        self.syncs = syncs
    }

    private var json: JSONValue {
        [
            "tier": .string(tier), "scenario": .string(scenario), "fault": .string(fault),
            "operations": .integer(Int64(operations)), "syncs": .integer(Int64(syncs)),
            "tried": .integer(Int64(tried)),
            "survived": .integer(Int64(survived)),
        ]
    }

    /// Appends the row to the file that `HOLDFAST_CRASH_RESULTS` names, if it names one.
    public func record() throws {
        guard let path = getenv("HOLDFAST_CRASH_RESULTS").map({ String(cString: $0) }) else { return }
        let file = try FileSystem().append(path, op: "test.results")
        try file.write(try json.serialized(.compact) + [0x0A])
    }
}
