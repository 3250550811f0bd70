/// One WireGuard interface, whoever implements it.
///
/// Both calls block until the kernel or the daemon has answered: milliseconds for a few peers, seconds
/// for tens of thousands. A caller with large states makes them off the cooperative thread pool.
public protocol WireGuardDevice: Sendable {
    var name: InterfaceName { get }

    /// The whole state, read without a gap: a state that changes under the reading is read again.
    func read() throws(WireGuardError) -> DeviceState

    /// Applies the changes and nothing else; the interface is never made anew. An empty one does nothing.
    func apply(_ difference: DeviceDifference) throws(WireGuardError)
}

extension WireGuardDevice {
    /// Reads, compares and applies; returns what was applied.
    @discardableResult
    public func synchronize(to wanted: DeviceConfiguration) throws(WireGuardError) -> DeviceDifference {
        let difference = try DeviceDifference(from: try read(), to: wanted)
        if !difference.isEmpty { try apply(difference) }
        return difference
    }

    /// Removes a peer and adds it again as it was, in one call.
    ///
    /// WireGuard refuses a handshake whose TAI64N timestamp is not above the greatest it has seen from that key.
    /// A device whose clock once ran ahead is locked out by that until its clock catches up; starting its peer
    /// afresh forgets the timestamp. The price: a recorded handshake of that device could be replayed once.
    public func readdPeer(_ publicKey: PublicKey) throws(WireGuardError) {
        guard let peer = try read().peers.first(where: { $0.publicKey == publicKey }) else {
            throw .noSuchPeer(peer: publicKey.description, device: name.text)
        }
        try apply(DeviceDifference(peers: [.remove(publicKey), .add(PeerConfiguration(peer))]))
    }
}
