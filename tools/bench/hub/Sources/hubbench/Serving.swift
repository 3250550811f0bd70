import Base
import Glibc
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import Logging
import NIOPosix
import Trust

/// The device side as a hub serves it, for one device.
enum Serving {
    /// Seconds after which it stops by itself.
    static let life: Int64 = 900

    static func serve(_ folder: String, _ port: UInt16, mebibytes: Int) async throws {
        let fixture = try Fixture()
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let store = try SQLiteMetadataStore(path: folder + "/hub.db")
        let blobs = try FileBlobStore(root: folder + "/store")
        let device = try fixture.device(1)
        if try await store.record(Device.self, device.id.text) == nil {
            try await store.commit(Commit([.put(device, expecting: .absent)]))
        }
        let blob = try await blobs.put(
            (0..<mebibytes << 20).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) })
        let signer = try Ed25519Signer(seed: Array(repeating: 1, count: 32))
        let directory = DeviceDirectory(network: fixture.network, store: store)
        try await directory.load()
        let responder = try responder(fixture, store: store, directory: directory, blobs: blobs, signer: signer)
        var bounds = HTTPBounds()
        bounds.connectionsPerPeer = 1_000
        let listener = try await HTTPListener.start(
            on: fixture.network.hub, port: port, bounds: bounds, group: MultiThreadedEventLoopGroup(numberOfThreads: 2),
            logger: logger, responder: responder)
        guard let address = fixture.network.device(site: device.site, index: device.index, slot: .even) else {
            throw Fixture.Impossible()
        }
        print(
            "hub \(fixture.network.hub) device \(address) blob \(blob.digest.hex) token",
            try token(device, signer))
        fflush(nil)
        try await Task.sleep(for: .seconds(life))
        await listener.stop()
    }

    static func responder(
        _ fixture: Fixture, store: SQLiteMetadataStore, directory: DeviceDirectory, blobs: FileBlobStore,
        signer: Ed25519Signer
    ) throws -> DeviceResponder {
        let service = try DeviceService(
            store: store,
            enrolment: EnrolmentService(
                store: store, hubKey: fixture.hubKey, identity: fixture.identity, sealing: Sealing(key: fixture.hubKey)),
            audit: AuditLog(store: store, origin: "bench/audit", signer: signer),
            tokens: AccessTokens(issuer: issuer, audience: audience, keys: [signer.publicKey]), tokenSigner: signer,
            freshnessSigner: nil, hubKey: fixture.hubKey, network: fixture.network)
        return DeviceResponder(
            directory: directory, versions: HubVersions(hotSet: 10), metadata: MetadataFiles(), blobs: blobs,
            service: service, schedule: PollSchedule(),
            // The load generator is few devices: what bounds one is not what is measured.
            admission: AdmissionControl.Limits(rate: 1e9, deviceSpacing: 0), pacing: .init(deviceRate: 0, siteRate: 0),
            descriptor: { nil }, logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
    }

    private static let issuer = "https://bench"
    private static let audience = "device"

    /// An access token of a device, as the hub gives it.
    static func token(_ device: Device, _ signer: Ed25519Signer) throws -> String {
        guard let key = device.keys[.even]?.key else { throw Fixture.Impossible() }
        let now = SystemClock.live.now()
        let claims = AccessClaims(
            device: device.id, scopes: Set(AccessClaims.Scope.allCases), generation: device.credentialGeneration,
            tunnelKey: key, issued: now, expires: now + AccessTokens.longestLifetime)
        return try AccessTokens(issuer: issuer, audience: audience, keys: [signer.publicKey])
            .issue(claims, signer: signer)
    }
}
