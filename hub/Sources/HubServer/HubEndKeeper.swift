import Base
import HubCore
import HubHTTP
import HubManagement
import HubProtocol
import HubStore
import HubTunnel
import Logging
import Trust
import WireGuard

/// The hub's ends of the tunnel: keys, interfaces, listeners and the signed word of them, as one record of the store says.
actor HubEndKeeper {
    /// What devices are told: the envelope and its sequence. Nil before the first change of the key.
    typealias Publish = @Sendable (_ descriptor: (bytes: [UInt8], sequence: Int64)?) -> Void
    typealias Listen = @Sendable (InterfaceName) async throws -> HTTPListener

    /// Seconds that the last end stays at least once the next one is announced.
    static let overlap: Int64 = 3_600

    private let config: HubConfig
    private let network: TunnelNetwork
    private let keys: HubKeys
    private let keyring: HubKeyring
    private let signer: any Signer
    private let store: any MetadataStore
    private let tunnel: TunnelEnds
    private let publish: Publish
    private let clock: SystemClock
    private let logger: Logger

    private var listen: Listen?
    private var listeners: [Slot: HTTPListener] = [:]
    private var isChanging = false

    init(
        config: HubConfig, network: TunnelNetwork, keys: HubKeys, keyring: HubKeyring, store: any MetadataStore,
        tunnel: TunnelEnds, clock: SystemClock, logger: Logger, publish: @escaping Publish
    ) throws {
        self.config = config
        self.network = network
        self.keys = keys
        self.keyring = keyring
        self.store = store
        self.tunnel = tunnel
        self.clock = clock
        self.logger = logger
        self.publish = publish
        signer = try keys.signer(.directorTargets)
    }

    /// What the store says, or what a hub begins with.
    static func read(
        _ store: any MetadataStore, _ keys: HubKeys, now: Timestamp
    ) async throws -> (ends: HubEnds, version: Int64?) {
        if let found = try await store.record(HubEnds.self, HubEnds.recordID) { return (found.value, found.version) }
        return (HubEnds(first: try keys.tunnelKey(.first).derivePublicKey(), now: now), nil)
    }

    /// The private keys of these ends.
    /// - Throws: `hub-server.invalid` for a key file that is not the one of the record.
    static func entries(_ ends: HubEnds, _ keys: HubKeys, _ config: HubConfig) throws -> [HubKeyring.Entry] {
        try ends.ends.map { end in
            let entry = try HubKeyring.Entry(try keys.tunnelKey(end.slot), port: try config.port(end.slot))
            guard entry.publicKey == end.key.key else {
                throw HubServerError(
                    .invalid, "the hub's \(end.slot.rawValue) WireGuard key is not the one of its database",
                    hint: "restore keys and database from one copy")
            }
            return entry
        }
    }

    // MARK: Standing

    /// Raises every end, has each listen, and tells what devices are told.
    func start(_ listen: @escaping Listen) async throws {
        self.listen = listen
        let (ends, version) = try await Self.read(store, keys, now: clock.now())
        // From here on the age of a first key is known, or a schedule would never find it old.
        if version == nil { try await store.commit(Commit([.put(ends, expecting: .absent)])) }
        for end in ends.ends { try await raise(end.slot) }
        if ends.sequence > 0, ends.retiring == nil, let slot = ends.current?.slot.other {
            // What a retirement that was cut short has left.
            try await takeAway(slot)
        }
        try announce(ends)
    }

    func stop() async {
        for listener in listeners.values { await listener.stop() }
    }

    /// Makes interfaces again whose daemon has died. Called now and then.
    func mend() async {
        for plan in await tunnel.upkeep() {
            logger.warning("interface is gone; made again", metadata: ["interface": "\(plan.interface)"])
            do { try await raise(plan.slot) } catch {
                logger.error("interface not made", metadata: ["error": "\(error)"])
            }
        }
    }

    private func raise(_ slot: Slot) async throws {
        let plan = TunnelEnds.Plan(
            slot: slot, interface: try config.interfaceName(slot), key: try keys.tunnelKey(slot),
            port: try config.port(slot))
        try await tunnel.raise(plan)
        await listeners.removeValue(forKey: slot)?.stop()
        if let listen { listeners[slot] = try await listen(plan.interface) }
    }

    private func takeAway(_ slot: Slot) async throws {
        await listeners.removeValue(forKey: slot)?.stop()
        try await tunnel.takeDown(slot, interface: try config.interfaceName(slot))
        try keys.removeTunnelKey(slot)
    }

    private func announce(_ ends: HubEnds) throws {
        let entries = try Self.entries(ends, keys, config)
        guard let current = entries.first else { return }
        keyring.set(current, others: Array(entries.dropFirst()))
        guard ends.sequence > 0 else { return publish(nil) }
        let descriptor = HubDescriptor(
            hub: network.description, sequence: ends.sequence, issued: ends.changedAt,
            ends: entries.map { .init(publicKey: $0.publicKey, host: config.endpointHost, port: $0.port) })
        var envelope = DSSEEnvelope(payloadType: HubDescriptor.payloadType, payload: try descriptor.payload())
        try envelope.sign(with: signer)
        publish((envelope.bytes, ends.sequence))
    }

    // MARK: Changing the key

    /// The next end stands, with all peers, before anybody is told of it.
    func rotate(by actor: String) async throws {
        try await alone {
            let (ends, version) = try await Self.read(store, keys, now: clock.now())
            guard let slot = ends.current?.slot.other else { return }
            let key = try keys.tunnelKey(slot).derivePublicKey()
            let (next, event) = try ends.announcing(key, by: actor, now: clock.now())
            try await raise(slot)
            do {
                try await store.commit(
                    Commit([.put(next, expecting: version.map { .version($0) } ?? .absent)], events: [event]))
            } catch {
                try? await takeAway(slot)
                throw error
            }
            try announce(next)
            logger.notice("the hub's next key is announced", metadata: ["key": "\(key)"])
        }
    }

    /// - Parameter force: also when devices have not followed: they have to be enrolled again.
    func retire(by actor: String, force: Bool) async throws {
        try await alone {
            let (ends, version) = try await Self.read(store, keys, now: clock.now())
            let behind = try await behind(ends)
            guard let slot = ends.retiring?.slot, let version else {
                throw HubError(.hubState, "the hub's key", "is not being changed")
            }
            guard force || behind.isEmpty else {
                throw HubError(.hubState, "the hub's last key", "is what \(behind.count) devices still use")
            }
            let (next, event) = try ends.retiringLast(by: actor, now: clock.now(), behind: behind.count)
            try await store.commit(Commit([.put(next, expecting: .version(version))], events: [event]))
            try announce(next)
            try await takeAway(slot)
            logger.notice("the hub's last key is retired", metadata: ["devices_left": "\(behind.count)"])
        }
    }

    /// Changes a key that is old, and retires the last one when all devices have followed. Called now and then.
    func keepSchedule() async throws {
        let (ends, _) = try await Self.read(store, keys, now: clock.now())
        let now = clock.now()
        if ends.retiring != nil {
            guard now - ends.changedAt >= Self.overlap, try await behind(ends).isEmpty else { return }
            try await retire(by: "hub", force: false)
        } else if config.hubKeyRotationDays > 0, let since = ends.current?.since,
            now - since >= Int64(config.hubKeyRotationDays) * 86_400
        {
            try await rotate(by: "hub")
        }
    }

    func status() async throws -> HubOrders.Status {
        let (ends, _) = try await Self.read(store, keys, now: clock.now())
        return HubOrders.Status(
            name: config.name, network: network.description, sequence: ends.sequence,
            ends: try ends.ends.map {
                .init(
                    publicKey: $0.key.description,
                    endpoint: HubDescriptor.End(
                        publicKey: $0.key.key, host: config.endpointHost, port: try config.port($0.slot)
                    ).address, since: $0.since)
            }, behind: try await behind(ends))
    }

    /// Active devices that were last heard with another key than the newest.
    private func behind(_ ends: HubEnds) async throws -> [String] {
        guard ends.retiring != nil else { return [] }
        var found: [String] = []
        var cursor: String?
        repeat {
            let page = try await store.list(
                .device, selector: try Selector("state=active"), after: cursor, limit: HubStoreLimits.page)
            for record in page.records {
                let device = try Device(decoding: record.body)
                if ends.isBehind(device.hubKey) { found.append(device.id.text) }
            }
            cursor = page.next
        } while cursor != nil
        return found
    }

    private func alone(_ body: () async throws -> Void) async throws {
        guard !isChanging else { throw HubError(.hubState, "the hub's key", "is being changed by another request") }
        isChanging = true
        defer { isChanging = false }
        try await body()
    }
}
