import Model
import Trust

/// A release's place among the others of its application.
struct ReleaseOrder {
    var ctr: Int64
    var epoch: Int64
    private var existing: ReleaseTarget?
    private let name: ReleaseName

    /// - Parameters:
    ///   - ctr: nil for the newest release's and one.
    ///   - epoch: nil for the newest release's.
    init(_ name: ReleaseName, ctr: Int64?, epoch: Int64?, _ workspace: Workspace) throws {
        self.name = name
        let others = try workspace.repository.releases().filter { $0.app == name.app }
        existing = others.first { $0.version == name.version }
        let newest = others.max { $0.ctr < $1.ctr }
        if let existing {
            // Making the same release again must give the same document.
            self.ctr = ctr ?? existing.ctr
            self.epoch = epoch ?? existing.epoch
            return
        }
        self.ctr = ctr ?? (newest?.ctr ?? 0) + 1
        self.epoch = epoch ?? newest?.epoch ?? 0
        if let newest, self.ctr < newest.ctr {
            throw OperatorError(
                .order, "ctr \(self.ctr) is below that of \(newest.path) (\(newest.ctr))",
                hint: "leave --ctr out; a device that has the newer release would refuse this one")
        }
        if let newest, self.epoch < newest.epoch {
            throw OperatorError(
                .order, "epoch \(self.epoch) is below that of \(newest.path) (\(newest.epoch))",
                hint: "an epoch is only ever raised; leave --epoch out to keep it")
        }
    }

    /// The listed release of this name, which must be the one that was made; nil when there is none.
    func existing(as target: ReleaseTarget) throws(OperatorError) -> ReleaseTarget? {
        guard let existing else { return nil }
        guard existing.digest == target.digest else {
            throw OperatorError(
                .versionExists, "\(name) is there already, with other content",
                hint: "a version never changes once it is made; choose the next one")
        }
        return existing
    }
}
