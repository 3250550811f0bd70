import Base
import HubCore
import HubProtocol
import HubStore
import NIOConcurrencyHelpers
import WireGuard

/// Every active device and open token in memory, by tunnel address: what a poll is answered from.
///
/// A row takes about 200 bytes with its indexes. Rows are asked for on event loops and changed by the change feed.
public final class DeviceDirectory: Sendable {
    /// One device as a request needs it.
    public struct Row: Sendable {
        public var id: DeviceID
        /// ``PollSchedule/hash(_:)`` of the id.
        public var hash: UInt64
        /// Of everything in the device's state answer that is its own.
        public var tag: UInt64
        public var generation: Int64
        public var keys: (even: WireGuard.PublicKey?, odd: WireGuard.PublicKey?)
        public var slot: TunnelNetwork.KeySlot
        public var site: UInt16
        public var index: UInt64
        /// Into the label sets.
        var labels: UInt32
        public var rotateKey: Bool

        public func key(_ slot: TunnelNetwork.KeySlot) -> WireGuard.PublicKey? {
            slot == .even ? keys.even : keys.odd
        }
    }

    /// Whose address a request came from.
    public enum Peer: Sendable {
        case device(Row, slot: TunnelNetwork.KeySlot)
        case token(EnrolmentTokenID)
    }

    private struct Place: Hashable {
        var site: UInt16
        var index: UInt64
    }
    private struct State {
        var rows: [Row?] = []
        var free: [UInt32] = []
        var byPlace: [Place: UInt32] = [:]
        var byID: [DeviceID: UInt32] = [:]
        var tokens: [IPAddress: EnrolmentTokenID] = [:]
        var labelSets: [Labels] = []
        var labelIndex: [Labels: UInt32] = [:]
    }

    private let network: TunnelNetwork
    private let store: any MetadataStore
    private let state = NIOLockedValueBox(State())

    public init(network: TunnelNetwork, store: any MetadataStore) {
        self.network = network
        self.store = store
    }

    // MARK: Asking

    public func peer(at address: IPAddress) -> Peer? {
        state.withLockedValue { state in
            if let token = state.tokens[address] { return .token(token) }
            guard let place = network.place(of: address),
                let number = state.byPlace[Place(site: place.site, index: place.index)],
                let row = state.rows[Int(number)], row.key(place.slot) != nil
            else { return nil }
            return .device(row, slot: place.slot)
        }
    }

    public func row(_ id: DeviceID) -> Row? {
        state.withLockedValue { state in state.byID[id].flatMap { state.rows[Int($0)] } }
    }

    public func labels(of row: Row) -> Labels {
        state.withLockedValue {
            $0.labelSets.indices.contains(Int(row.labels)) ? $0.labelSets[Int(row.labels)] : Labels()
        }
    }

    public var count: Int { state.withLockedValue { $0.byID.count } }

    // MARK: Changing

    /// Reads everything from the store.
    public func load() async throws {
        var fresh = State()
        var sets = LabelSets()
        try await store.eachBrief { try Self.add($0, to: &fresh, &sets) }
        try await store.each(TokenRecord.self) { put($0, into: &fresh) }
        let loaded = fresh
        state.withLockedValue { $0 = loaded }
    }

    /// A listener of the ``ChangeFeed``.
    public func follow(_ changes: [RecordChange]?) async throws {
        guard let changes else { return try await load() }
        let keys = Set(changes.map(\.key).filter { $0.kind == .device || $0.kind == .token })
        guard !keys.isEmpty else { return }
        let records = try await store.get(Array(keys))
        var devices: [Device] = []
        var tokens: [TokenRecord] = []
        for record in records.values {
            if record.key.kind == .device {
                devices.append(try Device(decoding: record.body))
            } else {
                tokens.append(try TokenRecord(decoding: record.body))
            }
        }
        let gone = keys.filter { $0.kind == .device && records[$0] == nil }.compactMap { try? DeviceID($0.id) }
        let (changed, changedTokens) = (devices, tokens)
        state.withLockedValue { state in
            for id in gone { Self.remove(id, from: &state) }
            for device in changed { Self.put(device, into: &state) }
            for token in changedTokens { put(token, into: &state) }
        }
    }

    /// Label sets by the bytes that rows have them in.
    private struct LabelSets {
        private var numbers: [[UInt8]: UInt32] = [:]
        private var last: (bytes: [UInt8], number: UInt32)?

        mutating func number(of device: DeviceBrief, in state: inout State) -> UInt32 {
            let bytes = device.labelBytes
            // Neighbours often have the same.
            if let last, last.bytes.elementsEqual(bytes) { return last.number }
            let key = Array(bytes)
            let number = numbers[key] ?? DeviceDirectory.intern(device.labels, in: &state)
            numbers[key] = number
            last = (key, number)
            return number
        }
    }

    private static func add(
        _ device: DeviceBrief, to state: inout State, _ sets: inout LabelSets
    ) throws(HubError) {
        guard device.state == .active else { return }
        let id = try device.id
        var tag = Tag()
        tag.mix(device.idBytes)
        device.forEachLabel {
            tag.mix($0)
            tag.mix($1)
        }
        tag.mix(rotating: device.rotateKey)
        add(
            Row(
                id: id, hash: PollSchedule.hash(id), tag: tag.value, generation: device.credentialGeneration,
                keys: device.keys, slot: device.slot, site: device.site, index: device.index,
                labels: sets.number(of: device, in: &state), rotateKey: device.rotateKey), to: &state)
    }

    private static func put(_ device: Device, into state: inout State) {
        remove(device.id, from: &state)
        add(device, to: &state)
    }

    /// One that is not there yet.
    private static func add(_ device: Device, to state: inout State) {
        guard device.state == .active else { return }
        let labels = intern(device.labels, in: &state)
        let row = Row(
            id: device.id, hash: PollSchedule.hash(device.id), tag: tag(device),
            generation: device.credentialGeneration,
            keys: (device.keys[.even]?.key, device.keys[.odd]?.key), slot: device.slot, site: device.site,
            index: device.index, labels: labels, rotateKey: device.rotateKey ?? false)
        add(row, to: &state)
    }

    private static func add(_ row: Row, to state: inout State) {
        let number: UInt32
        if let reused = state.free.popLast() {
            number = reused
            state.rows[Int(reused)] = row
        } else {
            number = UInt32(state.rows.count)
            state.rows.append(row)
        }
        state.byPlace[Place(site: row.site, index: row.index)] = number
        state.byID[row.id] = number
    }

    private static func remove(_ id: DeviceID, from state: inout State) {
        guard let number = state.byID.removeValue(forKey: id), let row = state.rows[Int(number)] else { return }
        state.byPlace[Place(site: row.site, index: row.index)] = nil
        state.rows[Int(number)] = nil
        state.free.append(number)
    }

    private func put(_ token: TokenRecord, into state: inout State) {
        // One that has run out stays until it is revoked or the hub starts again: enrolment refuses it with its reason.
        state.tokens[network.temporary(token.id)] = token.isRevoked ? nil : token.id
    }

    private static func intern(_ labels: Labels, in state: inout State) -> UInt32 {
        if let known = state.labelIndex[labels] { return known }
        let number = UInt32(state.labelSets.count)
        state.labelSets.append(labels)
        state.labelIndex[labels] = number
        return number
    }

    /// FNV-1a over what the answer says of the device: the same after every restart.
    private struct Tag {
        private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

        mutating func mix(_ bytes: some Sequence<UInt8>) {
            for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
            value = (value ^ 0xFF) &* 0x100_0000_01B3
        }

        mutating func mix(rotating: Bool) { mix((rotating ? "rotate" : "").utf8) }
    }

    private static func tag(_ device: Device) -> UInt64 {
        var tag = Tag()
        tag.mix(device.id.text.utf8)
        for (key, label) in device.labels.values.sorted(by: { $0.key < $1.key }) {
            tag.mix(key.utf8)
            tag.mix(label.utf8)
        }
        tag.mix(rotating: device.rotateKey == true)
        return tag.value
    }
}
