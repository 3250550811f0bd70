import HubProtocol
import Synchronization
import WireGuard

/// The private keys that the hub answers under now, the newest first: two while its key is changed.
public final class HubKeyring: Sendable {
    public struct Entry: Sendable {
        public let secret: SecretKey
        public let publicKey: WireGuard.PublicKey
        /// UDP port of its interface.
        public let port: UInt16

        public init(_ secret: SecretKey, port: UInt16) throws(WireGuardError) {
            self.init(secret, publicKey: try secret.derivePublicKey(), port: port)
        }

        /// - Parameter publicKey: of `secret`.
        public init(_ secret: SecretKey, publicKey: WireGuard.PublicKey, port: UInt16) {
            self.secret = secret
            self.publicKey = publicKey
            self.port = port
        }
    }

    private struct Entries {
        var current: Entry
        var others: [Entry] = []
    }
    private let entries: Mutex<Entries>

    public init(_ current: Entry) { entries = Mutex(Entries(current: current)) }

    public func set(_ current: Entry, others: [Entry] = []) {
        entries.withLock { $0 = Entries(current: current, others: others) }
    }

    /// What new tokens name.
    public var current: Entry { entries.withLock { $0.current } }
    public var all: [Entry] { entries.withLock { [$0.current] + $0.others } }

    public func has(_ key: WireGuard.PublicKey) -> Bool { all.contains { $0.publicKey == key } }

    /// Reads what a device proved under one of the hub's keys, and says which.
    ///
    /// - Throws: what `read` throws; `hub-protocol.proof-invalid` when no key fits.
    public func read<Value>(
        _ read: (SecretKey) throws(HubProtocolError) -> Value
    ) throws(HubProtocolError) -> (value: Value, key: WireGuard.PublicKey) {
        let entries = all
        for entry in entries.dropLast() {
            do {
                return (try read(entry.secret), entry.publicKey)
            } catch  where error.reason == .proofInvalid {
                continue
            }
        }
        let last = entries.last ?? current
        return (try read(last.secret), last.publicKey)
    }
}
