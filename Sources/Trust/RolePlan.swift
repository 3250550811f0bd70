import Base
import Model

/// Who may sign a role, how many must, and for how long it is good.
public struct RolePlan: Sendable, Equatable {
    public var keys: [PublicKey]
    /// At least 1 and at most the number of keys.
    public var threshold: Int
    /// Days from signing to expiry.
    public var days: Int

    public init(keys: [PublicKey], threshold: Int, days: Int) {
        self.keys = keys
        self.threshold = threshold
        self.days = days
    }

    /// With a majority of `count` keys no minority can sign, and none can block by losing its keys: 3 of 5, 2 of 3.
    public static func majority(of count: Int) -> Int { count / 2 + 1 }

    func check(_ role: String) throws(TrustError) {
        guard threshold >= 1, threshold <= keys.count else {
            throw TrustError(.thresholdInvalid, role, "a threshold of \(threshold) with \(keys.count) keys")
        }
        guard Set(keys.map(\.keyID)).count == keys.count else {
            throw TrustError(.keyIDDuplicate, role, "one key is given twice")
        }
        guard (1...36_500).contains(days) else {
            throw TrustError(.repositoryInvalid, role, "a life of \(days) days; 1 to 36500 are possible")
        }
    }

    var json: JSONValue {
        .object([
            "keyids": .array(keys.map { .string($0.keyID) }), "threshold": .integer(Int64(threshold)),
            RepositoryFields.days: .integer(Int64(days)),
        ])
    }
}

/// Our own fields in TUF metadata. Other clients keep and hash what they do not know.
enum RepositoryFields {
    static let days = "x-holdfast-expiry-days"
    static let issued = "x-holdfast-issued"
    /// In a director's targets role: bits of its device bins' numbers.
    static let deviceBits = "x-holdfast-device-bits"
    /// In a director's snapshot: raised by what all devices have to look at, not those of one bin alone.
    static let common = "x-holdfast-common"
}

/// The plan of a whole new repository.
public struct RepositoryPlan: Sendable, Equatable {
    public var root: RolePlan
    public var targets: RolePlan
    public var snapshot: RolePlan
    public var timestamp: RolePlan
    public var consistentSnapshots: Bool

    /// Days: offline roles live long, since their holders must meet to sign; online roles short, since their
    /// expiry is what shows a freeze.
    public static let defaultDays = (root: 365, targets: 365, snapshot: 30, timestamp: 7)

    public init(
        root: RolePlan, targets: RolePlan, snapshot: RolePlan, timestamp: RolePlan,
        consistentSnapshots: Bool = true
    ) {
        self.root = root
        self.targets = targets
        self.snapshot = snapshot
        self.timestamp = timestamp
        self.consistentSnapshots = consistentSnapshots
    }

    /// One key per role, for a lab: not for anything that matters.
    public static func lab(
        root: PublicKey, targets: PublicKey, snapshot: PublicKey, timestamp: PublicKey,
        days: (root: Int, targets: Int, snapshot: Int, timestamp: Int) = defaultDays
    ) -> Self {
        RepositoryPlan(
            root: RolePlan(keys: [root], threshold: 1, days: days.root),
            targets: RolePlan(keys: [targets], threshold: 1, days: days.targets),
            snapshot: RolePlan(keys: [snapshot], threshold: 1, days: days.snapshot),
            timestamp: RolePlan(keys: [timestamp], threshold: 1, days: days.timestamp))
    }

    var roles: [(name: String, plan: RolePlan)] {
        [
            (TopLevel.root, root), (TopLevel.targets, targets), (TopLevel.snapshot, snapshot),
            (TopLevel.timestamp, timestamp),
        ]
    }
}
