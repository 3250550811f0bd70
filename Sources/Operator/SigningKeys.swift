import Base
import Model
import Trust

/// The keys of this machine, and which of them a repository wants.
public struct SigningKeys: Sendable {
    public let store: KeyStore
    let passphrase: Passphrase

    public init(store: KeyStore, passphrase: Passphrase) {
        self.store = store
        self.passphrase = passphrase
    }

    /// Unlocks the named keys, or, when none is named, every key here that the repositories list for any role.
    public func signers(for repositories: [Repository], named names: [String] = []) throws -> [any Signer] {
        guard names.isEmpty else { return try names.map { try store.signer($0, passphrase: passphrase) } }
        var wanted: Set<String> = []
        for repository in repositories where repository.exists {
            let status = try repository.status()
            wanted.formUnion(status.roles.flatMap(\.keyIDs) + status.pending.flatMap(\.missing))
        }
        return try store.list().filter { wanted.contains($0.keyID) }
            .map { try store.signer($0.name, passphrase: passphrase) }
    }

    /// A public key: of a key here by its name, or from a file that another key holder sent, as
    /// `holdfast keys show NAME --output json` writes it.
    public func publicKey(_ reference: String) throws -> PublicKey {
        let isFile = reference.contains("/") || reference.hasSuffix(".json")
        guard isFile else { return try store.entry(reference).publicKey }
        let bytes = try FileSystem().read(reference, limit: KeyStore.fileLimit)
        guard let value = try? JSONValue(parsing: bytes), let type = value["keytype"]?.string,
            let scheme = value["scheme"]?.string, let text = value["keyval"]?["public"]?.string
        else {
            throw OperatorError(
                .keyFile, "\(reference) holds no public key",
                hint: "have its owner write it with: holdfast keys show NAME --output json")
        }
        return PublicKey(keyType: type, scheme: scheme, value: text)
    }
}
