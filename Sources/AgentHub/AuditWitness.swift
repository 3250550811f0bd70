import Base
import TransparencyLog

/// Keeps the last checkpoint of the hub's audit log and refuses a log that does not begin with what it saw.
struct AuditWitness: Sendable {
    /// Asks for the newest checkpoint when the log has grown, and checks it. Changes the standing, which the caller keeps.
    ///
    /// - Parameter size: what the hub says it is now; nil when it did not say.
    ///
    /// - Throws: `hub-link.inconsistent-log`: both checkpoints are then evidence, and the old one stays.
    func look(
        _ standing: inout HubStanding, key: String, size: Int64?, _ client: HubClient, _ end: HubEnd
    ) async throws {
        guard !key.isEmpty else { return }
        if standing.auditKey.isEmpty {
            _ = try LogKey(parsing: key)
            standing.auditKey = key
        }
        guard standing.auditKey == key else {
            throw HubLinkError(
                .inconsistentLog, "the hub names another audit key (\(key)) than before (\(standing.auditKey))",
                hint: "ask the hub's operator; to take the new key as it is: holdfast-agent hub leave, then enrol again"
            )
        }
        let log = try LogKey(parsing: standing.auditKey)
        let last = try last(standing, log)
        if let last, last.size == size { return }
        let note = try await client.checkpoint(end)
        let next = try Checkpoint(verifying: note, by: log)
        var proof: [Digest] = []
        if let last, last.size > 0, next.size > last.size {
            do {
                proof = try await client.consistency(from: last.size, to: next.size, end)
            } catch let error as HubLinkError where error.reason == .refused {
                throw HubLinkError(
                    .inconsistentLog,
                    "the hub signs an audit log of \(next.size) events and does not prove that it begins with the "
                        + "\(last.size) that it showed before: \(error.message)",
                    hint: "compare the checkpoints of other devices")
            }
        }
        var witness = LogWitness(key: log, last: last)
        do throws(LogError) {
            try witness.accept(note, proof: proof)
        } catch {
            throw HubLinkError(
                .inconsistentLog,
                "the hub's audit log is not the one it showed before: \(error.message)",
                hint: "compare the checkpoints of other devices; the hub's history was changed")
        }
        standing.checkpoint = note
    }

    func last(_ standing: HubStanding, _ key: LogKey) throws -> Checkpoint? {
        standing.checkpoint.isEmpty ? nil : try Checkpoint(verifying: standing.checkpoint, by: key)
    }
}
