import Base
import Model

/// Which program starts as the agent: the slot in use, the one on trial, the one that failed. One small file,
/// replaced whole, so that a power cut leaves the old or the new.
struct SlotState: Equatable, Sendable {
    enum Slot: String, Sendable, CaseIterable {
        case a, b
        var other: Slot { self == .a ? .b : .a }
    }

    /// A program that came as a signed release.
    struct Program: Equatable, Sendable {
        var slot: Slot
        /// SHA-256 of the program.
        var digest: Digest
        /// The release's version, for people.
        var version: String
    }

    struct Trial: Equatable, Sendable {
        var program: Program
        /// Times that it was started.
        var starts: Int
        /// Starts after which the program before comes back.
        var limit: Int
        /// Seconds within which it must have come up healthy.
        var window: Int
    }

    struct Failure: Equatable, Sendable {
        var digest: Digest
        var reason: String
    }

    /// Nil: the program that was installed with the device.
    var current: Program?
    var trial: Trial?
    var failed: Failure?

    static let schema: Int64 = 1
    /// Bytes of the file.
    static let sizeLimit = 16 << 10

    init(current: Program? = nil, trial: Trial? = nil, failed: Failure? = nil) {
        self.current = current
        self.trial = trial
        self.failed = failed
    }

    /// Nil for a file that cannot be read: the installed program then starts, and stages anew what the journal wants.
    init?(parsing bytes: [UInt8]) {
        guard let value = try? JSONValue(parsing: bytes, limits: JSONLimits(size: Self.sizeLimit, depth: 6)),
            value["schema"]?.integer == Self.schema
        else { return nil }
        current = value["current"].flatMap(Program.init)
        trial = value["trial"].flatMap { node in
            guard let program = node["program"].flatMap(Program.init),
                let starts = node["starts"]?.integer.flatMap({ Int(exactly: $0) }),
                let limit = node["limit"]?.integer.flatMap({ Int(exactly: $0) }),
                let window = node["window"]?.integer.flatMap({ Int(exactly: $0) }), starts >= 0, limit > 0, window > 0
            else { return nil }
            return Trial(program: program, starts: starts, limit: limit, window: window)
        }
        failed = value["failed"].flatMap { node in
            guard let digest = node["digest"]?.string.flatMap({ Digest($0) }), let reason = node["reason"]?.string
            else { return nil }
            return Failure(digest: digest, reason: reason)
        }
    }

    var json: JSONValue {
        var members: [String: JSONValue] = ["schema": .integer(Self.schema)]
        if let current { members["current"] = current.json }
        if let trial {
            members["trial"] = [
                "program": trial.program.json, "starts": .integer(Int64(trial.starts)),
                "limit": .integer(Int64(trial.limit)), "window": .integer(Int64(trial.window)),
            ]
        }
        if let failed {
            members["failed"] = ["digest": .string(failed.digest.description), "reason": .string(failed.reason)]
        }
        return .object(members)
    }
}

extension SlotState.Program {
    init?(_ value: JSONValue) {
        guard let slot = value["slot"]?.string.flatMap(SlotState.Slot.init), let version = value["version"]?.string,
            let digest = value["digest"]?.string.flatMap({ Digest($0) })
        else { return nil }
        self.init(slot: slot, digest: digest, version: version)
    }

    var json: JSONValue {
        ["slot": .string(slot.rawValue), "digest": .string(digest.description), "version": .string(version)]
    }
}
