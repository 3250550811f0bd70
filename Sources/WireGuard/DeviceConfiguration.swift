/// What an interface should have. Nil leaves a value as it is.
public struct DeviceConfiguration: Hashable, Sendable {
    public var privateKey: SecretKey?
    public var listenPort: UInt16?
    /// 0 takes the mark away.
    public var firewallMark: UInt32?
    /// All peers there should be: others are removed.
    public var peers: [PeerConfiguration]

    public init(
        privateKey: SecretKey? = nil, listenPort: UInt16? = nil, firewallMark: UInt32? = nil,
        peers: [PeerConfiguration] = []
    ) {
        self.privateKey = privateKey
        self.listenPort = listenPort
        self.firewallMark = firewallMark
        self.peers = peers
    }

    /// Refuses a peer that is listed twice and an allowed IP that two peers claim.
    public func validate() throws(WireGuardError) {
        var keys = Set<PublicKey>(minimumCapacity: peers.count)
        var owners = [IPPrefix: PublicKey](minimumCapacity: peers.count)
        for peer in peers {
            guard keys.insert(peer.publicKey).inserted else { throw .peerTwice(peer: peer.publicKey.description) }
            for prefix in peer.allowedIPs {
                guard let owner = owners.updateValue(peer.publicKey, forKey: prefix), owner != peer.publicKey else {
                    continue
                }
                throw .allowedIPTwice(
                    prefix: prefix.description, first: owner.description, second: peer.publicKey.description)
            }
        }
    }
}

/// What a peer should have.
public struct PeerConfiguration: Hashable, Sendable {
    public var publicKey: PublicKey
    /// Nil for none: one that is set is taken away.
    public var presharedKey: SecretKey?
    /// Nil leaves the endpoint alone, so that a peer that roamed is not sent back.
    public var endpoint: Endpoint?
    /// Seconds; 0 for off.
    public var persistentKeepalive: UInt16
    public var allowedIPs: [IPPrefix]

    public init(
        publicKey: PublicKey, presharedKey: SecretKey? = nil, endpoint: Endpoint? = nil,
        persistentKeepalive: UInt16 = 0, allowedIPs: [IPPrefix] = []
    ) {
        self.publicKey = publicKey
        self.presharedKey = presharedKey
        self.endpoint = endpoint
        self.persistentKeepalive = persistentKeepalive
        self.allowedIPs = allowedIPs
    }

    /// The same peer as it stands, its endpoint included.
    public init(_ peer: Peer) {
        self.init(
            publicKey: peer.publicKey, presharedKey: peer.presharedKey, endpoint: peer.endpoint,
            persistentKeepalive: peer.persistentKeepalive, allowedIPs: peer.allowedIPs)
    }
}
