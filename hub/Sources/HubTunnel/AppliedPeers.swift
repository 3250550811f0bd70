import HubCore
import HubStore
import WireGuard

/// The peers that an interface was last given, by the record that each follows from. A hub may have a million of them, so
/// those of the last whole comparison lie in one array, sorted, and what changed since beside it.
struct AppliedPeers: Sendable {
    private struct Entry {
        /// Of the record, seeded anew in each process: nobody can choose two that are equal.
        var hash: Int
        var publicKey: PublicKey
        var address: IPAddress
    }

    private var whole: [Entry] = []
    private var changed: [RecordKey: [TunnelPeer]] = [:]

    /// Takes in what a whole comparison gives; ``finish()`` ends it.
    mutating func append(_ peers: [TunnelPeer], of record: RecordKey) {
        // A device's peer has no preshared key; a token's, which has one, is kept as it is.
        guard peers.allSatisfy({ $0.presharedKey == nil }) else { return changed[record] = peers }
        let hash = record.hashValue
        whole += peers.map { Entry(hash: hash, publicKey: $0.publicKey, address: $0.address) }
    }

    mutating func finish() { whole.sort { $0.hash < $1.hash } }

    subscript(record: RecordKey) -> [TunnelPeer] {
        get {
            if let known = changed[record] { return known }
            let hash = record.hashValue
            var (low, high) = (0, whole.count)
            while low < high {
                let middle = (low + high) / 2
                if whole[middle].hash < hash { low = middle + 1 } else { high = middle }
            }
            return whole[low...].prefix { $0.hash == hash }.map {
                TunnelPeer(publicKey: $0.publicKey, address: $0.address, presharedKey: nil)
            }
        }
        set { changed[record] = newValue }
    }
}
