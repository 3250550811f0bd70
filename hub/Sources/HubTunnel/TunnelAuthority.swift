import Base
import Dispatch
import HubCore
import HubEnrolment
import HubProtocol
import HubStore
import Logging
import WireGuard

/// Keeps the hub's WireGuard interface as the store says: its peers at the start, each change when it is committed,
/// and all of it again now and then, since anyone on the machine may change an interface.
public actor TunnelAuthority {
    /// Seconds between two comparisons of the whole interface, and between two looks at tokens that ran out.
    public static let fullInterval: Int64 = 300
    public static let expiryInterval: Int64 = 10

    private let device: any WireGuardDevice
    private let key: SecretKey
    private let port: UInt16
    private let enrolment: EnrolmentService
    private let store: any MetadataStore
    private let clock: SystemClock
    private let logger: Logger
    /// Netlink and sockets block: never on the cooperative threads, and one call after the other.
    private let queue = DispatchQueue(label: "holdfast-hub.wireguard")
    /// What was last applied, by the record it follows from.
    private var applied = AppliedPeers()
    /// Temporary peers and when they go.
    private var expiries: [RecordKey: Timestamp] = [:]
    private var nextFull: Timestamp
    /// The last look at the store and what was made of it, which the next one waits for: a whole comparison with what
    /// the store said before a commit must not undo what that commit has changed.
    private var turn: Task<Void, any Error>?

    public init(
        device: any WireGuardDevice, key: SecretKey, port: UInt16, enrolment: EnrolmentService,
        store: any MetadataStore, clock: SystemClock = .live, logger: Logger
    ) {
        self.device = device
        self.key = key
        self.port = port
        self.enrolment = enrolment
        self.store = store
        self.clock = clock
        self.logger = logger
        nextFull = clock.now() + Self.fullInterval
    }

    private func inTurn(_ work: @escaping @Sendable (isolated TunnelAuthority) async throws -> Void) async throws {
        let earlier = turn
        let next = Task {
            _ = await earlier?.result
            try await work(self)
        }
        turn = next
        try await next.value
    }

    /// Makes the interface equal to the store.
    public func reconcile() async throws { try await inTurn { try await $0.compare() } }

    private func compare() async throws {
        var peers = AppliedPeers()
        var expiries: [RecordKey: Timestamp] = [:]
        var configuration = DeviceConfiguration(privateKey: key, listenPort: port, peers: [])
        try await enrolment.eachPeer { record, wanted, expires in
            peers.append(wanted, of: record)
            configuration.peers += wanted.map(Self.configuration)
            expiries[record] = expires
        }
        peers.finish()
        let (whole, count) = (configuration, configuration.peers.count)
        configuration.peers = []
        let difference = try await blocking { [device] in try device.synchronize(to: whole) }
        applied = peers
        self.expiries = expiries
        nextFull = clock.now() + Self.fullInterval
        if !difference.isEmpty {
            logger.notice(
                "interface changed",
                metadata: ["changes": "\(difference.peers.count)", "peers": "\(count)"])
        }
    }

    /// Applies what changed in the store. A listener of the change feed.
    public func follow(_ changes: [RecordChange]?) async throws {
        guard let changes else { return try await reconcile() }
        let keys = Set(changes.map(\.key).filter { $0.kind == .device || $0.kind == .token })
        guard !keys.isEmpty else { return }
        try await inTurn { try await $0.take(keys) }
    }

    private func take(_ keys: Set<RecordKey>) async throws {
        let now = clock.now()
        var steps: [PeerChange] = []
        var next = applied
        var nextExpiries = expiries
        let records = try await store.get(Array(keys))
        for key in keys.sorted() {
            let (wanted, expires) = try records[key].map { try enrolment.peers(of: $0, at: now) } ?? ([], nil)
            steps += Self.changes(from: applied[key], to: wanted)
            next[key] = wanted
            nextExpiries[key] = expires
        }
        try await apply(steps)
        applied = next
        expiries = nextExpiries
    }

    private static func changes(from old: [TunnelPeer], to new: [TunnelPeer]) -> [PeerChange] {
        let (before, after) = (Set(old), Set(new))
        let removals = old.filter { peer in !new.contains { $0.publicKey == peer.publicKey } }
        return removals.map { .remove($0.publicKey) } + after.subtracting(before).map { .add(configuration($0)) }
    }

    private static func configuration(_ peer: TunnelPeer) -> PeerConfiguration {
        PeerConfiguration(
            publicKey: peer.publicKey, presharedKey: peer.presharedKey, allowedIPs: [IPPrefix(host: peer.address)])
    }

    private func apply(_ steps: [PeerChange]) async throws {
        guard !steps.isEmpty else { return }
        let difference = DeviceDifference(peers: steps)
        try await blocking { [device] in try device.apply(difference) }
    }

    /// Takes away tokens that ran out, and compares the whole when that is due.
    public func upkeep() async throws {
        let now = clock.now()
        if now >= nextFull { return try await reconcile() }
        try await inTurn { try await $0.expire(now) }
    }

    private func expire(_ now: Timestamp) async throws {
        let over = expiries.filter { $0.value <= now }.map(\.key).sorted()
        guard !over.isEmpty else { return }
        try await apply(over.flatMap { Self.changes(from: applied[$0], to: []) })
        for key in over {
            applied[key] = []
            expiries[key] = nil
        }
        logger.info("temporary peers removed", metadata: ["count": "\(over.count)"])
    }

    /// The interface as it is, for people.
    public func state() async throws -> DeviceState { try await blocking { [device] in try device.read() } }

    private func blocking<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try body() }) }
        }
    }
}
