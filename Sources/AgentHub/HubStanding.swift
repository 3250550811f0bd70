import Base
import HubProtocol
import Model
import WireGuard

/// All that this device keeps of its hub, in one file that is replaced whole before what it allows is done.
///
/// A file and not the journal: a device whose journal is lost still knows its hub, and gets its trust back there.
public struct HubStanding: Sendable, Equatable {
    public enum Phase: String, Sendable {
        /// Keys are made, the request is written, the hub has not answered.
        case asking
        /// A person has to approve.
        case waiting
        case enrolled
        /// The hub said no for good.
        case refused
    }
    static let sizeLimit = 256 << 10
    static let schema: Int64 = 1

    public var phase: Phase
    public var token: EnrolmentTokenID
    /// The hub's end as the token named it; a descriptor that is in force stands above it.
    public var hubKey: WireGuard.PublicKey
    public var host: String
    public var port: UInt16
    public var network: TunnelNetwork
    public var rootDigest: Digest
    /// The enrolment request as it goes out, the same bytes each time.
    public var request: [UInt8]
    /// Why the hub refused.
    public var refusal: String = ""
    /// Empty until the hub has answered.
    public var device: String = ""
    /// The pair of addresses, one a slot, and the hub's.
    public var addresses: DeviceAddresses?
    public var hub: IPAddress?
    public var rotation = RotationState()
    /// When the present key came into use.
    public var keyedAt: Timestamp
    /// What the hub said last of its ends, signed; nil before it has said anything.
    public var descriptor: HubDescriptor?
    /// The end that the active slot's tunnel leads to; nil for the token's.
    public var activeEnd: HubDescriptor.End?
    /// C2SP verifier key and last signed checkpoint of the audit log.
    public var auditKey: String = ""
    public var checkpoint: [UInt8] = []
    public var reportEpoch: Int64 = 0
    /// A time that was certainly before now: of the last answer through the tunnel.
    public var timeFloor: Timestamp
    /// Seconds between polls as the hub said last.
    public var interval: Double = PollPacer.defaultInterval

    public init(token: EnrolmentToken, id: EnrolmentTokenID, request: [UInt8], now: Timestamp) {
        phase = .asking
        self.token = id
        hubKey = token.hubPublicKey
        host = token.host
        port = token.port
        network = token.network
        rootDigest = token.rootDigest
        self.request = request
        keyedAt = now
        timeFloor = Timestamp(seconds: 0)
    }

    private var tokenEnd: HubDescriptor.End { .init(publicKey: hubKey, host: host, port: port) }
    /// Where the next tunnel leads.
    var newestEnd: HubDescriptor.End { descriptor?.ends.first ?? tokenEnd }
    /// Where a slot's tunnel leads: the active one stays with its end until the other has been proven.
    func hubEnd(_ slot: Slot) -> HubDescriptor.End {
        slot == rotation.active ? activeEnd ?? tokenEnd : newestEnd
    }
    /// Whether the hub has announced another key than the one in use.
    var isBehindHub: Bool { hubEnd(rotation.active).publicKey != newestEnd.publicKey }

    /// The address of a slot, and the way through its tunnel.
    func address(_ slot: Slot) -> IPAddress? { addresses?.address(slot) }
}

// MARK: - As a file

extension HubStanding {
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "schema": .integer(Self.schema), "phase": .string(phase.rawValue), "token": .string(token.description),
            "hub_key": .string(hubKey.base64), "host": .string(host), "port": .integer(Int64(port)),
            "network": .string(Hex.encode(network.bytes)), "root": .string(rootDigest.hex),
            "request": .string(Base.Base64.encode(request)), "refusal": .string(refusal), "device": .string(device),
            "rotation": [
                "active": .string(rotation.active.rawValue), "phase": .string(rotation.phase.rawValue),
                "completed": .integer(Int64(rotation.completed)), "abandoned": .integer(Int64(rotation.abandoned)),
            ],
            "keyed_at": .integer(keyedAt.seconds), "audit_key": .string(auditKey),
            "checkpoint": .string(Base.Base64.encode(checkpoint)), "report_epoch": .integer(reportEpoch),
            "time_floor": .integer(timeFloor.seconds), "interval_ms": .integer(Int64(interval * 1_000)),
        ]
        if let addresses { members["addresses"] = .string(addresses.description) }
        if let hub { members["hub"] = .string(hub.description) }
        if let activeEnd {
            members["active_end"] = [
                "public_key": .string(activeEnd.publicKey.base64), "host": .string(activeEnd.host),
                "port": .integer(Int64(activeEnd.port)),
            ]
        }
        if let descriptor, let payload = try? descriptor.payload() {
            members["descriptor"] = .string(Base.Base64.encode(payload))
        }
        return .object(members)
    }

    init(parsing bytes: [UInt8]) throws(HubLinkError) {
        let limits = JSONLimits(size: Self.sizeLimit, depth: 4, count: 256, literalControls: false)
        guard let value = try? JSONValue(parsing: bytes, limits: limits), value["schema"]?.integer == Self.schema,
            let phase = value["phase"]?.string.flatMap(Phase.init(rawValue:)),
            let token = value["token"]?.string.flatMap({ EnrolmentTokenID(hex: $0) }),
            let hubKey = value["hub_key"]?.string.flatMap({ WireGuard.PublicKey(base64: $0) }),
            let host = value["host"]?.string, let port = value["port"]?.integer.flatMap({ UInt16(exactly: $0) }),
            let network = value["network"]?.string.flatMap({ Hex.decode($0) }).flatMap({ TunnelNetwork(bytes: $0) }),
            let root = value["root"]?.string.flatMap({ Digest(hex: $0) }),
            let request = value["request"]?.string.flatMap({ Base.Base64.decode($0) }),
            let rotation = value["rotation"].flatMap(Self.rotation),
            let keyedAt = value["keyed_at"]?.integer, let floor = value["time_floor"]?.integer,
            let interval = value["interval_ms"]?.integer
        else { throw HubLinkError(.state, "the hub's standing cannot be read", hint: "holdfast-agent hub leave") }
        self.phase = phase
        self.token = token
        self.hubKey = hubKey
        self.host = host
        self.port = port
        self.network = network
        rootDigest = root
        self.request = request
        refusal = value["refusal"]?.string ?? ""
        device = value["device"]?.string ?? ""
        addresses = value["addresses"]?.string.flatMap { IPPrefix($0) }.flatMap { DeviceAddresses($0) }
        hub = value["hub"]?.string.flatMap { IPAddress($0) }
        self.rotation = rotation
        self.keyedAt = Timestamp(seconds: keyedAt)
        descriptor = value["descriptor"]?.string.flatMap { Base.Base64.decode($0) }
            .flatMap { try? HubDescriptor(stored: $0) }
        activeEnd = value["active_end"].flatMap(Self.end)
        auditKey = value["audit_key"]?.string ?? ""
        checkpoint = value["checkpoint"]?.string.flatMap { Base.Base64.decode($0) } ?? []
        reportEpoch = value["report_epoch"]?.integer ?? 0
        timeFloor = Timestamp(seconds: floor)
        self.interval = Double(interval) / 1_000
        guard phase != .enrolled || (!device.isEmpty && addresses != nil && hub != nil) else {
            throw HubLinkError(.state, "the hub's standing lacks an address", hint: "holdfast-agent hub leave")
        }
    }

    private static func end(_ value: JSONValue) -> HubDescriptor.End? {
        guard let key = value["public_key"]?.string.flatMap({ WireGuard.PublicKey(base64: $0) }),
            let host = value["host"]?.string, let port = value["port"]?.integer.flatMap({ UInt16(exactly: $0) })
        else { return nil }
        return HubDescriptor.End(publicKey: key, host: host, port: port)
    }

    private static func rotation(_ value: JSONValue) -> RotationState? {
        guard let active = value["active"]?.string.flatMap(Slot.init(rawValue:)),
            let phase = value["phase"]?.string.flatMap(RotationState.Phase.init(rawValue:)),
            let completed = value["completed"]?.integer, let abandoned = value["abandoned"]?.integer
        else { return nil }
        return RotationState(active: active, phase: phase, completed: Int(completed), abandoned: Int(abandoned))
    }
}

/// Where the standing and the token lie.
public struct HubFiles: Sendable {
    static let operationLabel = "hub.standing"
    /// Bytes of a token file, white space included.
    public static let tokenLimit = EnrolmentToken.textLimit
    let directory: String
    let fileSystem: FileSystem

    public init(directory: String, fileSystem: FileSystem) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    private var standing: String { Path.join(directory, "standing.json") }
    private var token: String { Path.join(directory, "token") }

    public func load() throws -> HubStanding? {
        guard try fileSystem.status(standing) != nil else { return nil }
        return try HubStanding(parsing: try fileSystem.read(standing, limit: HubStanding.sizeLimit))
    }

    public func save(_ value: HubStanding) throws {
        try fileSystem.replace(
            standing, with: try value.json.serialized(.pretty), mode: 0o600, op: Self.operationLabel)
    }

    func loadToken() throws -> EnrolmentToken? {
        guard try fileSystem.status(token) != nil else { return nil }
        return try EnrolmentToken(
            text: String(decoding: try fileSystem.read(token, limit: Self.tokenLimit), as: UTF8.self))
    }

    func hasToken() throws -> Bool { try fileSystem.status(token) != nil }

    func save(_ value: EnrolmentToken) throws {
        try fileSystem.replace(token, with: Array(value.text.utf8) + [0x0A], mode: 0o600, op: Self.operationLabel)
    }

    func wipeToken() throws { try wipe(token) }

    /// Whether anything of a hub is here.
    func exist() throws -> Bool {
        guard try fileSystem.status(directory) != nil else { return false }
        return try !fileSystem.list(directory).isEmpty
    }

    func removeStanding() throws {
        try wipeToken()
        try fileSystem.unlink(standing, op: Self.operationLabel)
        try fileSystem.syncDirectory(directory, op: Self.operationLabel)
    }

    /// Overwrites a file's bytes, then removes it and syncs its folder. On flash the old bytes may outlive that;
    /// a token is of no use once it is spent.
    public func wipe(_ path: String) throws {
        guard let status = try fileSystem.status(path), status.kind == .file else { return }
        if let file = try? fileSystem.create(path, truncate: true, op: Self.operationLabel) {
            try file.write([UInt8](repeating: 0x20, count: Int(min(status.size, Int64(Self.tokenLimit)))))
            try file.sync()
        }
        try fileSystem.unlink(path, op: Self.operationLabel)
        try fileSystem.syncDirectory(Path.parent(path), op: Self.operationLabel)
    }
}
