import Base
import HubCore
import HubProtocol
import HubStore
import Model
import Trust
import WireGuard

/// Makes a new hub: keys, network, director repository, database with its first operator, certificate.
///
/// May be run again after it was cut short: what is there is kept, and only the last write makes it a hub.
public struct HubMaker {
    public struct Result: Sendable {
        public var network: TunnelNetwork
        public var publicKey: WireGuard.PublicKey
        public var operatorName: String
        /// Public part of the key that signs freshness tickets.
        public var freshnessKeyID: String
        /// Of the self-signed certificate; nil where another is configured.
        public var fingerprint: Digest?
    }

    /// Bytes of a root metadata file.
    static let rootLimit = 1 << 20

    let config: HubConfig
    let fileSystem: FileSystem
    let clock: SystemClock

    public init(config: HubConfig, fileSystem: FileSystem = FileSystem(), clock: SystemClock = .live) {
        self.config = config
        self.fileSystem = fileSystem
        self.clock = clock
    }

    /// - Parameters:
    ///   - root: the release repository's root metadata, from which every device starts its trust.
    ///   - name: of the first operator, who gets all scopes.
    public func make(root: [UInt8], operator name: String, password: String) async throws -> Result {
        let layout = config.layout
        guard try fileSystem.status(layout.identity) == nil else {
            throw HubServerError(.exists, "\(layout.root) holds a hub already")
        }
        let account = OperatorAccount(
            id: try OperatorID(name), scopes: Set(OperatorScope.allCases), password: try PasswordHash(password),
            madeAt: clock.now())
        try fileSystem.makeDirectories(layout.root, mode: 0o700, op: "hub.init")
        let keys = try HubKeys.make(layout, fileSystem)
        try keepRoot(root)
        let director = Repository(path: layout.repository, name: .director, fileSystem: fileSystem, clock: clock)
        if !director.exists { try makeDirector(keys) }
        let fingerprint = try makeCertificate()
        let store = try SQLiteMetadataStore(path: layout.database, monitor: fileSystem.monitor)
        if try await store.record(OperatorAccount.self, account.id.text) == nil {
            try await store.commit(
                Commit(
                    [.put(account, expecting: .absent)],
                    events: [AuditEvent(.hubCreated, at: clock.now(), actor: "hub", subject: "hub:\(config.name)")]))
        }
        let prefix = try AddressPlan.generateHub()
        guard let network = TunnelNetwork(bytes: Array(prefix.address.bytes.prefix(TunnelNetwork.byteCount))) else {
            throw HubServerError(.invalid, "\(prefix) is no unique local /48")
        }
        try HubIdentityFile(network: network, rootDigest: .sha256(root)).write(layout, fileSystem)
        return Result(
            network: network, publicKey: try keys.tunnelKey(.first).derivePublicKey(), operatorName: name,
            freshnessKeyID: try keys.signer(.freshness).keyID, fingerprint: fingerprint)
    }

    /// Under its number, so that devices and the hub's own checks find it.
    private func keepRoot(_ bytes: [UInt8]) throws {
        let limits = JSONLimits(size: Self.rootLimit, depth: 32, count: 100_000)
        guard let value = try? JSONValue(parsing: bytes, limits: limits)["signed"], value["_type"]?.string == "root",
            let version = value["version"]?.integer, version > 0
        else {
            throw HubServerError(
                .invalid, "the release root is no TUF root metadata",
                hint: "give REPO/metadata/1.root.json of the release repository")
        }
        let folder = Repository(path: config.layout.repository).metadataDirectory
        try fileSystem.makeDirectories(folder, op: "hub.init")
        try fileSystem.replace(Path.join(folder, "\(version).root.json"), with: bytes, op: "hub.init")
    }

    private func makeDirector(_ keys: HubKeys) throws {
        let plan = RepositoryPlan.lab(
            root: try keys.signer(.directorRoot).publicKey, targets: try keys.signer(.directorTargets).publicKey,
            snapshot: try keys.signer(.directorSnapshot).publicKey,
            timestamp: try keys.signer(.directorTimestamp).publicKey)
        try Repository.initialize(
            path: config.layout.repository, name: .director, plan: plan, signers: keys.directorSigners(),
            fileSystem: fileSystem, clock: clock)
    }

    private func makeCertificate() throws -> Digest? {
        guard config.certificate.isEmpty else { return nil }
        let layout = config.layout
        var names = [config.name, config.endpointHost, config.managementAddress, "localhost", "127.0.0.1", "::1"]
        names = names.enumerated().filter { names.firstIndex(of: $0.element) == $0.offset }.map(\.element)
        let made = try SelfSignedCertificate(names: names)
        try fileSystem.makeDirectories(Path.parent(layout.certificate), mode: 0o700, op: "hub.init")
        try fileSystem.replace(layout.certificateKey, with: made.key, mode: 0o600, op: "hub.init")
        try fileSystem.replace(layout.certificate, with: made.certificate, op: "hub.init")
        return made.fingerprint
    }
}
