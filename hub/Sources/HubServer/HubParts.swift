import Base
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubManagement
import HubProtocol
import HubReleases
import HubStore
import HubTokens
import HubTunnel
import Logging
import NIOConcurrencyHelpers
import OCI
import ServiceSupport
import TransparencyLog
import Trust
import WireGuard

/// The parts of a running hub and the loops that keep them up to date.
struct HubParts: Sendable {
    /// Seconds between two looks at what grows old, and at least between two checkpoints.
    static let upkeepInterval: Int64 = 60
    static let checkpointInterval: Duration = .seconds(1)
    /// Seconds between two rounds of key rotation, and devices asked in one.
    static let rotationInterval: Int64 = 3_600
    static let rotationsPerRound = 100
    /// Seconds between two looks at the interfaces.
    static let tunnelInterval: Int64 = TunnelAuthority.expiryInterval

    let config: HubConfig
    let network: TunnelNetwork
    let store: FollowedStore
    let enrolment: EnrolmentService
    let directory: DeviceDirectory
    let versions: HubVersions
    let metadata: MetadataFiles
    let blobs: FileBlobStore
    let audit: AuditLog
    private let tunnel: TunnelEnds?
    /// Nil where the hub keeps no interface.
    let ends: HubEndKeeper?
    private let descriptor: NIOLockedValueBox<[UInt8]?>
    private let director: Director
    private let releases: ReleaseRepository
    private let service: DeviceService
    private let operatorTokens: OperatorTokens
    private let tokenSigner: any Signer
    private let keys: HubKeys
    private let commits: Signal
    private let clock: SystemClock
    private let logger: Logger
    private let fileSystem: FileSystem

    init(
        config: HubConfig, identity: HubIdentityFile, keys: HubKeys, clock: SystemClock, logger: Logger,
        fileSystem: FileSystem
    ) async throws {
        let layout = config.layout
        self.config = config
        self.keys = keys
        self.clock = clock
        self.logger = logger
        self.fileSystem = fileSystem
        network = identity.network
        let database = try SQLiteMetadataStore(path: layout.database, monitor: fileSystem.monitor)
        blobs = try FileBlobStore(root: layout.store, fileSystem: fileSystem)
        let feed = ChangeFeed(store: database, after: try await database.commit(Commit([])).sequence)
        let commits = Signal()
        self.commits = commits
        store = FollowedStore(database, feed: feed, onCommit: { commits.fire() }) { error in
            logger.error("a commit was not followed in memory", metadata: ["error": "\(error)"])
        }
        let keyring = try await Self.keyring(database, keys, config, clock)
        enrolment = EnrolmentService(
            store: store, keyring: keyring,
            identity: HubIdentity(
                publicKey: keyring.current.publicKey, host: config.endpointHost, port: keyring.current.port,
                rootDigest: identity.rootDigest, network: identity.network),
            sealing: keys.sealing, clock: clock)
        audit = try AuditLog(store: database, origin: "\(config.name)/audit", signer: keys.signer(.audit))
        directory = DeviceDirectory(network: identity.network, store: database)
        try await directory.load()
        versions = HubVersions(hotSet: config.longPolls)
        metadata = MetadataFiles()
        tokenSigner = try keys.signer(.tokens)
        let issuer = "https://\(config.name)"
        operatorTokens = OperatorTokens(
            issuer: issuer, audience: "\(issuer)/management", keys: [tokenSigner.publicKey])
        service = try DeviceService(
            store: store, enrolment: enrolment, audit: audit,
            tokens: AccessTokens(issuer: issuer, audience: "\(issuer)/device", keys: [tokenSigner.publicKey]),
            tokenSigner: tokenSigner, freshnessSigner: keys.signer(.freshness), keyring: keyring,
            network: identity.network,
            clock: clock)
        tunnel = try Self.makeTunnel(config, identity.network, enrolment, database, clock, logger)
        let descriptor = NIOLockedValueBox<[UInt8]?>(nil)
        self.descriptor = descriptor
        ends = try tunnel.map { [store, versions] tunnel in
            try HubEndKeeper(
                config: config, network: identity.network, keys: keys, keyring: keyring, store: store, tunnel: tunnel,
                clock: clock, logger: logger
            ) { said in
                descriptor.withLockedValue { $0 = said?.bytes }
                versions.update { $0.descriptor = said?.sequence ?? 0 }
            }
        }
        // One at a time: of two at once the one that read first could be the last to tell.
        let publishing = NIOLock()
        let publish: @Sendable () async throws -> Void = { [metadata, versions] in
            try publishing.withLock { try Self.publishMetadata(layout, metadata, versions, fileSystem) }
        }
        director = Director(
            path: layout.repository, signers: try keys.directorSigners(), store: database, fileSystem: fileSystem,
            clock: clock, published: publish)
        releases = ReleaseRepository(
            path: layout.repository, store: store, blobs: blobs, fileSystem: fileSystem, clock: clock,
            published: publish)
        try await publish()
        // The director takes its first look, at all devices, while they are served already: see `keepDirector`.
        try await follow(feed)
    }

    private static func keyring(
        _ store: any MetadataStore, _ keys: HubKeys, _ config: HubConfig, _ clock: SystemClock
    ) async throws -> HubKeyring {
        let (ends, _) = try await HubEndKeeper.read(store, keys, now: clock.now())
        let entries = try HubEndKeeper.entries(ends, keys, config)
        guard let current = entries.first else { throw HubServerError(.invalid, "the hub has no end of its tunnel") }
        let keyring = HubKeyring(current)
        keyring.set(current, others: Array(entries.dropFirst()))
        return keyring
    }

    private static func makeTunnel(
        _ config: HubConfig, _ network: TunnelNetwork, _ enrolment: EnrolmentService, _ store: any MetadataStore,
        _ clock: SystemClock, _ logger: Logger
    ) throws -> TunnelEnds? {
        guard config.managesInterface else { return nil }
        guard let address = InterfaceAddress(network.hub, prefixLength: 48) else {
            throw HubServerError(.tunnel, "the interface cannot have \(network.hub)/48")
        }
        return TunnelEnds(
            address: address, mtu: UInt32(config.mtu), enrolment: enrolment, store: store, clock: clock, logger: logger)
    }

    private func follow(_ feed: ChangeFeed) async throws {
        await feed.add { [directory] in try await directory.follow($0) }
        if let tunnel { await feed.add { try await tunnel.follow($0) } }
        await feed.add { [director] in try await director.follow($0) }
        await feed.add { [versions] changes in
            if changes?.contains(where: { $0.key.kind == .device }) ?? true { versions.wake() }
        }
    }

    // MARK: Listeners

    func deviceResponder() -> DeviceResponder {
        DeviceResponder(
            directory: directory, versions: versions, metadata: metadata, blobs: blobs, service: service,
            schedule: PollSchedule(
                interval: Double(config.pollSeconds), updatingInterval: Double(config.updatingPollSeconds)),
            admission: AdmissionControl.Limits(rate: Double(config.requestsPerSecond)),
            pacing: .init(
                deviceRate: Double(config.deviceBytesPerSecond), siteRate: Double(config.siteBytesPerSecond)),
            descriptor: { [descriptor] in descriptor.withLockedValue { $0 } }, clock: clock, logger: logger)
    }

    func managementResponder() -> ManagementResponder {
        let services = ManagementServices(
            store: store, blobs: blobs, uploads: BlobStore(root: config.layout.store, fileSystem: fileSystem),
            releases: releases, enrolment: enrolment, audit: audit, tokens: operatorTokens, tokenSigner: tokenSigner,
            sealing: keys.sealing, tunnel: tunnel, hub: ends.map(Self.orders), commits: commits, clock: clock,
            logger: logger)
        return ManagementResponder(
            routes: services.routes(), tokens: operatorTokens, store: store, clock: clock, logger: logger)
    }

    private static func orders(_ ends: HubEndKeeper) -> HubOrders {
        HubOrders(
            status: { try await ends.status() }, rotateKey: { try await ends.rotate(by: $0) },
            retireKey: { try await ends.retire(by: $0, force: $1) })
    }

    // MARK: Upkeep

    /// What runs until the hub stops.
    func loops() -> [@Sendable () async -> Void] {
        var loops: [@Sendable () async -> Void] = [
            { await keepAudit() }, { await keepFollowers() },
            // Also what a failure left undone when it was due. A director that cannot say something new still has to keep
            // alive what it said: none of these waits for another's fault.
            { await keep { try await director.apply() } }, { await keep { try await director.renew() } },
            // No sooner after a fault: it would ask more devices in an hour than it may.
            { await keep(retry: Self.rotationInterval) { try await askForRotations() } },
        ]
        if let ends { loops += [{ await keep { try await ends.keepSchedule() } }, { await keepTunnel(ends) }] }
        return loops
    }

    private func keepTunnel(_ ends: HubEndKeeper) async {
        while !Task.isCancelled {
            do { try await clock.sleep(.seconds(Self.tunnelInterval)) } catch { return }
            await ends.mend()
        }
    }

    private func keepFollowers() async {
        while !Task.isCancelled {
            do { try await clock.sleep(.seconds(Self.tunnelInterval)) } catch { return }
            await store.catchUp()
        }
    }

    /// Does something every ``rotationInterval``; after a fault again after `retry` seconds.
    private func keep(retry: Int64 = upkeepInterval, _ work: () async throws -> Void) async {
        while !Task.isCancelled {
            var wait = Self.rotationInterval
            do {
                try await work()
            } catch {
                wait = retry
                logger.error("upkeep failed", metadata: ["error": "\(error)"])
            }
            do { try await clock.sleep(.seconds(wait)) } catch { return }
        }
    }

    /// At most so many a round, so that a fleet of one age does not change all its keys in one hour.
    private func askForRotations() async throws {
        guard config.keyRotationDays > 0 else { return }
        let now = clock.now()
        let old = now + -Int64(config.keyRotationDays) * 86_400
        var asked = 0
        var cursor: String?
        repeat {
            let page = try await store.list(
                .device, selector: try Selector("state=active"), after: cursor, limit: HubStoreLimits.page)
            for record in page.records where asked < Self.rotationsPerRound {
                let device = try Device(decoding: record.body)
                guard (device.keySince ?? device.enrolledAt) < old, device.rotateKey != true else { continue }
                _ = try await enrolment.change(device.id) { try DeviceRules.askForRotation($0, by: "hub", now: $1) }
                asked += 1
            }
            cursor = asked < Self.rotationsPerRound ? page.next : nil
        } while cursor != nil
    }

    private func keepAudit() async {
        while !Task.isCancelled {
            let seen = commits.count
            do {
                try await audit.advance()
                guard let latest = try await audit.latest() else { continue }
                versions.update { [key = audit.key.text] in
                    $0.auditKey = key
                    $0.auditSize = latest.checkpoint.size
                }
            } catch {
                logger.error("the audit log did not advance", metadata: ["error": "\(error)"])
            }
            do { try await clock.sleep(Self.checkpointInterval) } catch { return }
            await commits.wait(beyond: seen, limit: .seconds(Self.upkeepInterval))
        }
    }

    /// Takes the published metadata of both repositories into memory and tells devices of it.
    private static func publishMetadata(
        _ layout: HubLayout, _ metadata: MetadataFiles, _ versions: HubVersions, _ fileSystem: FileSystem
    ) throws {
        for name in RepositoryName.allCases {
            let repository = Repository(path: layout.repository, name: name, fileSystem: fileSystem)
            guard try fileSystem.status(repository.metadataDirectory) != nil else { continue }
            try metadata.load(name, from: repository.metadataDirectory, fileSystem: fileSystem)
        }
        let (release, snapshot) = metadata.versions(of: .release)
        let (director, _) = metadata.versions(of: .director)
        let outline = metadata.outline()
        versions.update {
            $0.outline = outline
            $0.release = release
            $0.director = director
            $0.releaseSnapshot = snapshot
        }
    }
}
