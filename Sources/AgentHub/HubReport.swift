import AgentCore
import Base
import Model
import TransparencyLog
import WireGuard

// What `status`, `why` and `hub status` show. Field names are stable: scripts read them.
extension HubService {
    public func status() async -> JSONValue {
        guard let standing else {
            var document: [String: JSONValue] = ["enrolled": false, "phase": "none"]
            if let error = standingTrouble ?? condition.lastError { document["lastError"] = Self.json(error, nil) }
            return .object(document)
        }
        var document: [String: JSONValue] = [
            "enrolled": .bool(standing.phase == .enrolled), "phase": .string(standing.phase.rawValue),
            "host": .string(standing.host), "device": .string(standing.device),
        ]
        if let poll = condition.lastPoll { document["lastPoll"] = .string(poll.description) }
        if let next = condition.nextPollSeconds { document["nextPollInSeconds"] = .integer(Int64(next)) }
        if let error = condition.lastError { document["lastError"] = Self.json(error, condition.lastErrorAt) }
        document["tunnel"] = await tunnel(standing)
        if let backlog = try? await environment.journal.reportBacklog() {
            document["reports"] = [
                "waiting": .integer(Int64(backlog.entries)), "unacknowledged": .integer(Int64(backlog.segments)),
                "dropped": .integer(backlog.dropped),
            ]
        }
        if let key = try? LogKey(parsing: standing.auditKey),
            let checkpoint = try? Checkpoint(verifying: standing.checkpoint, by: key)
        {
            document["audit"] = [
                "size": .integer(checkpoint.size), "root": .string(checkpoint.root.hex),
                "consistent": .bool(condition.witnessTrouble == nil),
            ]
        }
        return .object(document)
    }

    private func tunnel(_ standing: HubStanding) async -> JSONValue {
        var document: [String: JSONValue] = [
            "slot": .string(standing.rotation.active.rawValue),
            "keyAgeSeconds": .integer(max(0, environment.clock.now() - standing.keyedAt)),
            "rotations": .integer(Int64(standing.rotation.completed)),
        ]
        let isPermanent = standing.phase == .enrolled
        let name =
            isPermanent
            ? try? environment.settings.name(standing.rotation.active) : try? environment.settings.temporaryName()
        if let name, let found = try? await environment.links.condition(name) {
            document["interface"] = .string(found.interface)
            document["up"] = .bool(found.isUp)
            document["backend"] = .string(found.isKernel ? "kernel" : "wireguard-go")
            document["receivedBytes"] = .integer(Int64(clamping: found.receivedBytes))
            document["sentBytes"] = .integer(Int64(clamping: found.sentBytes))
            if let endpoint = found.endpoint { document["endpoint"] = .string(endpoint) }
            if let handshake = found.lastHandshake {
                document["handshakeAgeSeconds"] = .integer(max(0, environment.clock.now() - handshake))
            }
        } else {
            document["up"] = false
        }
        if let address = standing.address(standing.rotation.active) {
            document["address"] = .string(address.description)
        }
        return .object(document)
    }

    private static func json(_ error: any CodedError, _ at: Timestamp?) -> JSONValue {
        var document: [String: JSONValue] = ["code": .string(error.code), "message": .string(error.message)]
        if let hint = error.hint { document["hint"] = .string(hint) }
        if let at { document["at"] = .string(at.description) }
        return .object(document)
    }

    /// Reasons for `why`. A hub that is away is no fault of the device: it goes on without.
    public func reasons() async -> [LocalReason] {
        var reasons: [LocalReason] = []
        if let standingTrouble { reasons.append(LocalReason(standingTrouble)) }
        guard let standing else {
            if let error = condition.lastError { reasons.append(LocalReason(error)) }
            return reasons
        }
        switch standing.phase {
        case .asking: reasons.append(contentsOf: away("this device asks the hub at \(standing.host) to be enrolled"))
        case .waiting:
            reasons.append(
                LocalReason(
                    code: "hub-link.waiting", message: "the hub waits for a person to approve \(standing.device)",
                    hint: "approve it on the hub", isProgress: true))
        case .refused:
            reasons.append(
                LocalReason(
                    code: "hub-link.refused", message: standing.refusal, hint: "enrol with a new token",
                    isProgress: false))
        case .enrolled:
            if condition.lastError != nil {
                let words =
                    isAway
                    ? "the hub at \(standing.host) is away" : "what the hub at \(standing.host) says cannot be taken"
                reasons.append(contentsOf: away(words))
            }
            for error in [condition.witnessTrouble, condition.rotationTrouble].compactMap({ $0 }) {
                reasons.append(LocalReason(error))
            }
            for (_, error) in (await polling?.refusals ?? [:]).sorted(by: { $0.key < $1.key }) {
                reasons.append(LocalReason(error, isProgress: true))
            }
        }
        return reasons
    }

    /// Whether the last trouble is that no answer came: the device goes on without, and no fault is said.
    private var isAway: Bool {
        (condition.lastError as? HubLinkError).map { [.unreachable, .busy].contains($0.reason) } ?? false
    }

    private func away(_ words: String) -> [LocalReason] {
        guard let error = condition.lastError else {
            return [LocalReason(code: "hub-link.asking", message: words, hint: nil, isProgress: true)]
        }
        return [
            LocalReason(
                code: error.code, message: "\(words): \(error.message)", hint: error.hint, isProgress: isAway)
        ]
    }
}
