import Base
import Dispatch
import HubCore
import HubEnrolment
import HubStore
import Logging
import WireGuard

/// The hub's WireGuard interfaces, one for each of its keys, and the same peers on all of them.
public actor TunnelEnds {
    /// One interface as it should stand.
    public struct Plan: Sendable {
        public var slot: Slot
        public var interface: InterfaceName
        public var key: SecretKey
        public var port: UInt16

        public init(slot: Slot, interface: InterfaceName, key: SecretKey, port: UInt16) {
            self.slot = slot
            self.interface = interface
            self.key = key
            self.port = port
        }
    }

    private struct Standing {
        var plan: Plan
        var authority: TunnelAuthority
        /// It could not take a change in: it has to compare all.
        var isBehind = false
    }

    private let address: InterfaceAddress
    private let mtu: UInt32
    private let host: WireGuardHost
    private let enrolment: EnrolmentService
    private let store: any MetadataStore
    private let clock: SystemClock
    private let logger: Logger
    /// Daemons and netlink block: never on the cooperative threads.
    private let queue = DispatchQueue(label: "holdfast-hub.interfaces")
    private var standing: [Standing] = []

    /// - Parameters:
    ///   - address: the hub's in the tunnel, the same on each interface.
    ///   - mtu: bytes.
    public init(
        address: InterfaceAddress, mtu: UInt32, host: WireGuardHost = WireGuardHost(), enrolment: EnrolmentService,
        store: any MetadataStore, clock: SystemClock = .live, logger: Logger
    ) {
        self.address = address
        self.mtu = mtu
        self.host = host
        self.enrolment = enrolment
        self.store = store
        self.clock = clock
        self.logger = logger
    }

    /// Makes an interface what the plan says: its peers first, then its address and link, so that nobody is let in who
    /// should not be. What a killed hub left is taken over.
    public func raise(_ plan: Plan) async throws {
        let device = try await blocking { [host, mtu] in
            try host.recover(plan.interface, mtu: mtu) { $0 == plan.key }
        }
        let authority = TunnelAuthority(
            device: device, key: plan.key, port: plan.port, enrolment: enrolment, store: store, clock: clock,
            logger: logger)
        // Before it reads the store: it must not miss what is committed meanwhile.
        standing.removeAll { $0.plan.slot == plan.slot }
        standing.append(Standing(plan: plan, authority: authority))
        try await authority.reconcile()
        try await blocking { [host, address, mtu] in
            try host.links.setAddresses([address], of: plan.interface)
            try host.links.set(plan.interface, up: true, mtu: mtu)
        }
    }

    public func takeDown(_ slot: Slot, interface: InterfaceName) async throws {
        standing.removeAll { $0.plan.slot == slot }
        try await blocking { [host] in
            if try host.links.link(interface) != nil { try host.delete(interface) }
        }
    }

    /// A listener of the change feed.
    public func follow(_ changes: [RecordChange]?) async throws {
        // An end that is dead keeps nothing from the other: it compares everything when it can again.
        for entry in standing {
            do {
                try await entry.authority.follow(entry.isBehind ? nil : changes)
                set(entry.plan.slot, behind: false)
            } catch {
                set(entry.plan.slot, behind: true)
                logger.error("interface did not follow a change", metadata: ["error": "\(error)"])
            }
        }
    }

    private func set(_ slot: Slot, behind: Bool) {
        for index in standing.indices where standing[index].plan.slot == slot { standing[index].isBehind = behind }
    }

    /// Now and then: takes away tokens that ran out, compares whole interfaces, and answers which interfaces are gone.
    public func upkeep() async -> [Plan] {
        var gone: [Plan] = []
        for entry in standing {
            do {
                let isThere = try await blocking { [host] in
                    do {
                        _ = try host.device(entry.plan.interface)
                        return true
                    } catch WireGuardError.noSuchDevice {
                        return false
                    }
                }
                guard isThere else {
                    gone.append(entry.plan)
                    continue
                }
                if entry.isBehind {
                    try await entry.authority.follow(nil)
                    set(entry.plan.slot, behind: false)
                }
                try await entry.authority.upkeep()
            } catch {
                // Tried again in the next round.
                logger.error("interface not brought up to date", metadata: ["error": "\(error)"])
            }
        }
        return gone
    }

    /// The peers as the interfaces have them, for people: of one that stands on both, where it was heard last.
    public func peers() async throws -> [Peer] {
        var found: [PublicKey: Peer] = [:]
        for entry in standing {
            for peer in try await entry.authority.state().peers {
                guard let other = found[peer.publicKey] else {
                    found[peer.publicKey] = peer
                    continue
                }
                let isLater =
                    (peer.lastHandshake.map { $0.seconds } ?? -1) > (other.lastHandshake.map { $0.seconds } ?? -1)
                found[peer.publicKey] = isLater ? peer : other
            }
        }
        return Array(found.values)
    }

    private func blocking<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try body() }) }
        }
    }
}
