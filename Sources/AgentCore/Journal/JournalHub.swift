import Base
import Model
import SQLite
import Trust

/// What joining a hub changes, and what a hub's word may not change.
extension Journal {
    /// Makes the device the hub's: its id and labels, and where it gives one, its director, beside the trust
    /// in releases that the device has.
    ///
    /// - Parameter directorRoot: refused unless it signs itself; ignored where the device has a director already.
    public func join(_ device: DeviceRecord, directorRoot: [UInt8]?) throws {
        guard var state = try trustState() else {
            throw AgentError(.notProvisioned, "this device trusts no root yet")
        }
        if let directorRoot, state.director == nil { try state.adoptDirector(root: directorRoot) }
        let before = try self.device()
        guard try trustState() != state || before != device else { return }
        try database.transaction("journal.join") {
            try saveTrust(state)
            try write(device)
            try insertEvent(app: "", code: "device.joined", message: "joined the hub as \(device.id)")
        }
        backUp()
    }

    /// Takes over the labels that the hub gives this device; answers whether they are others than before.
    @discardableResult
    public func relabel(_ labels: [String: String]) throws -> Bool {
        guard var device = try device(), device.labels != labels else { return false }
        device.labels = labels
        try database.transaction("journal.labels") {
            try write(device)
            let words = labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
            try insertEvent(app: "", code: "device.relabelled", message: "labels are now \(words)")
        }
        backUp()
        return true
    }

    /// Refuses a release that comes of itself, without a person, where a newer one is the target already or a
    /// person went back from it: the newest wins, whichever road it came by, and a person wins over both.
    ///
    /// - Throws: `agent.older-than-target`, `agent.held-back`.
    public func refuseUnasked(_ release: Release, _ digest: Digest) throws {
        guard let active = try desired().first(where: { $0.app == release.app }), active.target.digest != digest else {
            return
        }
        guard release.ctr > active.target.release.ctr else {
            // The same digest is no news, a lower number is what came before.
            if release.ctr == active.target.release.ctr { return }
            throw AgentError(
                .olderThanTarget,
                "\(release.app) \(release.version) (ctr \(release.ctr)) is older than \(active.target) "
                    + "(ctr \(active.target.release.ctr)), which this device is on",
                hint: "assign the newer release, or go back on the device: holdfast-agent rollback")
        }
        let rows = try desiredHistory(limit: Int(Self.desiredLimit)).filter { $0.app == release.app }
        guard rows.first(where: \.isActive)?.cause == AdoptionCause.rollbackCommand.rawValue,
            rows.contains(where: { $0.release == digest })
        else { return }
        throw AgentError(
            .heldBack, "a person went back from \(release.app) \(release.version) on this device",
            hint: "import it by hand, or assign a newer release")
    }
}
