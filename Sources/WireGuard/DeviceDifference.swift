/// What has to change on an interface. Nil leaves a value as it is.
public struct DeviceDifference: Hashable, Sendable {
    public var privateKey: SecretKey?
    public var listenPort: UInt16?
    public var firewallMark: UInt32?
    /// All peers go first. Only for an interface taken over from somebody else: live sessions end.
    public var replacePeers: Bool
    /// In order. A removal followed by an addition of the same key starts the peer afresh.
    public var peers: [PeerChange]

    public init(
        privateKey: SecretKey? = nil, listenPort: UInt16? = nil, firewallMark: UInt32? = nil,
        replacePeers: Bool = false, peers: [PeerChange] = []
    ) {
        self.privateKey = privateKey
        self.listenPort = listenPort
        self.firewallMark = firewallMark
        self.replacePeers = replacePeers
        self.peers = peers
    }

    public var isEmpty: Bool {
        privateKey == nil && listenPort == nil && firewallMark == nil && !replacePeers && peers.isEmpty
    }
}

/// One change to one peer.
public struct PeerChange: Hashable, Sendable {
    public enum Action: Hashable, Sendable {
        case add
        /// Changes a peer that is there; one that went meanwhile is not made again without its preshared key.
        case update
        case remove
    }
    public enum PresharedKey: Hashable, Sendable {
        case keep, clear
        case set(SecretKey)
    }
    public enum AllowedIPs: Hashable, Sendable {
        case keep
        /// Adds to those the peer has.
        case add([IPPrefix])
        case replace([IPPrefix])
    }

    public var publicKey: PublicKey
    public var action: Action
    public var presharedKey: PresharedKey
    public var endpoint: Endpoint?
    public var persistentKeepalive: UInt16?
    public var allowedIPs: AllowedIPs

    public init(
        publicKey: PublicKey, action: Action, presharedKey: PresharedKey = .keep, endpoint: Endpoint? = nil,
        persistentKeepalive: UInt16? = nil, allowedIPs: AllowedIPs = .keep
    ) {
        self.publicKey = publicKey
        self.action = action
        self.presharedKey = presharedKey
        self.endpoint = endpoint
        self.persistentKeepalive = persistentKeepalive
        self.allowedIPs = allowedIPs
    }

    public static func add(_ peer: PeerConfiguration) -> PeerChange {
        PeerChange(
            publicKey: peer.publicKey, action: .add, presharedKey: peer.presharedKey.map { .set($0) } ?? .keep,
            endpoint: peer.endpoint,
            persistentKeepalive: peer.persistentKeepalive == 0 ? nil : peer.persistentKeepalive,
            allowedIPs: peer.allowedIPs.isEmpty ? .keep : .add(peer.allowedIPs))
    }

    public static func remove(_ publicKey: PublicKey) -> PeerChange {
        PeerChange(publicKey: publicKey, action: .remove)
    }

    /// Nil when the peer already is as it should be.
    static func update(_ peer: Peer, to wanted: PeerConfiguration) -> PeerChange? {
        var change = PeerChange(publicKey: peer.publicKey, action: .update)
        if peer.presharedKey != wanted.presharedKey {
            change.presharedKey = wanted.presharedKey.map { .set($0) } ?? .clear
        }
        if let endpoint = wanted.endpoint, !endpoint.isReported(as: peer.endpoint) { change.endpoint = endpoint }
        if peer.persistentKeepalive != wanted.persistentKeepalive {
            change.persistentKeepalive = wanted.persistentKeepalive
        }
        change.allowedIPs = allowedIPs(from: peer.allowedIPs, to: wanted.allowedIPs)
        let nothing = PeerChange(publicKey: peer.publicKey, action: .update)
        return change == nothing ? nil : change
    }

    /// Only what is missing where nothing has to go, since most kernels cannot remove a single allowed IP.
    private static func allowedIPs(from current: [IPPrefix], to wanted: [IPPrefix]) -> AllowedIPs {
        if current == wanted { return .keep }
        let have = Set(current)
        let want = Set(wanted)
        if have == want { return .keep }
        guard have.isSubset(of: want) else { return .replace(want.sorted()) }
        return .add(want.subtracting(have).sorted())
    }
}

extension DeviceDifference {
    /// What takes `current` to `wanted`. Removals come first, so that a full interface has room for what is added.
    ///
    /// An allowed IP that moves from one peer to another is added to the new one, which takes it from the old;
    /// a peer that only lost IPs this way is still told, in case its change is applied alone.
    /// Throws as ``DeviceConfiguration/validate()`` does.
    public init(from current: DeviceState, to wanted: DeviceConfiguration) throws(WireGuardError) {
        try wanted.validate()
        self.init()
        // Every implementation clamps the key that it is given and reports the clamped one.
        if let key = wanted.privateKey, key.clamped() != current.privateKey?.clamped() { privateKey = key }
        if let port = wanted.listenPort, port != current.listenPort { listenPort = port }
        if let mark = wanted.firewallMark, mark != current.firewallMark { firewallMark = mark }

        var present = [PublicKey: Int](minimumCapacity: current.peers.count)
        for (index, peer) in current.peers.enumerated() { present[peer.publicKey] = index }
        var changes: [PeerChange] = []
        for peer in wanted.peers {
            guard let index = present.removeValue(forKey: peer.publicKey) else {
                changes.append(.add(peer))
                continue
            }
            if let change = PeerChange.update(current.peers[index], to: peer) { changes.append(change) }
        }
        let removals = present.values.sorted().map { PeerChange.remove(current.peers[$0].publicKey) }
        peers = removals + changes
    }
}
